#pragma once
#include <cstdlib>  // defines __GLIBC__
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace pcomp {

/// Makes glibc's malloc keep what a step frees for the next step, instead of giving it back to the system and asking
/// again: each fresh page costs a fault, thousands in a step.
///
/// Call it before there are other threads: it concerns the whole process, and memory once used stays with it. `threads`
/// are those that compute at a time, the ranks of this process: each wants an arena of its own, and no more than that,
/// because all but the first give large parts back whatever the thresholds are. Without glibc it does nothing.
/// Source: mallopt(3).
/// Example: examples/100-mobilenetv2-cifar10
inline void keep_memory([[maybe_unused]] int threads = 1) {
#if defined(__GLIBC__)
  mallopt(M_ARENA_MAX, threads);
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

}  // namespace pcomp
