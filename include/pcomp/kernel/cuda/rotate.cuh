#pragma once
#include "../../wire/wire.hpp"
#include "../arithmetic.hpp"
#include "source.cuh"

namespace pcomp::detail::gpu {

// Sums and products that no compiler fuses with the operations around them.
PCOMP_GPU float sum(float a, float b) { return PCOMP_ON_GPU(__fadd_rn(a, b), a + b); }
PCOMP_GPU float difference(float a, float b) { return PCOMP_ON_GPU(__fsub_rn(a, b), a - b); }
PCOMP_GPU float product(float a, float b) { return PCOMP_ON_GPU(__fmul_rn(a, b), a * b); }

PCOMP_GPU bool all_finite(const float* x) {
  return is_finite(x[0]) && is_finite(x[1]) && is_finite(x[2]) && is_finite(x[3]);
}
/// The lanes that hold this lane's block of n, four elements each.
template <int n>
PCOMP_GPU u32 lanes_of_block() {
  return (n == 64 ? 0xffffu : 0xffu) << (lane() / (n / 4) * (n / 4));
}
/// Rotates a lane's four elements in doubles, for a warp with a block that is not finite in floats: NaN if the lane's
/// block holds what is not finite, else the nearest finite floats.
template <int n>
PCOMP_GPU_CALL Float4 rotate_wide(Float4 x, float scale) {
  const bool spoilt = ballot(!all_finite(x.v)) & lanes_of_block<n>();
  double y[4];
  for (int j = 0; j < 4; ++j) y[j] = static_cast<double>(x.v[j]);
  const auto pair = [&](int i, int j) {
    const double a = y[i], b = y[j];
    y[i] = a + b, y[j] = a - b;
  };
  pair(0, 1), pair(2, 3), pair(0, 2), pair(1, 3);
  for (int h = 1; h < n / 4; h *= 2)
    for (int j = 0; j < 4; ++j) {
      const double other = shuffle_xor(y[j], h);
      y[j] = lane() & h ? other - y[j] : y[j] + other;
    }
  for (int j = 0; j < 4; ++j) x.v[j] = spoilt ? float_nan : to_finite(y[j] * static_cast<double>(scale));
  return x;
}

/// Rotates a warp's 128 elements from `first` on by R, or back; a lane holds first + 4 * lane() and the next three, and
/// `end` is past the last of all. Whole warps must call it; does nothing where R is no rotation.
template <class R, bool back>
PCOMP_GPU void rotate(float* v, u32 first, u32 end) {
  if constexpr (has_role<Role::rotate, R>) {
    constexpr u32 n = R::block;
    const u32 at = first + static_cast<u32>(4 * lane()), whole = at / n * n + n;
    float x[4] = {v[0], v[1], v[2], v[3]};
    const auto flip = [&] {
      if constexpr (R::random_signs) {
        const u32 signs = R::signs(at / n, static_cast<int>(at % n / 32)) >> at % 32;
        PCOMP_UNROLL
        for (int j = 0; j < 4; ++j) x[j] = bits_as<float>(bits_as<u32>(x[j]) ^ (signs >> j & 1u) << 31);
      }
    };
    const auto pair = [&](int i, int j) {
      const float a = x[i], b = x[j];
      x[i] = sum(a, b), x[j] = difference(a, b);
    };
    if (!back) flip();
    const Float4 given{{x[0], x[1], x[2], x[3]}};
    pair(0, 1), pair(2, 3), pair(0, 2), pair(1, 3);
    PCOMP_UNROLL
    for (int h = 1; h < static_cast<int>(n) / 4; h *= 2) PCOMP_UNROLL
    for (int j = 0; j < 4; ++j) {
      const float other = shuffle_xor(x[j], h);
      x[j] = lane() & h ? difference(other, x[j]) : sum(x[j], other);
    }
    PCOMP_UNROLL
    for (int j = 0; j < 4; ++j) x[j] = product(x[j], R::scale);
    if (const u32 beyond = ballot(!all_finite(x))) {
      const Float4 wide = rotate_wide<static_cast<int>(n)>(given, R::scale);
      if (beyond & lanes_of_block<static_cast<int>(n)>()) {
        PCOMP_UNROLL
        for (int j = 0; j < 4; ++j) x[j] = wide.v[j];
      }
    }
    if (back) flip();
    if (whole <= end) {
      PCOMP_UNROLL
      for (int j = 0; j < 4; ++j) v[j] = x[j];
    }
  }
}

}  // namespace pcomp::detail::gpu
