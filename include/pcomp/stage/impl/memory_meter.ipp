#pragma once
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Logging.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <torch/csrc/profiler/orchestration/observer.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "../memory_meter.hpp"

namespace pcomp::detail {

/// A profiler of LibTorch's kind, as it may be asked for one: it records nothing but memory.
struct MemoryMeter::Counter : torch::profiler::impl::ProfilerStateBase {
  Counter()
      : ProfilerStateBase(torch::profiler::impl::ProfilerConfig(
            torch::profiler::impl::ProfilerState::Disabled, false, /*profile_memory=*/true)) {}
  torch::profiler::impl::ActiveProfilerType profilerType() override {
    return torch::profiler::impl::ActiveProfilerType::NONE;
  }
  void reportMemoryUsage(void*, std::int64_t size, std::size_t, std::size_t, c10::Device) override {
    const std::int64_t reached = now += size;
    for (std::int64_t most = peak; reached > most && !peak.compare_exchange_weak(most, reached);) {
    }
  }
  std::atomic<std::int64_t> now{0}, peak{0};
};
struct MemoryMeter::Guard {
  c10::DebugInfoGuard watches;
};

/// LibTorch warns of the first block, and then of each thousandth, that is freed while a profiler watches and was there
/// before it. That is no fault of a program that has no profiler, so the first such block is one of ours, with the warning
/// switched off.
inline void free_unknown_block() {
  static const bool once = [] {
    const int level = std::exchange(FLAGS_caffe2_log_level, c10::GLOG_FATAL);
    char block = 0;
    c10::profiledCPUMemoryReporter().Delete(&block);
    FLAGS_caffe2_log_level = level;
    return true;
  }();
  (void)once;
}

PCOMP_IMPL MemoryMeter::MemoryMeter() : counter_(std::make_shared<Counter>()) {
  if (c10::ThreadLocalDebugInfo::get(c10::DebugInfoKind::PROFILER_STATE)) return;
  guard_.reset(new Guard{{c10::DebugInfoKind::PROFILER_STATE, counter_}});
  free_unknown_block();
}
PCOMP_IMPL MemoryMeter::~MemoryMeter() = default;
PCOMP_IMPL std::int64_t MemoryMeter::now() const { return counter_->now; }
PCOMP_IMPL std::int64_t MemoryMeter::take_peak() {
  const std::int64_t now = counter_->now;
  return std::max(now, counter_->peak.exchange(now));
}

}  // namespace pcomp::detail
