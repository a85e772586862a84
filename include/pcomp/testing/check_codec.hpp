#pragma once
#include "number_laws.hpp"

namespace pcomp::detail {

/// Measures the laws of one wire; `Laws<C>` is what check_codec<C>() fills its log from.
template <codec::WireExpr C>
struct Laws {
  using F = Form<C>;
  using Code = typename F::Code;
  using T = CoderTraits<Code>;
  static constexpr C wire{};
  std::vector<Extents> shapes;
  testing::CodecLog log;

  void add(std::string law, bool held, std::string measured) {
    log.laws.push_back({std::move(law), held, std::move(measured)});
  }
  template <class V, class Each>
  void over(V, Each&& each) {
    for (const Extents& e : shapes)
      for (Values kind : all_values) each(Bench<V>{e}, test_values(e, kind, 1), kind);
  }

  void bytes() {
    std::size_t wrong = 0, payloads = 0;
    over(wire, [&](auto b, const Floats& x, Values) {
      wrong += b.sent(x, std::byte{0}) != b.sent(x, std::byte{0xff});
      ++payloads;
    });
    const Extents& e = shapes.back();
    std::ostringstream s;
    s << payloads << " payloads, " << wrong << " with a byte not written; "
      << 8.0 * static_cast<double>(wire_bytes(wire, e)) / static_cast<double>(e.size())
      << " bits an element on " << to_string(e);
    add("bytes sent == wire_bytes, each written", wrong == 0, s.str());
  }

  void reproducible() {
    std::size_t wrong = 0, payloads = 0;
    const Isa best = isa();
    over(wire, [&](auto b, const Floats& x, Values) {
      const Bytes whole = b.sent(x);
      const Floats y = b.received(whole);
      wrong += b.sent(x, {}, OddPieces{}) != whole;
      for (Isa lower = Isa::baseline; lower < best; lower = static_cast<Isa>(static_cast<int>(lower) + 1)) {
        isa() = lower;
        wrong += b.sent(x) != whole || !same_values(b.received(whole), y);
        isa() = best;
      }
      ++payloads;
    });
    add("same bytes for every division of work and instruction set", wrong == 0,
        std::to_string(payloads) + " payloads, " + std::to_string(wrong) + " differences");
  }

  /// Holds the values of finite groups to the coder's own bound.
  void bound() {
    double worst = 0, furthest = 0;
    std::size_t beyond = 0, checked = 0;
    constexpr codec::Chain<> raw{};
    constexpr auto coder = Code{} | raw;
    constexpr bool scaled = requires(typename T::Scale s) { Code::bound(1.0, s); };
    constexpr bool bounded = scaled || requires { Code::bound(1.0); };
    over(coder, [&](auto b, const Floats& x, Values kind) {
      const Bytes p = b.sent(x);
      const Floats y = b.received(p);
      for (std::size_t i = 0; i < x.size(); ++i) {
        if (!std::isfinite(x[i]) || spoilt(x, i)) continue;
        const double error = std::abs(static_cast<double>(y[i]) - static_cast<double>(x[i]));
        if (kind == Values::normal) furthest = std::max(furthest, error);
        double allowed = std::numeric_limits<double>::infinity();
        if constexpr (scaled) {
          typename T::Scale s;
          const auto at = static_cast<std::size_t>(layout<decltype(coder)>(b.e).scales_at);
          std::memcpy(&s,
                      p.data() + at + (T::group() ? i / static_cast<std::size_t>(T::group()) : 0) * sizeof s,
                      sizeof s);
          allowed = Code::bound(static_cast<double>(x[i]), s);
        } else if constexpr (bounded) {
          allowed = Code::bound(static_cast<double>(x[i]));
        }
        ++checked;
        if (allowed > 0 && error <= allowed) worst = std::max(worst, error / allowed);
        if (!(error <= allowed)) ++beyond;
      }
    });
    std::ostringstream s;
    if (bounded)
      s << checked << " values, " << beyond << " beyond the bound, the worst at " << worst << " of it";
    else
      s << "no bound stated; the largest error on normal values is " << furthest;
    add("decode(encode(x)) within the coder's bound", beyond == 0, s.str());
  }

  /// Whether the scale of element i also has to serve a value that is not finite.
  static bool spoilt(const Floats& x, std::size_t i) {
    if (!T::has_scale) return false;
    const std::size_t each = T::group() ? static_cast<std::size_t>(T::group()) : x.size(),
                      from = i / each * each;
    return !std::all_of(x.begin() + static_cast<std::ptrdiff_t>(from),
                        x.begin() + static_cast<std::ptrdiff_t>(std::min(from + each, x.size())),
                        [](float v) { return std::isfinite(v); });
  }

  void numbers() {
    const NumberLaws<C> n(shapes);
    add("what is not finite arrives as what is not finite", n.vanished == 0,
        std::to_string(n.spoilt) + " tensors, " + std::to_string(n.vanished) +
            " with a NaN or an infinity lost");
    add("what is finite arrives as what is finite, in the tensor's own dtype", n.overflown == 0,
        std::to_string(n.finite) + " tensors, " + std::to_string(n.overflown) + " with an overflow");
  }

