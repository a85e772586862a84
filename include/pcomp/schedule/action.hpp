#pragma once
#include "../base/name.hpp"

namespace pcomp {

/// What a rank does in one action of its row.
///
/// `Recv` and `Send` move the activation that enters and leaves a stage, `RecvGrad` and `SendGrad` the
/// gradient of its output and of its input. A boundary within a rank has none of the four. `Backward` computes
/// every gradient of a stage; under a policy that splits it, only that of the input, and `BackwardWeights`
/// later those of the weights.
enum class Op { Recv, Forward, Send, RecvGrad, Backward, SendGrad, BackwardWeights };

/// One entry of a row: `op` for micro-batch `micro` of stage `stage`, both counted from 0.
struct Action {
  Op op = Op::Forward;
  int stage = 0;
  int micro = 0;
  friend constexpr bool operator==(const Action&, const Action&) = default;
};

}  // namespace pcomp

namespace pcomp::schedule {

constexpr bool is_compute(Op op) {
  return op == Op::Forward || op == Op::Backward || op == Op::BackwardWeights;
}

}  // namespace pcomp::schedule

namespace pcomp {

constexpr const char* to_string(Op op) {
  constexpr const char* names[] = {"Recv",     "Forward",  "Send",           "RecvGrad",
                                   "Backward", "SendGrad", "BackwardWeights"};
  return names[static_cast<int>(op)];
}

constexpr detail::LongText& operator<<(detail::LongText& text, const Action& a) {
  return text << to_string(a.op) << " of stage " << a.stage << ", micro-batch " << a.micro;
}

/// "Forward of stage 1, micro-batch 3".
inline std::string to_string(const Action& a) {
  detail::LongText text;
  return (text << a).string();
}

}  // namespace pcomp
