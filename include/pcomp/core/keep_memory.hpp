#pragma once
#include <cstdlib>  // defines __GLIBC__
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace pcomp {

/// Makes glibc's malloc keep what one step frees for the next, instead of returning it to the system and asking
/// again: each fresh page costs a fault, thousands per step.
///
/// Call it before starting other threads: it affects the whole process, and memory once used stays with it. `threads`
/// is how many compute at a time, the ranks of this process. Each wants an arena of its own, and there should be no
/// more, as all arenas but the first give large blocks back whatever the thresholds. Without glibc it does nothing.
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
