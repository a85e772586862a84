#pragma once
#include <bit>

// A compiler that may assume finite numbers removes the checks for others, and one that may reorder sums makes other
// bytes than the rest of the pipeline. Clang tells only of -ffast-math and -ffinite-math-only.
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0) ||         \
    defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || defined(__NO_SIGNED_ZEROS__) || \
    (defined(__FLT_EVAL_METHOD__) && (__FLT_EVAL_METHOD__ == 1 || __FLT_EVAL_METHOD__ == 2))
#error \
    "pcomp: its bytes depend on IEEE arithmetic: drop -ffast-math, -mfpmath=387 or a part of them, and replace -Ofast by -O3"
#endif

/// Marks a function that the CPU and the GPU share: one arithmetic, one set of bytes. Put it on the encode, decode, fit
/// and prepare of your own codec; without a CUDA compiler it expands to nothing.
#if defined(__CUDACC__)
#define PCOMP_HD __host__ __device__
#else
#define PCOMP_HD
#endif

namespace pcomp::detail {

/// std::bit_cast, which CUDA compilers do not allow in device code.
template <class To, class From>
[[gnu::always_inline]] PCOMP_HD constexpr To bits_as(From x) {
  static_assert(sizeof(To) == sizeof(From));
#if defined(__CUDACC__)
  return __builtin_bit_cast(To, x);
#else
  return std::bit_cast<To>(x);
#endif
}

}  // namespace pcomp::detail
