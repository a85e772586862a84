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

/// The least and greatest of some values as such integers, NaNs among them: below -inf or above +inf.
struct Ends {
  int lo = 0x7fffffff, hi = -0x7fffffff - 1;

  PCOMP_GPU void add(float x) {
    const int i = ordered(x);
    lo = i < lo ? i : lo, hi = i > hi ? i : hi;
  }
  PCOMP_GPU Ends of_warp() const { return {warp_min(lo), warp_max(hi)}; }
  /// What a coder is fitted to; -0 counts as 0, so that the result does not depend on the order of reading.
  PCOMP_GPU codec::Range to_fit() const {
    const float from = unordered(lo), to = unordered(hi);
    return is_finite(from) && is_finite(to) ? codec::Range{from + 0.0f, to + 0.0f} : spoilt_range;
  }
};

/// Encodes all that is sent, in one pass: a warp takes some blocks of 128, rotates them by R if that is a rotation, and
/// finds their groups' ranges, fits, encodes and packs in registers.
template <codec::CodeCodec C, class R = NoCodec>
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
  u32 rng_counter;  ///< tells one message's noise from another's

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
      Ends mine;
      PCOMP_UNROLL
      for (int g = 0; g < groups; ++g) {
        Ends r;
        PCOMP_UNROLL
        for (int b = g * (count / groups); b < (g + 1) * (count / groups); ++b) {
          const u32 at = begin + static_cast<u32>(b * 128 + 4 * lane());
          PCOMP_UNROLL
          for (u32 j = 0; j < 4; ++j)
            if (at + j < in.n) r.add(v[b][j]);
        }
        r = r.of_warp();
        if (lane() % groups == g) mine = r;
      }
      scale = T::fit(mine.to_fit());
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
               rng_counter;
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

/// The range of all values, in two words that start as zeros.
struct FindRange {
  Source in;
  u32* range;  ///< the complement of the least value, and the greatest, as unsigned keys of the same order
  u32 stride;  ///< four times the threads of all blocks

  static constexpr std::int64_t blocks(std::int64_t n) {
    const std::int64_t all = ceil_div(n, 16 * block_threads);
    return all < 1024 ? all : 1024;
  }

  PCOMP_GPU static u32 key(int i) { return static_cast<u32>(i) ^ 0x80000000u; }
  PCOMP_GPU static int value(u32 key) { return static_cast<int>(key ^ 0x80000000u); }
  PCOMP_GPU static Ends read(const u32* range) { return {value(~range[0]), value(range[1])}; }

  PCOMP_GPU void operator()() const {
    const Ends own = in.plain ? of_thread<true>() : of_thread<false>();
    const Ends all = own.of_warp();
    if (lane() == 0) {
      atomic_max(range, ~key(all.lo));
      atomic_max(range + 1, key(all.hi));
    }
  }

 private:
  template <bool plain>
  PCOMP_GPU Ends of_thread() const {
    Ends r;
    for (u64 i = (static_cast<u64>(block()) * block_threads + static_cast<u64>(thread())) * 4; i < in.n;
         i += stride) {
      float v[4];
      in.four<plain>(static_cast<u32>(i), v);
      PCOMP_UNROLL
      for (u32 j = 0; j < 4; ++j)
        if (i + j < in.n) r.add(v[j]);
    }
    return r;
  }
};

/// The one scale of a coder that shares it over all that is sent.
template <codec::CodeCodec C>
struct FitWhole {
  const u32* range;
  unsigned char* scales;
  PCOMP_GPU void operator()() const {
    if (thread() != 0) return;
    const auto scale = CoderTraits<C>::fit(FindRange::read(range).to_fit());
    memcpy(scales, &scale, sizeof scale);
  }
};

}  // namespace pcomp::detail::gpu
