#pragma once
#include "../axes.hpp"
#include "pack.cuh"
#include "rotate.cuh"
#include "source.cuh"

namespace pcomp::detail::gpu {

/// One payload's codes and scales, read one at a time.
template <codec::CodeCodec C>
struct Coded {
  using Codec = C;
  using T = CoderTraits<C>;
  const unsigned char *codes, *scales;
  u32 sent;

  PCOMP_GPU typename T::Scale scale_of(u32 i) const {
    if constexpr (T::has_scale) {
      constexpr auto group = static_cast<u32>(T::group());
      return reinterpret_cast<const typename T::Scale*>(scales)[group ? i / (group ? group : 1) : 0];
    } else {
      return (void)i, typename T::Scale{};
    }
  }
  PCOMP_GPU float operator()(u32 i) const {
    u32 code;
    if constexpr (T::bits == 32)
      code = reinterpret_cast<const u32*>(codes)[i];
    else if constexpr (T::bits == 16)
      code = reinterpret_cast<const std::uint16_t*>(codes)[i];
    else if constexpr (T::bits == 8)
      code = codes[i];
    else
      code = packed_code(codes, sent, T::bits, i);
    return T::decode(code, T::prepare(scale_of(i)));
  }
};

/// Decodes all codes, in order, and rotates back by R if that is a rotation: a warp takes four blocks of 128.
template <codec::CodeCodec C, class R = NoCodec>
struct DecodeCodes {
  using T = CoderTraits<C>;
  static constexpr int count = 4;
  static constexpr u32 each = block_warps * count * static_cast<u32>(pack_block);

  Coded<C> in;
  Sink out;

  static constexpr std::int64_t blocks(std::int64_t sent) { return ceil_div(sent, each); }

  PCOMP_GPU void operator()() const {
    const u32 begin = block() * each + static_cast<u32>(warp() * count) * static_cast<u32>(pack_block);
    if (begin >= in.sent) return;
    u32 c[count][4];
    PCOMP_UNROLL
    for (int b = 0; b < count; ++b) {
      const u32 first = begin + static_cast<u32>(b) * static_cast<u32>(pack_block);
      if (first >= in.sent) break;
      const u32 rest = in.sent - first;
      load_block(in.codes + static_cast<std::size_t>(first / pack_block) * (16 * T::bits),
                 rest < pack_block ? rest : static_cast<u32>(pack_block), T::bits, c[b]);
    }
    // Lane b prepares for block b.
    const u32 whose = begin + static_cast<u32>(lane() % count) * static_cast<u32>(pack_block);
    const auto prepared = T::prepare(in.scale_of(whose < in.sent ? whose : begin));
    PCOMP_UNROLL
    for (int b = 0; b < count; ++b) {
      const u32 first = begin + static_cast<u32>(b) * static_cast<u32>(pack_block);
      if (first >= in.sent) break;
      const auto p = T::has_scale ? shuffle_struct(prepared, b) : prepared;
      float v[4];
      PCOMP_UNROLL
      for (int j = 0; j < 4; ++j) v[j] = T::decode(c[b][j], p);
      rotate<R, true>(v, first, in.sent);
      out.four(first + static_cast<u32>(4 * lane()), v);
    }
  }
};

/// Decodes codes of which each stands for a window of the output.
template <codec::CodeCodec C>
struct RepeatCodes {
  Coded<C> in;
  Sink out;
  Pooling pool;
  bool share;  ///< for the mean's adjoint: each element gets its window's value divided by its size
  PooledAxes<u32> named;  ///< of rank 0: the last two dimensions are pooled

  static constexpr std::int64_t blocks(std::int64_t n) { return ceil_div(n, 4 * block_threads); }

  PCOMP_GPU void operator()() const {
    const u32 i = (block() * block_threads + static_cast<u32>(thread())) * 4;
    if (i >= out.n) return;
    float v[4];
    u32 held = 0xffffffffu;
    float value = 0;
    PCOMP_UNROLL
    for (u32 j = 0; j < 4 && i + j < out.n; ++j) {
      u32 size = 1;
      const u32 from = named.rank > 0 ? named.of(i + j, size) : pool.of(i + j, size);
      if (from != held) held = from, value = in(from);
      v[j] = share ? value * (1.0f / static_cast<float>(size)) : value;  // a NaN keeps its bits
    }
    out.four(i, v);
  }
};

/// Writes a source, rotated by R if that is a rotation, to a plain list of floats, to be read several times.
template <class R = NoCodec>
struct Materialise {
  Source in;
  float* out;

  static constexpr std::int64_t blocks(std::int64_t n) { return ceil_div(n, 4 * block_threads); }

  PCOMP_GPU void operator()() const {
    const u32 i = (block() * block_threads + static_cast<u32>(thread())) * 4;
    const u32 first = i - static_cast<u32>(4 * lane());  // of the warp, which rotates as a whole
    if (first >= in.n) return;
    float v[4];
    if (in.plain)
      in.four<true>(i, v);
    else
      in.four<false>(i, v);
    rotate<R, false>(v, first, in.n);
    PCOMP_UNROLL
    for (u32 j = 0; j < 4; ++j)
      if (i + j < in.n) out[i + j] = v[j];
  }
};

}  // namespace pcomp::detail::gpu
