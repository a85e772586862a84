#pragma once
#include "../fused_decode.hpp"
#include "../fused_encode.hpp"

namespace pcomp::detail {

/// The gradient's encoder: pool by sums, gather by the forward mask, then the gradient's own chain.
template <class W, class Source>
void encode_restricted(const Source& plain, const Extents& shape, const std::byte* index, std::byte* out,
                       const kernel::ParallelFor& par, std::uint32_t rng_counter) {
  using F = Form<typename W::Forward>;
  const Layout l = layout<typename W::Forward>(shape);
  const Extents list = restricted<W>(shape);
  with_shaped<F, Pool::sum>(plain, shape, [&](const auto& source) {
    if constexpr (F::selects) {
      const GatheredSource<std::remove_cvref_t<decltype(source)>> gathered{source, index, l};
      encode_chain<typename W::Backward, Pool::mean>(gathered, list, out, par, rng_counter);
    } else {
      encode_chain<typename W::Backward, Pool::mean>(source, list, out, par, rng_counter);
    }
  });
}

/// The gradient's decoder: its own chain, scatter by the forward mask, spread each value's share.
template <class W, class Sink>
void decode_restricted(const std::byte* in, const Extents& shape, const std::byte* index, const Sink& plain,
                       const kernel::ParallelFor& par) {
  using F = Form<typename W::Forward>;
  const Layout l = layout<typename W::Forward>(shape);
  const Extents list = restricted<W>(shape);
  with_unshaped<F, Pool::sum>(plain, shape, [&](const auto& sink) {
    if constexpr (F::selects) {
      const auto ranks = payload_source<typename W::Backward>(in, layout<typename W::Backward>(list));
      copy_all(ScatteredSource<std::remove_const_t<decltype(ranks)>>{ranks, index, l}, sink, l.n, par);
    } else {
      decode_chain<typename W::Backward, Pool::mean>(in, list, sink, par);
    }
  });
}

}  // namespace pcomp::detail
