#pragma once
#include <pcomp/kernel/parallel.hpp>
#include <thread>
#include <vector>

/// Divides a kernel's work evenly among that many threads, each time new ones.
struct Threads {
  int count;
  void operator()(std::int64_t n, std::int64_t, pcomp::kernel::ParallelFor::Body body) const {
    if (count == 1) return body(0, n);
    std::vector<std::thread> workers;
    for (int t = 0; t < count; ++t)
      if (n * t / count < n * (t + 1) / count)
        workers.emplace_back([=, parts = count] { body(n * t / parts, n * (t + 1) / parts); });
    for (auto& w : workers) w.join();
  }
};
