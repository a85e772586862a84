#pragma once
#include <bit>

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
