#pragma once
#include <array>
#include <type_traits>
#include <utility>

#include "execution_state.hpp"

namespace pcomp::schedule {

/// Runs a table of rows with sends that end early or late, and tells whether it reaches the end.
///
/// Law: `in_flight` 0 is a blocking rendezvous, the worst case: a send ends only when the other rank has reached
///   its receive. With k above 0 a send ends at once while fewer than k messages of its boundary and direction wait
///   to be received. `ok()` exactly when every rank reaches the end of its row, every operation comes once, after
///   what it needs, and each boundary's messages are received in the order in which they are sent. Whether that
///   happens does not depend on speed, so one run decides it for all; and what ends with k ends with any larger k.
/// Errors: `explain()` says what is wrong, at which rank and step, and for a deadlock the cycle of ranks that wait
///   for each other.
/// Source: a network of deterministic processes has one outcome (Kahn, 1974), also with bounded channels.
/// Example: docs/schedules.md
class Proof {
 public:
  constexpr Proof(detail::Rows rows, PipelineDims n, std::span<const int> rank_of, Passes passes,
                  int in_flight = 0)
      : progress_(n, rank_of, passes),
        in_flight_(in_flight),
        ranks_(static_cast<int>(rows.size())),
        microbatches_(n.microbatches),
        cursors_(rows.size()),
        channels_(in_flight ? 2 * static_cast<std::size_t>(n.stages) : 0),
        sent_(in_flight ? 2 * static_cast<std::size_t>(n.stages) * static_cast<std::size_t>(n.microbatches)
                        : 0) {
    for (int r = 0; r < ranks_; ++r) {
      const auto& row = rows[static_cast<std::size_t>(r)];
      cursors_.data()[r] = {row.data(), row.data(), row.data() + row.size()};
    }
    while (pass()) {
    }
    for (int r = 0; r < ranks_; ++r) stuck_ = stuck_ || !ended(r);
    missing_ = !stuck_ && !progress_.complete();
  }

  constexpr bool ok() const { return !stuck_ && !missing_; }
  std::string explain() const {
    detail::LongText text;
    explain(text);
    return text.string();
  }

  /// The same text, also in a constant expression.
  constexpr void explain(detail::LongText& text) const {
    if (ok()) text << "no deadlock";
    if (missing_) text << "pcomp: a table that cannot run: an operation is missing";
    if (fault_) text << "pcomp: a table that cannot run: " << fault_;
    if (stuck_ && !fault_) text << "pcomp: this schedule deadlocks under ";
    if (stuck_ && !fault_ && in_flight_) text << "sends with " << in_flight_ << " in flight";
    if (stuck_ && !fault_ && !in_flight_) text << "a blocking rendezvous";
    const char* before = ": ";
    places([&](const Place& p) {
      text << before;
      before = "; ";
      if (p.step >= 0) text << "rank " << p.rank << ", step " << p.step << ", ";
      text << p.action;
      if (p.waits_for >= 0) text << " waits for rank " << p.waits_for;
      if (p.waits_for >= 0 && ended(p.waits_for)) text << ", which has ended";
    });
  }

  /// Where the fault is: one action, or those of a cycle, each with the rank that it waits for.
  struct Place {
    int rank = 0, step = -1;
    Action action{};
    int waits_for = -1;
  };
  template <class Note>
  constexpr void places(Note note) const {
    if (missing_) note(Place{progress_.rank(progress_.missing().stage), -1, progress_.missing(), -1});
    if (fault_) note(place(rank_, -1));
    if (!stuck_ || fault_) return;
    // From a stuck rank, follow who waits for whom until a rank repeats or one has ended.
    int r = 0;
    while (ended(r)) ++r;
    const detail::Buffer<char> seen(static_cast<std::size_t>(ranks_));
    for (; !seen.data()[r] && !ended(peer(r)); r = peer(r)) seen.data()[r] = 1;
    const int first = r;
    do note(place(r, peer(r)));
    while (!ended(peer(r)) && (r = peer(r)) != first);
  }

 private:
  struct Cursor {
    const Action *first = nullptr, *at = nullptr, *end = nullptr;
  };
  /// How many messages of a boundary and direction have been sent and received.
  struct Channel {
    int sent = 0, received = 0;
  };

  constexpr bool ended(int r) const { return cursors_.data()[r].at == cursors_.data()[r].end; }
  constexpr const Action& next(int r) const { return *cursors_.data()[r].at; }

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
  constexpr int peer(int r) const { return progress_.rank(partner(next(r)).stage); }

  constexpr bool refuse(int r, const char* why) {
    fault_ = why;
    rank_ = r;
    return false;
  }

