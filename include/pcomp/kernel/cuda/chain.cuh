#pragma once
#include "decode_codes.cuh"
#include "encode_codes.cuh"
#include "scatter.cuh"
#include "select.cuh"

namespace pcomp::detail::gpu {

/// Whether some but not all elements are sent, so that there is an index block.
constexpr bool indexed(const Layout& l) { return l.index.kind != IndexFormat::none; }

/// The pooling of chain E's shape codec, if it has one.
template <codec::WireExpr E>
Pooling pooling(const Extents& before, bool mean) {
  Pooling p;
  if constexpr (Form<E>::shapes) {
    const int k = Form<E>::Shape::factor, r = before.rank();
    p.factor = static_cast<u32>(k), p.mean = mean;
    p.h = static_cast<u32>(before[r - 2]), p.w = static_cast<u32>(before[r - 1]);
    p.oh = static_cast<u32>(ceil_div(before[r - 2], k)), p.ow = static_cast<u32>(ceil_div(before[r - 1], k));
  } else {
    (void)before, (void)mean;
  }
  return p;
}

/// Its named dimensions, if it has some; of rank 0 otherwise.
template <codec::WireExpr E>
PooledAxes<u32> named_axes(const Extents& before) {
  if constexpr (names_axes<typename Form<E>::Shape>)
    return pooled_axes<u32, typename Form<E>::Shape>(before);
  else
    return (void)before, PooledAxes<u32>{};
}

inline Source list_source(const void* data, std::int64_t n) {
  Source s;
  s.data = data, s.n = static_cast<u32>(n), s.plain = true;
  return s;
}
inline Sink list_sink(void* data, std::int64_t n) {
  return {data, kernel::DType::f32, {}, static_cast<u32>(n), true};
}

/// A source pooled along the dimensions that chain E names, as a list in the workspace.
template <codec::WireExpr E>
Source pooled_list(const Queue& q, const Source& source, const Extents& before, const Layout& l, bool mean,
                   float* to) {
  q.launch(PoolAxes{source, named_axes<E>(before), mean, to, static_cast<u32>(l.n)}, PoolAxes::blocks(l.n));
  return list_source(to, l.n);
}

/// The workspace of one encoder.
///
/// `derived`: its source is not a tensor but already pooled or gathered. A source that is read several times, or would
/// be pooled twice, is first written out as a list.
template <codec::WireExpr E>
struct EncodePlan {
  using F = Form<E>;
  using T = CoderTraits<typename F::Code>;
  static constexpr bool shares_scale = T::has_scale && T::group() == 0;
  static constexpr bool by_name = names_axes<typename F::Shape>;
  Layout l;
  SelectPlan select;
  std::int64_t range = 0, before = 0, shaped = 0, turned = 0, zeros = 0;
  bool lists_before, lists_shaped;

  constexpr EncodePlan(const Extents& shape, bool derived, Slots& s)
      : l(layout<E>(shape)),
        lists_before(F::shapes && derived),
        lists_shaped(by_name || (F::selects && indexed(l) && (F::shapes || derived))) {
    if (l.sent == 0) return;
    const std::int64_t from = s.bytes;
    if constexpr (shares_scale) range = s.take(8);
    if constexpr (F::selects)
      if (indexed(l)) {
        select = SelectPlan::of<typename F::Select>(l);
        select.take_zeros(s);
      }
    zeros = s.bytes - from;
    zeros_at = from;
    if (lists_before) before = s.take(4 * shape.size());
    if (lists_shaped) shaped = s.take(4 * l.n);
    if constexpr (F::selects)
      if (indexed(l)) select.take_rest(s, l.sent);
    if (F::rotates && shares_scale) turned = s.take(4 * l.sent);
  }
  std::int64_t zeros_at = 0;
};

/// Encodes `source`, a tensor of extents `shape`, with chain E.
template <codec::WireExpr E>
void encode_chain(const Queue& q, Source source, const Extents& shape, const EncodePlan<E>& p, std::byte* out,
                  std::byte* workspace, u32 rng_counter) {
  using F = Form<E>;
  using C = typename F::Code;
  // Rotated in registers, unless the scale needs all of it first.
  using R = std::conditional_t<EncodePlan<E>::shares_scale, NoCodec, typename F::Rotate>;
  const Layout& l = p.l;
  if (l.sent == 0) return;
  q.zero(workspace + p.zeros_at, p.zeros);
  const auto list = [&](std::int64_t at) {
    float* const to = slot<float>(workspace, at);
    q.launch(Materialise<>{source, to}, Materialise<>::blocks(source.n));
    source = list_source(to, source.n);
  };
  if (p.lists_before) list(p.before);
  if constexpr (EncodePlan<E>::by_name) {
    source = pooled_list<E>(q, source, shape, l, true, slot<float>(workspace, p.shaped));
  } else {
    if constexpr (F::shapes) {
      source.pool = pooling<E>(shape, true);
      source.n = static_cast<u32>(l.n), source.plain = false;
    }
    if (p.lists_shaped) list(p.shaped);
  }
  if constexpr (F::selects)
    if (indexed(l)) {
      q.zero(out, l.codes_at);
      const Survivors kept = select<typename F::Select>(q, source, p.select, workspace);
      write_index(q, kept.position, l, out);
      source = list_source(kept.value, l.sent);
    }
  unsigned char *const codes = bytes_at(out, l.codes_at), *const scales = bytes_at(out, l.scales_at);
  if constexpr (F::rotates && EncodePlan<E>::shares_scale) {
    using Rotate = Materialise<typename F::Rotate>;
    float* const to = slot<float>(workspace, p.turned);
    q.launch(Rotate{source, to}, Rotate::blocks(l.sent));
    source = list_source(to, l.sent);
  }
  if constexpr (EncodePlan<E>::shares_scale) {
    u32* const range = slot<u32>(workspace, p.range);
    const std::int64_t blocks = FindRange::blocks(l.sent);
    q.launch(FindRange{source, range, static_cast<u32>(blocks * 4 * block_threads)}, blocks);
    q.launch(FitWhole<C>{range, scales}, 1);
  }
  const std::int64_t end = l.codes_at + packed_bytes(l.sent, C::bits);
  using Encode = EncodeCodes<C, R>;
  q.launch(
      Encode{source, codes, scales, bytes_at(out, end), static_cast<u32>(l.scales_at - end), rng_counter},
      Encode::blocks(l.sent));
}

/// The values of a payload's codes, before they are rotated back.
template <codec::WireExpr E>
auto coded(const std::byte* in, const Layout& l) {
  return Coded<typename Form<E>::Code>{bytes_at(in, l.codes_at), bytes_at(in, l.scales_at),
                                       static_cast<u32>(l.sent)};
}
inline auto coded_list(const void* list, std::int64_t n) {
  const auto* p = static_cast<const unsigned char*>(list);
  return Coded<ops::Float32>{p, p, static_cast<u32>(n)};
}

/// The workspace of a scatter by an index block.
struct ScatterPlan {
  ReadPlan index;
  std::int64_t starts = 0;

