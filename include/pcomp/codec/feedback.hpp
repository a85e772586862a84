#pragma once
#include "codec.hpp"

namespace pcomp::codec {

/// What the ends of a boundary remember between messages.
enum class Memory {
  nothing,
  residual,  ///< the sender: what it could not send, for each micro-batch's place in the batch
  estimate,  ///< both ends: what the receiver has, likewise
  samples    ///< both ends: what the receiver has, for each sample of the data set
};

/// A codec that decides what the rest of the wire codes: the tensor combined with what is remembered.
template <class C>
concept FeedbackCodec = Codec<C> && C::role == Role::feedback && requires {
  { C::memory } -> std::convertible_to<Memory>;
  { C::in_bfloat16 } -> std::convertible_to<bool>;
};

}  // namespace pcomp::codec

namespace pcomp::ops {

/// The sender keeps what it could not send and adds it to the next tensor in that place: e' = (x + e) - decode(sent).
///
/// Law: over any number of messages, what was received and the last residual add up to what was to be sent. Backward is
///   straight through: dx is the adjoint of the wire's linear part, with the mask of this message, applied to dy. For
///   gradients whose forward wire selects or shapes, the residual holds only what the loss depends on; what has no
///   place in this mask waits for one that has. Evaluation sends x itself and changes nothing. A non-finite residual
///   is discarded.
/// Bytes: those of the rest of the wire. The sender keeps a float for each element of a batch (state_bytes).
/// Shapes: any; one sample's shape must not change. A place is a sample's position in the batch: a sample meets the
///   residual of another one, which suits gradients better than activations.
/// Refusals: no lossy codec beside it; a Downsample beside it, which would never send what it leaves out.
/// Source: 1-bit SGD (Seide et al., 2014); EF-SGD (Karimireddy et al., 2019). On activations: Rudakov et al., 2023.
/// Example: docs/feedback.md
struct ErrorFeedback : Composable {
  static constexpr Role role = Role::feedback;
  static constexpr codec::FixedString name = "ErrorFeedback";
  static constexpr codec::Memory memory = codec::Memory::residual;
  static constexpr bool in_bfloat16 = false;
};

/// Both ends keep the same estimate of the tensor, and only the coded difference travels: g' = g + decode(sent).
///
/// Law: what is received is g'; for a constant tensor it tends to that tensor, as each message leaves out less.
///   Backward is straight through, as for ErrorFeedback. The first message in a place codes x itself, as does
///   evaluation, which changes nothing. Non-finite values count as 0 in the estimate.
/// Bytes: those of the rest of the wire. Both ends keep a float for each element of a batch (state_bytes); a rank that
///   holds both keeps one copy.
/// Shapes: as ErrorFeedback.
/// Refusals: no lossy codec beside it; on the gradient of a selection or a Downsample, where an estimate would hold
///   what the loss does not depend on.
/// Source: EF21 (Richtarik, Sokolov and Fatkhullin, 2021). On activations: Rudakov et al., 2023.
/// Example: docs/feedback.md
struct EF21 : Composable {
  static constexpr Role role = Role::feedback;
  static constexpr codec::FixedString name = "EF21";
  static constexpr codec::Memory memory = codec::Memory::estimate;
  static constexpr bool in_bfloat16 = false;
};

}  // namespace pcomp::ops

namespace pcomp {

inline constexpr ops::ErrorFeedback ErrorFeedback{};
inline constexpr ops::EF21 EF21{};

}  // namespace pcomp
