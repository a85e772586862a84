#pragma once
#include <span>
#include <string>
#include <vector>

#include "policy.hpp"

namespace pcomp {

/// Runs a table of rows under a blocking rendezvous, the worst case: a send ends only when the other rank stands
/// at its receive.
///
/// Law: `ok()` exactly when every rank reaches the end of its row, every operation comes once, after what it
///   needs, and each edge's messages are received in the order in which they are sent. That a rendezvous ends
///   does not depend on speed: one run decides it for all.
/// Errors: `explain()` says what is wrong, with rank and step, and for a deadlock who waits for whom.
/// Example: docs/schedules.md
class Rendezvous {
 public:
  using Rows = std::vector<std::span<const Action>>;

  constexpr Rendezvous(const Rows& rows, Size n, std::span<const int> rank_of, bool backward)
      : rows_(rows),
        n_(n),
        rank_of_(rank_of),
        at_(detail::filled<std::size_t>(rows.size(), 0)),
        done_(detail::filled<char>(6 * count(), 0)) {
    while (pass()) {
    }
    for (std::size_t r = 0; r < rows_.size(); ++r) stuck_ = stuck_ || at_[r] < rows_[r].size();
    if (stuck_ || fault_) return;
    for (int s = 0; s < n_.stages; ++s)
      for (int m = 0; m < n_.micros; ++m)
        if (!did(Op::Forward, s, m) || (backward && !did(Op::Backward, s, m)))
          fault_ = "an operation is missing";
  }

  constexpr bool ok() const { return !stuck_ && !fault_; }

  std::string explain() const {
    if (ok()) return "no deadlock";
    std::string text = fault_ ? std::string("pcomp: a table that cannot run: ") + fault_
                              : "pcomp: this schedule deadlocks under a blocking rendezvous";
    for (std::size_t r = 0; r < rows_.size(); ++r)
      if (at_[r] < rows_[r].size())
        text += "; rank " + std::to_string(r) + " is at step " + std::to_string(at_[r]) + ", " +
                to_string(rows_[r][at_[r]]) + waits_for(r);
    return text;
  }

 private:
  constexpr std::size_t count() const {
    return static_cast<std::size_t>(n_.stages) * static_cast<std::size_t>(n_.micros);
  }
  constexpr std::size_t flag(Op op, int s, int m) const {
    return static_cast<std::size_t>(op) * count() +
           static_cast<std::size_t>(s) * static_cast<std::size_t>(n_.micros) + static_cast<std::size_t>(m);
  }
  constexpr bool did(Op op, int s, int m) const { return done_[flag(op, s, m)]; }
  constexpr int rank(int s) const { return rank_of_[static_cast<std::size_t>(s)]; }
  constexpr bool remote(int edge) const {
    return edge >= 0 && edge + 1 < n_.stages && rank(edge) != rank(edge + 1);
  }

  /// What the other end of a message does.
  static constexpr Action partner(const Action& a) {
    switch (a.op) {
      case Op::Send:
        return {Op::Recv, a.stage + 1, a.micro};
      case Op::Recv:
        return {Op::Send, a.stage - 1, a.micro};
      case Op::SendGrad:
        return {Op::RecvGrad, a.stage - 1, a.micro};
      case Op::RecvGrad:
        return {Op::SendGrad, a.stage + 1, a.micro};
      default:
        return a;
    }
  }

  /// Why `a` makes no sense on this rank now, or null.
  constexpr const char* fault(std::size_t r, const Action& a) const {
    const int s = a.stage, m = a.micro;
    if (s < 0 || s >= n_.stages || m < 0 || m >= n_.micros)
      return "a stage or micro-batch that does not exist";
    if (rank(s) != static_cast<int>(r)) return "a stage of another rank";
    if (did(a.op, s, m)) return "an operation comes twice";
    switch (a.op) {
      case Op::Recv:
        return remote(s - 1) ? nullptr : "a message where no edge leaves the rank";
      case Op::RecvGrad:
        return remote(s) ? nullptr : "a message where no edge leaves the rank";
      case Op::Send:
        if (!remote(s)) return "a message where no edge leaves the rank";
        return did(Op::Forward, s, m) ? nullptr : "a send before its computation";
      case Op::SendGrad:
        if (!remote(s - 1)) return "a message where no edge leaves the rank";
        return did(Op::Backward, s, m) ? nullptr : "a send before its computation";
      case Op::Forward:
        if (s == 0) return nullptr;
        return did(remote(s - 1) ? Op::Recv : Op::Forward, remote(s - 1) ? s : s - 1, m)
                   ? nullptr
                   : "a forward before its input";
      case Op::Backward:
        if (!did(Op::Forward, s, m)) return "a backward before its forward";
        if (s + 1 == n_.stages) return nullptr;
        return did(remote(s) ? Op::RecvGrad : Op::Backward, remote(s) ? s : s + 1, m)
                   ? nullptr
                   : "a backward before its gradient";
    }
    return "an operation that does not exist";
  }

  constexpr void advance(std::size_t r) {
    const Action& a = rows_[r][at_[r]++];
    done_[flag(a.op, a.stage, a.micro)] = 1;
  }

  /// Lets every rank go as far as it can; whether any moved.
  constexpr bool pass() {
    bool moved = false;
    for (std::size_t r = 0; r < rows_.size(); ++r)
      while (!fault_ && at_[r] < rows_[r].size()) {
        const Action a = rows_[r][at_[r]];
        if ((fault_ = fault(r, a))) return false;
        if (!is_compute(a.op)) {
          const Action b = partner(a);
          const auto peer = static_cast<std::size_t>(rank(b.stage));
          if (at_[peer] >= rows_[peer].size() || !(rows_[peer][at_[peer]] == b)) break;
          if ((fault_ = fault(peer, b))) return false;
          advance(peer);
        }
        advance(r);
        moved = true;
      }
    return moved && !fault_;
  }

  std::string waits_for(std::size_t r) const {
    const Action a = rows_[r][at_[r]];
    if (is_compute(a.op) || fault_) return "";
    return ", waiting for rank " + std::to_string(rank(partner(a).stage));
  }

  const Rows& rows_;
  Size n_;
  std::span<const int> rank_of_;
  std::vector<std::size_t> at_;
  std::vector<char> done_;
  bool stuck_ = false;
  const char* fault_ = nullptr;
};

}  // namespace pcomp