  void stochastic() {
    if constexpr (T::stochastic) {
      // The mean over many equal values between two codes; their standard error is below step / 2 / sqrt(n).
      const Extents e{1 << 16};
      Floats x(1 << 16, 0.3f);
      x[0] = 0, x[1] = static_cast<float>((1 << T::bits) - 1);
      for (std::size_t i = 0; i < x.size(); i += 64) x[i] = x[0], x[i + 1] = x[1];
      const Bench<Code> b{e};
      double bias = 0, over_messages = 0, same = 0;
      constexpr int messages = 64;
      Floats mean(x.size(), 0.0f);
      for (int m = 0; m < messages; ++m) {
        kernel::TensorView in{std::span<const float>(x)};
        in.noise = static_cast<std::uint64_t>(m);
        Bytes p(wire_bytes(Code{}, e));
        pcomp::encode(Code{}, in, e, p);
        const Floats y = b.received(p);
        for (std::size_t i = 0; i < x.size(); ++i) {
          mean[i] += y[i] / messages;
          if (m == 0)
            bias += (static_cast<double>(y[i]) - static_cast<double>(x[i])) / static_cast<double>(x.size());
          if (m == 0) same += x[i] == 0.3f;
        }
      }
      // Each value's mean over many messages: 0.3 +- sqrt(0.21 / 64), at most five standard deviations off.
      for (std::size_t i = 0; i < x.size(); ++i)
        over_messages =
            std::max(over_messages, std::abs(static_cast<double>(mean[i]) - static_cast<double>(x[i])));
      std::ostringstream s;
      s << "mean error " << bias << " of a step over " << same << " values, at most " << over_messages
        << " of each over " << messages << " messages";
      add("stochastic rounding is unbiased, over values and over messages",
          std::abs(bias) < 0.02 && over_messages < 0.3, s.str());
    }
  }

  void selection() {
    if constexpr (F::selects) {
      using Select = typename F::Select;
      std::size_t wrong = 0, segments = 0;
      over(Select{}, [&](auto b, const Floats& x, Values) {
        const Floats y = b.received(b.sent(x));
        const std::int64_t size = Select::segment(b.e), n = b.e.size();
        for (std::int64_t at = 0; size > 0 && at < n; at += size, ++segments) {
          const std::int64_t m = std::min(size, n - at), k = Select::keep(m);
          std::vector<std::int64_t> order(static_cast<std::size_t>(m));
          for (std::int64_t i = 0; i < m; ++i) order[static_cast<std::size_t>(i)] = at + i;
          std::vector<std::uint32_t> scores;  // once each, as a broken codec's may change
          for (std::int64_t i = at; i < at + m; ++i)
            scores.push_back(score_of<Select>(x[static_cast<std::size_t>(i)], i));
          auto score = [&](std::int64_t i) { return scores[static_cast<std::size_t>(i - at)]; };
          std::stable_sort(order.begin(), order.end(), [&](auto i, auto j) { return score(i) > score(j); });
          Floats expected(static_cast<std::size_t>(m), 0.0f);
          for (std::int64_t r = 0; r < k; ++r) {
            const auto i = static_cast<std::size_t>(order[static_cast<std::size_t>(r)]);
            expected[i - static_cast<std::size_t>(at)] = x[i];
          }
          wrong += !same_values(expected, Floats(y.begin() + at, y.begin() + at + m));
        }
      });
      add("keeps exactly the k highest scores, ties to the lowest index", wrong == 0,
          std::to_string(segments) + " selections, " + std::to_string(wrong) + " wrong");
    }
  }

  void adjoint() {
    if constexpr (F::shapes || F::selects) {
      constexpr auto linear = [] {
        if constexpr (F::shapes && F::selects)
          return typename F::Shape{} | typename F::Select{};
        else if constexpr (F::shapes)
          return typename F::Shape{};
        else
          return typename F::Select{};
      }();
      double worst = 0;
      over(linear, [&](auto b, const Floats& x, Values kind) {
        if (kind != Values::normal && kind != Values::relu) return;
        const Floats g = test_values(b.e, Values::normal, 2);
        const Bytes p = b.sent(x);
        const Floats ax = b.received(p), ag = b.grad_received(b.grad_sent(g, p), p);
        double left = 0, right = 0, size = 1e-30;
        for (std::size_t i = 0; i < x.size(); ++i) {
          left += static_cast<double>(ax[i]) * static_cast<double>(g[i]);
          right += static_cast<double>(x[i]) * static_cast<double>(ag[i]);
          size += std::abs(static_cast<double>(ax[i]) * static_cast<double>(g[i]));
        }
        worst = std::max(worst, std::abs(left - right) / size);
      });
      std::ostringstream s;
      s << "largest relative difference " << worst;
      add("<Ax, g> == <x, A'g>", worst < 1e-5, s.str());
    } else {
      std::size_t wrong = 0;
      over(wire, [&](auto b, const Floats& x, Values) {
        const Bytes p = b.sent(x);
        wrong += !same_values(b.grad_received(b.grad_sent(x, p), p), b.received(p));
      });
      add("the gradient passes straight through the coder", wrong == 0,
          std::to_string(wrong) + " differences");
    }
  }

