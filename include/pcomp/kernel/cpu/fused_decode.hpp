#pragma once
#include "../parallel.hpp"
#include "index/scatter.hpp"
#include "io/pool_axes.hpp"

namespace pcomp::detail {

/// Calls then(sink) with a sink that takes what the shape codec of form F left.
template <class F, Pool mode, class Sink, class Then>
void with_unshaped(const Sink& sink, const Extents& before, Then&& then) {
  if constexpr (names_axes<typename F::Shape>)
    then(AxesUnpooledSink<Sink, typename F::Shape, mode>(sink, before));
  else if constexpr (F::shapes)
    then(UnpooledSink<Sink, F::Shape::factor, mode>(sink, before));
  else
    (void)before, then(sink);
}

/// A payload's shaped elements as a source, zero where nothing was sent.
template <codec::WireExpr E>
auto payload_source(const std::byte* in, const Layout& l) {
  using Ranks = CodedSource<typename Form<E>::Code, typename Form<E>::Rotate>;
  const Ranks ranks(in + l.codes_at, in + l.scales_at, l.sent);
  if constexpr (Form<E>::selects)
    return ScatteredSource<Ranks>{ranks, in, l};
  else
    return ranks;
}

/// Writes [0, n) of a source to a sink, in place where the sink allows it.
template <class Source, class Sink>
void copy_all(const Source& source, const Sink& sink, std::int64_t n, const kernel::ParallelFor& par) {
  par(ceil_div(n, chunk), 8, [&](std::int64_t b, std::int64_t e) {
    float buffer[chunk];
    auto cursor = source.cursor(b * chunk);
    auto out = sink.cursor();
    for (std::int64_t i = b * chunk; i < std::min(e * chunk, n); i += chunk) {
      const std::int64_t m = std::min(chunk, n - i);
      float* direct = sink.direct(i);
      const bool past_caches = direct && sink.past_caches();
      const float* v = cursor.load(i, m, direct && !past_caches ? direct : buffer);
      if (past_caches)
        PCOMP_DISPATCH(copy_past_caches)(v, m, direct);
      else if (!direct)
        out.store(i, m, v);
    }
    hwy::FlushStream();
  });
}

/// The fused decoder of chain E: every output element is written once.
template <codec::WireExpr E, Pool mode, class Sink>
void decode_chain(const std::byte* in, const Extents& shape, const Sink& plain,
                  const kernel::ParallelFor& par) {
  const Layout l = layout<E>(shape);
  with_unshaped<Form<E>, mode>(plain, shape,
                               [&](const auto& sink) { copy_all(payload_source<E>(in, l), sink, l.n, par); });
}

}  // namespace pcomp::detail
