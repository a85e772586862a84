#pragma once
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

#include "../world.hpp"

namespace pcomp::detail {

/// "process 4711 on machine".
inline std::string this_process() {
  utsname machine{};
  ::uname(&machine);
  return "process " + std::to_string(::getpid()) + " on " + machine.nodename;
}

/// The time of day, in milliseconds, and when this process began.
inline std::int64_t time_of_day() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}
inline std::int64_t process_began() {
  std::ifstream file("/proc/self/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  std::istringstream in(
      text.substr(std::min(text.rfind(')') + 1, text.size())));  // the name may hold anything
  std::string word;
  for (int field = 3; field < 22 && in >> word;) ++field;  // see proc(5): 22 is starttime
  std::int64_t ticks = 0;
  timespec now{};
  if (!(in >> ticks) || ::clock_gettime(CLOCK_BOOTTIME, &now) != 0) return time_of_day();
  const std::int64_t since_boot = now.tv_sec * 1000 + now.tv_nsec / 1000000;
  return time_of_day() - since_boot + ticks * 1000 / ::sysconf(_SC_CLK_TCK);
}

/// What the processes of one run have in common and those of another do not, as far as they can know.
///
/// Law: the name is PCOMP_RUN_ID or what the launcher calls the run; started by hand without it, runs of as many
///   processes look alike, and only the times at which their processes began tell them apart.
struct RunIdentity {
  std::string name, keeper;
  int size = 1, attempt = 0;

  static RunIdentity of(const transport::LauncherEnvironment& launch) {
    return {launch.run, this_process(), launch.size, launch.attempt};
  }
  std::string text() const {
    return std::to_string(size) + " " + std::to_string(attempt) + "\n" + name + "\n" + keeper + "\n";
  }
  static RunIdentity parse(const std::string& text) {
    RunIdentity id;
    std::istringstream in(text);
    in >> id.size >> id.attempt, in.ignore();
    std::getline(in, id.name), std::getline(in, id.keeper);
    return id;
  }
  bool same_run(const RunIdentity& o) const {
    return name == o.name && size == o.size && attempt == o.attempt;
  }
  /// "a run of 2 processes named 'x'".
  std::string describe() const {
    return "a run of " + std::to_string(size) + " processes " +
           (name.empty() ? "without a name" : "named '" + name + "'") +
           (attempt ? ", restarted " + std::to_string(attempt) + " times" : "");
  }
};

}  // namespace pcomp::detail
