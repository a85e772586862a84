#pragma once
#include "bytes.hpp"

namespace pcomp::ops {

/// Both ends keep what was last received for every sample, and only the coded difference travels: AQ-SGD.
///
/// Law: what is received is m' = m + decode(sent), within the coder's bound of x, and that bound follows the sample's
///   change since its last visit. A micro-batch with a sample not seen before goes through First as a whole, as does
///   evaluation, which changes nothing. Backward is straight through, as for ErrorFeedback. Non-finite values
///   count as 0 in what is kept.
/// Bytes: those of First on a first visit, of the rest of the wire later; both ends know which. Each end keeps
///   samples x elements x 4 bytes, or 2 with Keep = BFloat16, in units of 256 samples (state_bytes); a rank that holds
///   both ends keeps one copy. CIFAR-10's 50 000 samples of 8x32x32: 1.6 GB per end.
/// Shapes: one sample's shape must not change. Samples are told apart by the identities passed to `step`.
/// Refusals: no lossy codec beside it; a First that is not a wire or has feedback itself; a Keep other than Raw and
///   BFloat16; on the gradient of a selection or a Downsample.
/// Errors: `Error` unless a step has one identity per sample, without duplicates.
/// Source: AQ-SGD (Wang et al., 2022).
/// Example: docs/feedback.md
template <auto F = pcomp::Raw, auto Keep = pcomp::Raw>
struct Delta : Composable {
  using First = std::remove_cvref_t<decltype(F)>;  // nvcc writes decltype((F)) for the host
  using Kept = std::remove_cvref_t<decltype(Keep)>;
  static_assert(refuse::first_visit<detail::is_stateless<First>()>());
  static_assert(
      refuse::kept_messages<(std::is_same_v<Kept, codec::Chain<>> || std::is_same_v<Kept, BFloat16>)>());
  static constexpr Role role = Role::feedback;
  static constexpr codec::Memory memory = codec::Memory::samples;
  static constexpr bool in_bfloat16 = std::is_same_v<Kept, BFloat16>;
  static constexpr codec::FixedString name = [] {
    if constexpr (!detail::is_stateless<First>()) {
      return codec::FixedString("Delta");  // refused above
    } else {
      const codec::FixedString first =
          detail::chain_name(static_cast<typename detail::Codecs<First>::type*>(nullptr));
      if (in_bfloat16) return codec::FixedString("Delta<") + first + ", BFloat16>";
      return std::is_same_v<First, codec::Chain<>> ? codec::FixedString("Delta<>")
                                                   : codec::FixedString("Delta<") + first + ">";
    }
  }();
};

}  // namespace pcomp::ops

namespace pcomp {

template <auto First = Raw, auto Keep = Raw>
inline constexpr ops::Delta<First, Keep> Delta{};

}  // namespace pcomp

namespace pcomp::detail {

inline constexpr std::int64_t kept_together = 256;  // samples

/// What a first visit goes through: Delta's First; for any other chain, the chain itself.
template <codec::WireExpr E>
constexpr auto first_of() {
  if constexpr (Form<E>::memory == codec::Memory::samples)
    return typename Form<E>::Feedback::First{};
  else
    return E{};
}

/// F forward and G backward, as Wire<F> where G is its default gradient: one set of kernels for both spellings.
template <codec::WireExpr F, codec::WireExpr G>
constexpr auto wire_of(F, G) {
  if constexpr (std::is_same_v<G, decltype(coder_of<F>())>)
    return Wire<F{}>{};
  else
    return Wire<F{}, G{}>{};
}

/// The bytes that one end of one direction keeps.
template <class E>
constexpr std::int64_t end_bytes(std::int64_t elements, std::int64_t batch, std::int64_t samples) {
  if constexpr (Form<E>::memory == codec::Memory::nothing)
    return 0;
  else if constexpr (Form<E>::memory == codec::Memory::samples)
    return ceil_div(samples, kept_together) * kept_together * elements *
           (Form<E>::Feedback::in_bfloat16 ? 2 : 4);
  else
    return batch * elements * 4;
}

}  // namespace pcomp::detail

namespace pcomp::codec {

/// The memory that a wire's feedback takes for activations of one sample's shape, in bytes, both directions: of the two
/// ends together, or of the one rank that holds both.
///
/// Law: equal to what a pipeline reports once every sample has been seen.
/// Bytes: a residual is batch x elements x 4 at the sender; an estimate as much at each end; Delta samples x elements
///   x 4 (2 in bfloat16), in units of 256 samples, at each end.
/// Shapes: `sample` has a first dimension of 1.
/// Example: docs/feedback.md
template <AnyWire W>
[[nodiscard]] constexpr std::size_t state_bytes(W, const Extents& sample, std::int64_t batch,
                                                std::int64_t samples, bool on_one_rank = false) {
  using V = detail::as_wire<W>;
  const auto both = [&](std::int64_t bytes, Memory m) {
    return m == Memory::residual || on_one_rank ? bytes : 2 * bytes;
  };
  return static_cast<std::size_t>(both(detail::end_bytes<typename V::Forward>(sample.size(), batch, samples),
                                       detail::Form<typename V::Forward>::memory) +
                                  both(detail::end_bytes<typename V::Backward>(sample.size(), batch, samples),
                                       detail::Form<typename V::Backward>::memory));
}

}  // namespace pcomp::codec
