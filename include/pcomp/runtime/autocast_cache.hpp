#pragma once
#include <ATen/autocast_mode.h>

namespace pcomp::detail {

/// Sets whether autocast keeps casts of weights on this thread, until destroyed.
class AutocastCache {
 public:
  explicit AutocastCache(bool on) : before_(at::autocast::is_autocast_cache_enabled()) {
    at::autocast::set_autocast_cache_enabled(on);
  }
  AutocastCache(const AutocastCache&) = delete;
  AutocastCache& operator=(const AutocastCache&) = delete;
  ~AutocastCache() { at::autocast::set_autocast_cache_enabled(before_); }

 private:
  bool before_;
};

/// Drops the casts of weights that autocast keeps for all threads, when made and when destroyed.
///
/// Why: a cast outlives the weights' next change, and one made without a graph, as by the shape probe, would hide them
///   from the backward pass. A plain loop drops them when its autocast region ends, once a step.
struct FreshCasts {
  FreshCasts() { at::autocast::clear_cache(); }
  FreshCasts(const FreshCasts&) = delete;
  FreshCasts& operator=(const FreshCasts&) = delete;
  ~FreshCasts() { at::autocast::clear_cache(); }
};

}  // namespace pcomp::detail
