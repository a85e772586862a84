#pragma once
#include <c10/macros/Macros.h>  // what is header-only here needs LibTorch

#include <cstdint>
#include <memory>

#include "../base/compiled.hpp"

namespace pcomp::detail {

/// Counts the memory that this thread's operations take and give back, and those that autograd runs for it.
///
/// Law: counts nothing while the program's own profiler watches this thread, as LibTorch reports to one at a time.
class MemoryMeter {
 public:
  MemoryMeter();
  MemoryMeter(const MemoryMeter&) = delete;
  MemoryMeter& operator=(const MemoryMeter&) = delete;
  ~MemoryMeter();
  bool counts() const { return guard_ != nullptr; }
  std::int64_t now() const;
  /// The most since the last call of this, or since it began.
  std::int64_t take_peak();

 private:
  struct Counter;
  struct Guard;
  std::shared_ptr<Counter> counter_;
  std::unique_ptr<Guard> guard_;
};

}  // namespace pcomp::detail

#if !defined(PCOMP_COMPILED)
#include "impl/memory_meter.ipp"
#endif
