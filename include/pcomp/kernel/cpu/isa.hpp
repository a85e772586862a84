#pragma once
#include <atomic>
#include <bit>
#include <utility>

/// Kernel code is always inlined into its entry points, which are compiled once for each instruction set.
#define PCOMP_INLINE [[gnu::always_inline]] inline

namespace pcomp::detail {

static_assert(std::endian::native == std::endian::little,
              "pcomp: the wire is little-endian, and so must the machine be");

enum class Isa { baseline, avx2, avx512 };

inline Isa best_isa() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return Isa::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) return Isa::avx2;
#endif
  return Isa::baseline;
}

/// What kernels use; tests set it lower to compare the bytes.
inline std::atomic<Isa>& isa() {
  static std::atomic<Isa> current{best_isa()};
  return current;
}

// clang-format off
#if defined(__x86_64__)
#define PCOMP_AVX2 [[gnu::target("avx2,bmi,bmi2,lzcnt,popcnt")]]
#if defined(__clang__)
#define PCOMP_AVX512 [[gnu::target("avx2,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl")]]
#else
#define PCOMP_AVX512 [[gnu::target("avx2,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")]]
#endif
// clang-format on

template <class Leaf, class... A>
PCOMP_AVX2 auto on_avx2(A... a) {
  return Leaf::run(a...);
}
template <class Leaf, class... A>
PCOMP_AVX512 auto on_avx512(A... a) {
  return Leaf::run(a...);
}
#endif

/// Runs a leaf, a struct with one static always-inline `run`, compiled for the machine that it is on.
template <class Leaf, class... A>
auto simd(A... a) {
#if defined(__x86_64__)
  switch (isa().load(std::memory_order_relaxed)) {
    case Isa::avx512:
      return on_avx512<Leaf>(a...);
    case Isa::avx2:
      return on_avx2<Leaf>(a...);
    case Isa::baseline:
      break;
  }
#endif
  return Leaf::run(a...);
}

}  // namespace pcomp::detail
