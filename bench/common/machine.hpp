#pragma once
#include <fstream>
#include <string>

namespace bench {

/// The processor's name and caches, as Linux reports them: what fits in the last one does not show memory's speed.
inline std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  std::string name, family, model;
  for (std::string line; std::getline(file, line) && !line.empty();) {
    const auto value = [&](const char* key) {
      return line.rfind(key, 0) == 0 ? line.substr(line.find(':') + 2) : "";
    };
    if (const auto v = value("model name"); !v.empty()) name = v;
    if (const auto v = value("cpu family"); !v.empty()) family = v;
    if (const auto v = value("model\t"); !v.empty()) model = v;
  }
  if (name.empty()) return "unknown processor";
  name += " (family " + family + ", model " + model + ")";
  for (const int level : {2, 3}) {
    std::ifstream cache("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(level) + "/size");
    if (std::string size; cache >> size) name += ", L" + std::to_string(level) + ' ' + size;
  }
  return name;
}

}  // namespace bench