  /// Lets every rank go as far as it can; returns whether any moved.
  constexpr bool pass() {
    bool moved = false;
    for (int r = 0; r < ranks_; ++r)
      for (Cursor& c = cursors_.data()[r]; !fault_ && c.at != c.end && act(r, c); ++c.at) moved = true;
    return moved && !fault_;
  }

  /// Runs one action of rank r, if it can; returns whether it did.
  constexpr bool act(int r, const Cursor& c) {
    if (const char* why = progress_.fault(r, *c.at)) return refuse(r, why);
    if (!is_compute(c.at->op) && !(in_flight_ ? pass_on(r, *c.at) : meet(*c.at))) return false;
    progress_.mark(*c.at);
    return true;
  }

  /// A rendezvous: succeeds if the other rank has reached its end of the message.
  constexpr bool meet(const Action& a) {
    const Action b = partner(a);
    const int other = progress_.rank(b.stage);
    Cursor& c = cursors_.data()[other];
    if (c.at == c.end || c.at->op != b.op || c.at->stage != b.stage || c.at->micro != b.micro) return false;
    if (const char* why = progress_.fault(other, b)) return refuse(other, why);
    progress_.mark(b);
    ++c.at;
    return true;
  }

  /// One end of a message that may wait between send and receive.
  constexpr bool pass_on(int r, const Action& a) {
    const bool gradient = a.op == Op::SendGrad || a.op == Op::RecvGrad;
    const int boundary = a.stage - (a.op == Op::Recv || a.op == Op::SendGrad ? 1 : 0);
    Channel& c = channels_.data()[2 * boundary + gradient];
    int* const sent = sent_.data() + (2 * boundary + gradient) * std::ptrdiff_t{microbatches_};
    if (a.op == Op::Send || a.op == Op::SendGrad) {
      if (c.sent - c.received >= in_flight_) return false;
      sent[c.sent++] = a.micro;
    } else {
      if (c.sent == c.received) return false;
      if (sent[c.received] != a.micro) return refuse(r, "a message is received out of order");
      ++c.received;
    }
    return true;
  }

  constexpr Place place(int r, int waits_for) const {
    const Cursor& c = cursors_.data()[r];
    return {r, static_cast<int>(c.at - c.first), *c.at, waits_for};
  }

  detail::Progress progress_;
  int in_flight_, ranks_, microbatches_;
  detail::Buffer<Cursor> cursors_;
  detail::Buffer<Channel> channels_;
  detail::Buffer<int> sent_;  ///< their micro-batches, in send order
  bool stuck_ = false, missing_ = false;
  const char* fault_ = nullptr;
  int rank_ = 0;  ///< where the fault is
};

}  // namespace pcomp::schedule

namespace pcomp::detail {

// What a proof found, as a type whose name the compiler prints in full: g++ prints strings in template arguments;
// clang does not, but prints numbers and enumerators.

template <auto text>
struct Explanation;

template <int Rank, int Step, Op What, int Stage, int Micro, int WaitsForRank>
struct Rank_Step_Op_Stage_Micro_WaitsForRank;
template <class... Places>
struct Cycle;

template <class Plan>
struct FindFault {
#ifdef __clang__
  static constexpr std::size_t size = Plan::proved([](const schedule::Proof& proof) {
    std::size_t count = 0;
    proof.places([&](const schedule::Proof::Place&) { ++count; });
    return count;
  });
  static constexpr auto places = Plan::proved([](const schedule::Proof& proof) {
    std::array<schedule::Proof::Place, size> list{};
    std::size_t i = 0;
    proof.places([&](const schedule::Proof::Place& p) { list[i++] = p; });
    return list;
  });
  template <std::size_t... I>
  static auto name(std::index_sequence<I...>)
      -> Cycle<Rank_Step_Op_Stage_Micro_WaitsForRank<places[I].rank, places[I].step, places[I].action.op,
                                                     places[I].action.stage, places[I].action.micro,
                                                     places[I].waits_for>...>*;
  using type = std::remove_pointer_t<decltype(name(std::make_index_sequence<size>()))>;
#else
  template <class Use>
  static constexpr auto text(Use use) {
    return Plan::proved([&](const schedule::Proof& proof) {
      LongText words;
      proof.explain(words);
      return use(words);
    });
  }
  static constexpr std::size_t size = text([](const LongText& words) { return words.size(); });
  using type = Explanation<text([](const LongText& words) { return words.first<size>(); })>;
#endif
};

/// For a Plan with `proved(use)`, which makes the proof and returns `use(proof)`.
template <bool ok, class Plan>
using Diagnosis = typename std::conditional_t<ok, std::type_identity<void>, FindFault<Plan>>::type;

}  // namespace pcomp::detail
