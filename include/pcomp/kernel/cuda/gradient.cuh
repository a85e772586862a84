#pragma once
#include "chain.cuh"

namespace pcomp::detail::gpu {

/// The workspace of a gradient's encoder: the forward mask as positions, then that of its own chain.
template <class W>
struct EncodeGradPlan {
  using F = Form<typename W::Forward>;
  Layout l;
  ReadPlan index;
  static constexpr bool by_name = names_axes<typename F::Shape>;
  std::int64_t zeros_at = 0, zeros = 0, pooled = 0;
  EncodePlan<typename W::Backward> chain;

  constexpr EncodeGradPlan(const Extents& shape, Slots& s)
      : l(layout<typename W::Forward>(shape)),
        chain((take_index(s), restricted<W>(shape)), F::shapes || F::selects, s) {}

 private:
  constexpr void take_index(Slots& s) {
    if (by_name) pooled = s.take(4 * l.n);
    if (!indexed(l)) return;
    zeros_at = s.bytes;
    index.take_zeros(s, l);
    zeros = s.bytes - zeros_at;
    index.take_rest(s, l);
  }
};

/// Pools by sums, gathers by the forward mask, then encodes with the gradient's own chain.
template <class W>
void encode_restricted(const Queue& q, Source dy, const Extents& shape, const EncodeGradPlan<W>& p,
                       const std::byte* index, std::byte* out, std::byte* workspace, u32 rng_counter) {
  const Layout& l = p.l;
  if (p.chain.l.sent == 0) return;
  if constexpr (EncodeGradPlan<W>::by_name) {
    dy = pooled_list<typename W::Forward>(q, dy, shape, l, false, slot<float>(workspace, p.pooled));
  } else if constexpr (EncodeGradPlan<W>::F::shapes) {
    dy.pool = pooling<typename W::Forward>(shape, false);
    dy.n = static_cast<u32>(l.n), dy.plain = false;
  }
  if (indexed(l)) {
    q.zero(workspace + p.zeros_at, p.zeros);
    read_index(q, index, l, p.index, workspace);
    dy.at = slot<u32>(workspace, p.index.position), dy.found = slot<u32>(workspace, p.index.found);
    dy.limit = static_cast<u32>(l.n), dy.n = static_cast<u32>(l.sent), dy.plain = false;
  }
  encode_chain(q, dy, restricted<W>(shape), p.chain, out, workspace, rng_counter);
}

/// The workspace of a gradient's decoder.
template <class W>
struct DecodeGradPlan {
  using F = Form<typename W::Forward>;
  using G = Form<typename W::Backward>;
  static constexpr bool plain_codes = !G::shapes && !G::selects && !G::rotates;
  Layout l;
  ScatterPlan scatter;
  std::int64_t zeros_at = 0, zeros = 0, list = 0, shaped = 0;
  bool lists;  ///< the gradient's own chain is decoded to a list of floats first
  DecodePlan<typename W::Backward> chain;

  constexpr DecodeGradPlan(const Extents& shape, Slots& s)
      : l(layout<typename W::Forward>(shape)),
        lists(!plain_codes && (F::shapes || indexed(l))),
        chain((take_own(s), restricted<W>(shape)), s) {}

 private:
  constexpr void take_own(Slots& s) {
    if (indexed(l)) {
      zeros_at = s.bytes;
      scatter.index.take_zeros(s, l);
      zeros = s.bytes - zeros_at;
      scatter.take(s, l);
      if (F::shapes) shaped = s.take(4 * l.n);
    }
    if (lists) list = s.take(4 * l.sent);
  }
};

/// Decodes with the gradient's own chain, places the values by the forward mask, and spreads each one's share.
template <class W>
void decode_restricted(const Queue& q, const std::byte* in, const Extents& shape, const DecodeGradPlan<W>& p,
                       const std::byte* index, const Sink& out, std::byte* workspace) {
  using Plan = DecodeGradPlan<W>;
  using F = typename Plan::F;
  using E = typename W::Forward;
  using B = typename W::Backward;
  const Layout& l = p.l;
  if (p.chain.l.sent == 0) return zero_output(q, out);
  const Extents list = restricted<W>(shape);
  if (!indexed(l) && !F::shapes) return decode_chain<B>(q, in, list, p.chain, out, workspace);

  const auto place = [&](const auto& values) {
    using C = typename std::remove_cvref_t<decltype(values)>::Codec;
    if (!indexed(l)) {
      q.launch(RepeatCodes<C>{values, out, pooling<E>(shape, false), true, named_axes<E>(shape)},
               RepeatCodes<C>::blocks(out.n));
      return;
    }
    q.zero(workspace + p.zeros_at, p.zeros);
    read_index(q, index, l, p.scatter.index, workspace);
    if constexpr (F::shapes) {
      float* const shaped = slot<float>(workspace, p.shaped);
      scatter(q, values, l, p.scatter, list_sink(shaped, l.n), workspace);
      using Repeat = RepeatCodes<ops::Float32>;
      q.launch(Repeat{coded_list(shaped, l.n), out, pooling<E>(shape, false), true, named_axes<E>(shape)},
               Repeat::blocks(out.n));
    } else {
      scatter(q, values, l, p.scatter, out, workspace);
    }
  };
  if constexpr (Plan::plain_codes) {
    place(coded<B>(in, p.chain.l));
  } else {
    float* const values = slot<float>(workspace, p.list);
    decode_chain<B>(q, in, list, p.chain, list_sink(values, list.size()), workspace);
    place(coded_list(values, list.size()));
  }
}

}  // namespace pcomp::detail::gpu