  /// With floats as codes, the payload is the rotated tensor.
  void rotation() {
    if constexpr (F::rotates) {
      double error = 0, skew = 0;
      over(typename F::Rotate{} | ops::Float32{}, [&](auto b, const Floats& x, Values kind) {
        if (kind != Values::normal && kind != Values::relu) return;
        const Floats p = test_values(b.e, Values::normal, 2);
        const Bytes rx = b.sent(x);
        Bytes raw(p.size() * sizeof(float));
        std::memcpy(raw.data(), p.data(), raw.size());
        const Floats back = b.received(rx), rp = b.received(raw);
        double left = 0, right = 0, size = 1e-30;
        for (std::size_t i = 0; i < x.size(); ++i) {
          float rotated;
          std::memcpy(&rotated, rx.data() + i * sizeof rotated, sizeof rotated);
          error = std::max(error, std::abs(static_cast<double>(back[i]) - static_cast<double>(x[i])));
          left += static_cast<double>(rotated) * static_cast<double>(p[i]);
          right += static_cast<double>(x[i]) * static_cast<double>(rp[i]);
          size += std::abs(static_cast<double>(rotated) * static_cast<double>(p[i]));
        }
        skew = std::max(skew, std::abs(left - right) / size);
      });
      std::ostringstream s;
      s << "largest relative difference " << skew << "; there and back changes a normal value by at most "
        << error;
      add("<Rx, p> == <x, R'p>, and R'R = 1", skew < 1e-6 && error < 5e-6, s.str());
    }
  }

  void any_bytes() {
    std::mt19937 random(3);
    std::size_t decoded = 0, wrong = 0;
    for (const Extents& e : shapes)
      for (int round = 0; round < 20; ++round) {
        const Bench<C> b{e};
        Bytes p(wire_bytes(wire, e)), g(grad_wire_bytes(wire, e));
        // All zeros and all ones are the payloads that a broken peer is most likely to send.
        for (std::byte& v : p) v = static_cast<std::byte>(round == 0 ? 0 : round == 1 ? 255 : random());
        for (std::byte& v : g) v = static_cast<std::byte>(round == 0 ? 0 : round == 1 ? 255 : random());
        wrong += !same_values(b.received(p), b.received(p));
        wrong += !same_values(b.grad_received(g, p), b.grad_received(g, p));
        wrong += b.grad_sent(test_values(e, Values::odd, 4), p).size() != g.size();
        decoded += 2;
      }
    add("any bytes of the right length decode, the same each time", wrong == 0,
        std::to_string(decoded) + " payloads of noise, " + std::to_string(wrong) + " unstable");
  }

  /// With ones in front, if the shape codec takes only shapes of more dimensions.
  static Extents taken(Extents e) {
    if constexpr (F::shapes)
      for (;;) try {
          return F::Shape::shaped(e), e;
        } catch (const Error&) {
          if (e.rank() == Extents::max_rank) throw;
          std::vector<std::int64_t> longer{1};
          longer.insert(longer.end(), e.begin(), e.end());
          e = Extents(longer.begin(), longer.end());
        }
    return e;
  }

  testing::CodecLog run() {
    log.codec = std::string(name(wire).view());
    for (const Extents& e :
         {Extents{1}, Extents{1000}, Extents{3, 70}, Extents{2, 3, 5, 9}, Extents{4, 8, 17, 16}})
      shapes.push_back(taken(e));
    bytes();
    bound();
    numbers();
    stochastic();
    selection();
    adjoint();
    rotation();
    any_bytes();
    reproducible();
    return std::move(log);
  }
};

}  // namespace pcomp::detail

namespace pcomp {

/// Measures the laws that every codec keeps, on a codec or chain of your own.
///
/// Law: the log is true for every codec of pcomp; for one that breaks a law, it lists what was measured.
/// Shapes: tensors of one to four dimensions, or as many as its shape codec needs, ragged and whole; normal, half-zero, equal, huge, tiny and
///   non-finite values. A coder may state `bound(x)` or `bound(x, scale)`, and is then held to it.
/// Errors: none; a build with -fsanitize=address,undefined catches a codec's out-of-bounds accesses.
/// Source: dlib's test_layer, which checks a user's layer in the same way.
/// Example: examples/030-your-own-codec
template <codec::WireExpr C>
testing::CodecLog check_codec() {
  return detail::Laws<std::remove_cv_t<C>>{}.run();
}
template <auto C>
  requires codec::WireExpr<decltype(C)>
testing::CodecLog check_codec() {
  return check_codec<std::remove_cv_t<decltype(C)>>();
}

}  // namespace pcomp