  constexpr void take(Slots& s, const Layout& l) {
    index.take_rest(s, l);
    starts = s.take(4 * (ceil_div(l.n, scatter_tile) + 1));
  }
};

/// Places values by rank at the positions read before.
template <codec::CodeCodec C>
void scatter(const Queue& q, const Coded<C>& values, const Layout& l, const ScatterPlan& p, const Sink& out,
             std::byte* workspace) {
  const std::int64_t tiles = ceil_div(l.n, scatter_tile);
  const u32* const position = slot<u32>(workspace, p.index.position);
  u32* const starts = slot<u32>(workspace, p.starts);
  q.launch(FindTiles{position, slot<u32>(workspace, p.index.found), starts, static_cast<u32>(tiles + 1)},
           ceil_div(tiles + 1, block_threads));
  q.launch(ScatterCodes<C>{values, position, starts, out}, tiles);
}

/// The workspace of one decoder.
template <codec::WireExpr E>
struct DecodePlan {
  using F = Form<E>;
  Layout l;
  ScatterPlan scatter;
  std::int64_t zeros_at = 0, zeros = 0, shaped = 0, turned = 0;

  constexpr DecodePlan(const Extents& shape, Slots& s) : l(layout<E>(shape)) {
    if (F::rotates && (F::shapes || indexed(l))) turned = s.take(4 * l.sent);
    if (!indexed(l)) return;
    zeros_at = s.bytes;
    scatter.index.take_zeros(s, l);
    zeros = s.bytes - zeros_at;
    scatter.take(s, l);
    if (F::shapes) shaped = s.take(4 * l.n);
  }
};

inline void zero_output(const Queue& q, const Sink& out) {
  q.zero(out.data, kernel::bytes_of(out.dtype) * out.n);
}

/// Decodes a payload of chain E into a tensor of extents `shape`.
template <codec::WireExpr E>
void decode_chain(const Queue& q, const std::byte* in, const Extents& shape, const DecodePlan<E>& p,
                  const Sink& out, std::byte* workspace) {
  using F = Form<E>;
  using C = typename F::Code;
  const Layout& l = p.l;
  if (l.sent == 0) return zero_output(q, out);
  using Decode = DecodeCodes<C, typename F::Rotate>;
  if constexpr (!F::shapes)
    if (!indexed(l)) return q.launch(Decode{coded<E>(in, l), out}, Decode::blocks(l.sent));
  // What will be read out of order is first rotated back in order.
  const auto values = [&] {
    if constexpr (F::rotates) {
      float* const turned = slot<float>(workspace, p.turned);
      q.launch(Decode{coded<E>(in, l), list_sink(turned, l.sent)}, Decode::blocks(l.sent));
      return coded_list(turned, l.sent);
    } else {
      return coded<E>(in, l);
    }
  }();
  if (!indexed(l)) {
    if constexpr (F::shapes) {
      using Repeat = RepeatCodes<typename decltype(values)::Codec>;
      q.launch(Repeat{values, out, pooling<E>(shape, true), false, named_axes<E>(shape)},
               Repeat::blocks(out.n));
    }
    return;
  }
  if constexpr (F::selects) {
    q.zero(workspace + p.zeros_at, p.zeros);
    read_index(q, in, l, p.scatter.index, workspace);
    if constexpr (F::shapes) {
      float* const shaped = slot<float>(workspace, p.shaped);
      scatter(q, values, l, p.scatter, list_sink(shaped, l.n), workspace);
      using Repeat = RepeatCodes<ops::Float32>;
      q.launch(Repeat{coded_list(shaped, l.n), out, pooling<E>(shape, true), false, named_axes<E>(shape)},
               Repeat::blocks(out.n));
    } else {
      scatter(q, values, l, p.scatter, out, workspace);
    }
  }
}

}  // namespace pcomp::detail::gpu
