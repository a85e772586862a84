#include "list_wires.hpp"

#include <algorithm>
#include <cstdio>
#include <string>

#include "../model/network.hpp"
#include "../model/wires.hpp"

namespace cifar {

int list_wires(const Settings& s) {
  const Cut& cut = find_cut(s.cut);
  const auto units = mobilenetv2(s.width);
  const int samples = (s.batch + s.microbatches - 1) / s.microbatches;
  const bool mixed = s.wire.find('+') != std::string::npos;
  std::size_t longest = mixed ? s.wire.size() : 0;
  for (const NamedWire& w : wires()) longest = std::max(longest, w.name.size());
  const int width = static_cast<int>(longest);
  std::printf(
      "bits per element, activation / gradient, in micro-batches of %d images, width %g, cut %s\n\n%-*s",
      samples, s.width, s.cut.c_str(), width, "--wire");
  for (int b : cut.compressed) std::printf("  %-19s", ("boundary " + std::to_string(b)).c_str());
  std::printf("\n%-*s", width, "");
  for (int b : cut.compressed) std::printf("  %-19s", to_string(activation(units, cut, b, samples)).c_str());
  std::printf("\n");
  const auto line = [&](const std::string& name, const std::vector<NamedWire>& at) {
    std::printf("%-*s", width, name.c_str());
    for (std::size_t i = 0; i < at.size(); ++i) {
      const pcomp::Extents a = activation(units, cut, cut.compressed[i], samples);
      const auto bits = [&](std::size_t bytes) {
        return 8.0 * static_cast<double>(bytes) / static_cast<double>(a.size());
      };
      std::printf("  %7.3f / %-9.3f", bits(at[i].ops->bytes(a)), bits(at[i].ops->grad_bytes(a)));
    }
    std::printf("  %s\n", chains(find_wires(name)).c_str());
  };
  for (const NamedWire& w : wires()) line(std::string(w.name), wires_at(w.name, cut));
  if (mixed) line(s.wire, wires_at(s.wire, cut));
  return 0;
}

}  // namespace cifar
