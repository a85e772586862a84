#pragma once
#include <mutex>

#include "../../wire/layout.hpp"
#include "index/index_writer.hpp"
#include "io/pool_axes.hpp"
#include "topk/select.hpp"

namespace pcomp::detail {

/// Calls then(source) with the source as the shape codec of form F leaves it.
template <class F, Pool mode, class Source, class Then>
void with_shaped(const Source& source, const Extents& before, Then&& then) {
  if constexpr (names_axes<typename F::Shape>)
    then(AxesPooledSource<Source, typename F::Shape, mode>(source, before));
  else if constexpr (F::shapes)
    then(PooledSource<Source, F::Shape::factor, mode>(source, before));
  else
    (void)before, then(source);
}

/// The scale of a coder that shares one over all that is sent; `visit(begin, end, f)` calls f(values, n) over
/// the ranks.
template <class T, class Visit>
typename T::Scale whole_scale(std::int64_t sent, const kernel::ParallelFor& par, Visit&& visit) {
  codec::Range all = no_range;
  std::mutex mutex;
  par(ceil_div(sent, chunk), 16, [&](std::int64_t b, std::int64_t e) {
    codec::Range mine = no_range;
    visit(b * chunk, std::min(e * chunk, sent),
          [&](const float* v, std::int64_t n) { mine = joined(mine, PCOMP_DISPATCH(range)(v, n)); });
    const std::lock_guard lock(mutex);
    all = joined(all, mine);
  });
  return T::fit(all);
}

/// `take(rank, values, n)`, called with the values as form F's rotation leaves them; `rank` is a multiple of `chunk`.
template <class F, class Take>
auto rotated(Take take) {
  return [take](std::int64_t rank, const float* v, std::int64_t n) {
    if constexpr (F::rotates) {
      float turned[chunk];
      PCOMP_DISPATCH(rotate<typename F::Rotate, false>)(v, n, rank, turned);
      take(rank, turned, n);
    } else {
      take(rank, v, n);
    }
  };
}

/// The fused encoder of chain E: reads the source chunk by chunk and writes index, codes and scales, with nothing
/// of tensor size in between. The source is read once; again for a selection over more than `chunk` elements
/// that keeps no Candidates, and once more for PerTensor. `rng_counter` tells one message's noise from another's.
template <codec::WireExpr E, Pool mode, class Source>
void encode_chain(const Source& plain, const Extents& shape, std::byte* out, const kernel::ParallelFor& par,
                  std::uint32_t rng_counter) {
  using F = Form<E>;
  using C = typename F::Code;
  using T = CoderTraits<C>;
  constexpr bool shares_scale = T::has_scale && T::group() == 0;
  const Layout l = layout<E>(shape);
  if (l.bytes == 0) return;
  std::byte* const codes = out + l.codes_at;
  std::byte* const scales = out + l.scales_at;
  // Padding is part of the bytes, and the index block is ORed into.
  std::memset(out, 0, static_cast<std::size_t>(l.codes_at));
  const std::int64_t codes_end = l.codes_at + packed_bytes(l.sent, T::bits);
  std::memset(out + codes_end, 0, static_cast<std::size_t>(l.scales_at - codes_end));
  if (l.sent == 0) return;

  with_shaped<F, mode>(plain, shape, [&](const auto& source) {
    const auto code_all =
        [&](auto&& visit) {  // visit(begin, end, write, f) calls f(rank, values, n) over the ranks in order
          typename T::Scale shared{};
          if constexpr (shares_scale) {
            shared = whole_scale<T>(l.sent, par, [&](std::int64_t b, std::int64_t e, auto&& f) {
              visit(b, e, false, rotated<F>([&](std::int64_t, const float* v, std::int64_t n) { f(v, n); }));
            });
            std::memcpy(scales, &shared, sizeof shared);
          }
          const typename T::Scale* whole = shares_scale ? &shared : nullptr;
          par(ceil_div(l.sent, chunk), 8, [&](std::int64_t b, std::int64_t e) {
            visit(b * chunk, std::min(e * chunk, l.sent), true,
                  rotated<F>([&](std::int64_t rank, const float* v, std::int64_t n) {
                    PCOMP_DISPATCH(encode_codes<C>)(v, n, rank, codes, scales, whole, rng_counter);
                  }));
          });
        };
    if constexpr (F::selects) {
      const Selection<typename F::Select, std::remove_cvref_t<decltype(source)>> selection(source, l.shaped,
                                                                                           par);
      code_all([&](std::int64_t b, std::int64_t e, bool write, auto&& f) {
        IndexWriter index(l.index, out, b);
        selection.emit(
            b, e,
            [&](std::int64_t position, const std::uint64_t* word, std::int64_t bits,
                std::span<const std::uint8_t> places) {
              if (write) index.mask(position, word, bits, places);
            },
            f);
      });
    } else {
      code_all([&](std::int64_t b, std::int64_t e, bool, auto&& f) {
        float buffer[chunk];
        auto cursor = source.cursor(b);
        for (std::int64_t i = b; i < e; i += chunk) {
          const std::int64_t n = std::min(chunk, e - i);
          f(i, cursor.load(i, n, buffer), n);
        }
      });
    }
  });
}

}  // namespace pcomp::detail
