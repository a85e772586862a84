#pragma once
#include <string>

namespace pcomp {

/// What a rank does in one action of its row.
///
/// `Recv` and `Send` are of the activation that enters and leaves a stage, `RecvGrad` and `SendGrad` of the
/// gradient of its output and of its input. An edge within a rank has none of the four.
enum class Op { Recv, Forward, Send, RecvGrad, Backward, SendGrad };

/// One entry of a row: `op` for micro-batch `micro` of stage `stage`, both counted from 0.
struct Action {
  Op op = Op::Forward;
  int stage = 0;
  int micro = 0;
  friend constexpr bool operator==(const Action&, const Action&) = default;
};

constexpr bool is_compute(Op op) { return op == Op::Forward || op == Op::Backward; }

constexpr const char* to_string(Op op) {
  switch (op) {
    case Op::Recv:
      return "Recv";
    case Op::Forward:
      return "Forward";
    case Op::Send:
      return "Send";
    case Op::RecvGrad:
      return "RecvGrad";
    case Op::Backward:
      return "Backward";
    case Op::SendGrad:
      return "SendGrad";
  }
  return "?";
}

/// "Forward of stage 1, micro-batch 3".
inline std::string to_string(const Action& a) {
  return std::string(to_string(a.op)) + " of stage " + std::to_string(a.stage) + ", micro-batch " +
         std::to_string(a.micro);
}

}  // namespace pcomp
