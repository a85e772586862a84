#pragma once
#include <algorithm>
#include <cstdlib>
#include <cstdlib>  // defines __GLIBC__
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <thread>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace pcomp::runtime {

/// Makes glibc's malloc keep what one step frees for the next, instead of returning it to the system and asking
/// again: each fresh page costs a fault, thousands per step.
///
/// Call it before starting other threads: it affects the whole process, and memory once used stays with it. `threads`
/// is how many compute at a time, the ranks of this process. Each wants an arena of its own, and there should be no
/// more, as all arenas but the first give large blocks back whatever the thresholds. Without glibc it does nothing.
/// Source: mallopt(3).
/// Example: apps/train
inline void keep_memory([[maybe_unused]] int threads = 1) {
#if defined(__GLIBC__)
  mallopt(M_ARENA_MAX, threads);
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

}  // namespace pcomp::runtime

#if defined(__linux__)
#include <sched.h>
#endif

namespace pcomp::detail {

/// The CPUs that this folder of a control group allows, by version 2's file or version 1's; infinity without a limit.
inline double cpu_quota_in(const std::filesystem::path& folder) {
  double quota = -1, period = 0;
  if (std::ifstream both(folder / "cpu.max"); both) {
    both >> quota >> period;  // "max 100000" leaves the quota at 0
  } else {
    std::ifstream(folder / "cpu.cfs_quota_us") >> quota;
    std::ifstream(folder / "cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : std::numeric_limits<double>::infinity();
}

/// The CPUs that this process's control groups allow; infinity without a limit. `root` is for tests.
///
/// Law: the least of the group and all above it. In a container the group's own folder is often not mounted: then the
///   mounted part of the path counts.
inline double cpu_quota(const std::filesystem::path& root = "/") {
  double least = std::numeric_limits<double>::infinity();
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "0::/path" or "3:cpu,cpuacct:/path"
    const std::size_t a = line.find(':'), b = a == std::string::npos ? a : line.find(':', a + 1);
    if (b == std::string::npos) continue;
    const std::string controllers = line.substr(a + 1, b - a - 1);
    const bool second = controllers.empty();
    if (!second && ("," + controllers + ",").find(",cpu,") == std::string::npos) continue;
    std::filesystem::path within = std::filesystem::path(line.substr(b + 1)).relative_path();
    for (const std::filesystem::path& mount : {root / "sys/fs/cgroup" / (second ? "" : controllers),
                                               root / "sys/fs/cgroup" / (second ? "unified" : "cpu")})
      for (std::filesystem::path p = within;; p = p.parent_path()) {
        least = std::min(least, cpu_quota_in(mount / p));
        if (p.empty()) break;
      }
  }
  return least;
}

/// The CPUs that this process may use: those of its affinity, or fewer where a container limits them.
inline double usable_cpus() {
  double cpus = std::max(1u, std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = std::min<double>(cpus, CPU_COUNT(&set));
#endif
  return std::min(cpus, cpu_quota());
}

/// Intra-op threads of each of `ranks` ranks on this machine, if the program sets none.
///
/// Law: OMP_NUM_THREADS (its first number) if it is set; else the usable CPUs divided by the ranks, at least 1.
inline int default_threads(int ranks, double cpus = usable_cpus()) {
  if (const char* set = std::getenv("OMP_NUM_THREADS"))
    if (const long n = std::strtol(set, nullptr, 10); n > 0 && n <= 1 << 16) return static_cast<int>(n);
  return std::max(1, static_cast<int>(cpus / ranks));
}

}  // namespace pcomp::detail
