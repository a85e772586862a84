#pragma once
#include "pack.cuh"
#include "rotate.cuh"
#include "source.cuh"

namespace pcomp::detail::gpu {

/// A float as a signed integer of the same order, and back.
PCOMP_GPU int ordered(float x) {
  const int i = bits_as<int>(x);
  return i < 0 ? i ^ 0x7fffffff : i;
}
PCOMP_GPU float unordered(int i) { return bits_as<float>(i < 0 ? i ^ 0x7fffffff : i); }

PCOMP_GPU Range warp_range(Range r) {
  return {unordered(warp_min(ordered(r.lo))), unordered(warp_max(ordered(r.hi)))};
}
/// What a coder is fitted to; -0 counts as 0, so that the result does not depend on the order of reading.
PCOMP_GPU Range to_fit(Range r) { return settled({r.lo + 0.0f, r.hi + 0.0f}); }

/// Encodes all that is sent, in one pass: a warp takes some blocks of 128, rotates them by R if that is a rotation, and
/// finds their groups' ranges, fits, encodes and packs in registers.
template <CodeCodec C, class R = NoCodec>
struct EncodeCodes {
  using T = CoderTraits<C>;
  static constexpr std::int64_t group = T::group();
  /// Blocks per warp: as many loads are in flight at a time.
  static constexpr int count = group > 4 * pack_block ? static_cast<int>(group / pack_block) : 4;
  static constexpr int groups = group ? static_cast<int>(count * pack_block / group) : 1;
  static constexpr u32 each = block_warps * count * static_cast<u32>(pack_block);

  Source in;
  unsigned char *codes, *scales;
  unsigned char* padding;  ///< up to 15 bytes before the scales
  u32 padding_bytes;
  u32 salt;  ///< tells one message's noise from another's

  static constexpr std::int64_t blocks(std::int64_t sent) { return ceil_div(sent, each); }

  PCOMP_GPU void operator()() const {
    if (block() == 0 && static_cast<u32>(thread()) < padding_bytes) padding[thread()] = 0;
    in.plain ? encode<true>() : encode<false>();
  }

 private:
  template <bool plain>
  PCOMP_GPU void encode() const {
    const u32 begin = block() * each + static_cast<u32>(warp() * count) * static_cast<u32>(pack_block);
    if (begin >= in.n) return;
    float v[count][4];
    PCOMP_UNROLL
    for (int b = 0; b < count; ++b) in.four<plain>(begin + static_cast<u32>(b * 128 + 4 * lane()), v[b]);
    if constexpr (has_role<Role::rotate, R>) {
      PCOMP_UNROLL
      for (int b = 0; b < count; ++b) rotate<R, false>(v[b], begin + static_cast<u32>(b * 128), in.n);
    }

    typename T::Scale scale{};  // of group number lane() % groups
    if constexpr (T::has_scale && group > 0) {
      Range mine{};
      PCOMP_UNROLL
      for (int g = 0; g < groups; ++g) {
        Range r{float_inf, -float_inf};
        PCOMP_UNROLL
        for (int b = g * (count / groups); b < (g + 1) * (count / groups); ++b) {
          const u32 at = begin + static_cast<u32>(b * 128 + 4 * lane());
          PCOMP_UNROLL
          for (u32 j = 0; j < 4; ++j)
            if (at + j < in.n) r = joined(r, range_of(v[b][j]));
        }
        r = warp_range(r);
        if (lane() % groups == g) mine = r;
      }
      scale = T::fit(to_fit(mine));
      const u32 at = begin / static_cast<u32>(group) + static_cast<u32>(lane());
      if (lane() < groups && begin + static_cast<u32>(lane()) * static_cast<u32>(group) < in.n)
        reinterpret_cast<typename T::Scale*>(scales)[at] = scale;
    } else if constexpr (T::has_scale) {
      scale = *reinterpret_cast<const typename T::Scale*>(scales);
    }
    const typename T::Prepared prepared = T::prepare(scale);

    PCOMP_UNROLL

    for (int b = 0; b < count; ++b) {
      const u32 first = begin + static_cast<u32>(b) * static_cast<u32>(pack_block);
      if (first >= in.n) break;
      const int owner = b / (count / groups);
      const auto p = groups > 1 ? shuffle_struct(prepared, owner) : prepared;
      u32 seed = 0;
      if constexpr (T::stochastic)
        seed = noise_seed(groups > 1 ? shuffle_struct(scale, owner) : scale,
                          first / static_cast<u32>(pack_block)) ^
               salt;
      u32 c[4];
      PCOMP_UNROLL
      for (u32 j = 0; j < 4; ++j) {
        float noise = 0;
        if constexpr (T::stochastic) noise = noise_at(seed, static_cast<u32>(4 * lane()) + j);
        c[j] = T::encode(v[b][j], p, noise);
      }
      const u32 r = in.n - first < pack_block ? in.n - first : static_cast<u32>(pack_block);
      store_block(c, r, T::bits, codes + static_cast<std::size_t>(first / pack_block) * (16 * T::bits));
    }
  }
};

/// The range of all finite values, in two words that start as zeros.
struct FindRange {
  Source in;
  u32* range;  ///< the complement of the least value, and the greatest, as unsigned keys of the same order

  u32 stride;  ///< four times the threads of all blocks

  static constexpr std::int64_t blocks(std::int64_t n) {
    const std::int64_t all = ceil_div(n, 16 * block_threads);
    return all < 1024 ? all : 1024;
  }

  PCOMP_GPU static u32 key(float x) { return static_cast<u32>(ordered(x)) ^ 0x80000000u; }
  PCOMP_GPU static float value(u32 key) { return unordered(static_cast<int>(key ^ 0x80000000u)); }
  PCOMP_GPU static Range read(const u32* range) {
    return range[1] ? Range{value(~range[0]), value(range[1])} : Range{float_inf, -float_inf};
  }

  PCOMP_GPU void operator()() const {
    const Range r = in.plain ? own<true>() : own<false>();
    const Range all = warp_range(r);
    if (lane() == 0 && all.lo <= all.hi) {
      atomic_max(range, ~key(all.lo));
      atomic_max(range + 1, key(all.hi));
    }
  }

 private:
  template <bool plain>
  PCOMP_GPU Range own() const {
    Range r{float_inf, -float_inf};
    for (u64 i = (static_cast<u64>(block()) * block_threads + static_cast<u64>(thread())) * 4; i < in.n;
         i += stride) {
      float v[4];
      in.four<plain>(static_cast<u32>(i), v);
      PCOMP_UNROLL
      for (u32 j = 0; j < 4; ++j)
        if (i + j < in.n) r = joined(r, range_of(v[j]));
    }
    return r;
  }
};

/// The one scale of a coder that shares it over all that is sent.
template <CodeCodec C>
struct FitWhole {
  const u32* range;
  unsigned char* scales;
  PCOMP_GPU void operator()() const {
    if (thread() != 0) return;
    const auto scale = CoderTraits<C>::fit(to_fit(FindRange::read(range)));
    memcpy(scales, &scale, sizeof scale);
  }
};

}  // namespace pcomp::detail::gpu
