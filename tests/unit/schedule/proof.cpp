#include <map>
#include <pcomp/core.hpp>
#include <set>

#include "catch.hpp"

using namespace pcomp;

namespace {

using Table = std::vector<std::vector<Action>>;

std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// Tries every interleaving of the ranks of a small table, in the plainest way: a state is how far each rank has come.
/// What has been done, and what is on each edge, is read off the rows anew for every state.
class Explorer {
 public:
  Explorer(const Table& t, std::vector<int> r, int stage_count, int microbatch_count, bool back, bool split,
           int k)
      : table(t),
        ranks(std::move(r)),
        stages(stage_count),
        microbatches(microbatch_count),
        backward(back),
        weights(split),
        in_flight(k) {
    std::size_t expected = 0;
    for (int s = 0; s < stages; ++s) {
      const auto cross = at(s + 1) < ranks.size() && ranks[at(s)] != ranks[at(s + 1)];
      expected += at(microbatches * (1 + backward + weights + (cross ? 2 * (1 + backward) : 0)));
    }
    std::size_t entries = 0;
    for (const auto& row : table) entries += row.size();
    runs = visit(std::vector<std::size_t>(table.size(), 0)) && entries == expected;
  }
  bool runs;

 private:
  struct State {
    std::set<std::tuple<Op, int, int>> done;
    std::map<std::pair<int, bool>, std::vector<int>> sent, received;
  };

  State read(const std::vector<std::size_t>& position) const {
    State s;
    for (std::size_t r = 0; r < table.size(); ++r)
      for (std::size_t i = 0; i < position[r]; ++i) {
        const Action& a = table[r][i];
        s.done.insert({a.op, a.stage, a.micro});
        if (a.op == Op::Send) s.sent[{a.stage, false}].push_back(a.micro);
        if (a.op == Op::Recv) s.received[{a.stage - 1, false}].push_back(a.micro);
        if (a.op == Op::SendGrad) s.sent[{a.stage - 1, true}].push_back(a.micro);
        if (a.op == Op::RecvGrad) s.received[{a.stage, true}].push_back(a.micro);
      }
    return s;
  }

  /// Whether an action may be done in this state, apart from having to wait for a peer.
  bool legal(const State& s, std::size_t r, const Action& a) const {
    if (a.stage < 0 || a.stage >= stages || a.micro < 0 || a.micro >= microbatches) return false;
    if (at(ranks[at(a.stage)]) != r || s.done.count({a.op, a.stage, a.micro})) return false;
    const auto did = [&](Op op, int stage) { return s.done.count({op, stage, a.micro}) > 0; };
    const bool first = a.stage == 0, last = a.stage + 1 == stages;
    const bool enters = !first && ranks[at(a.stage - 1)] != ranks[at(a.stage)];
    const bool leaves = !last && ranks[at(a.stage + 1)] != ranks[at(a.stage)];
    switch (a.op) {
      case Op::Recv:
        return enters;
      case Op::RecvGrad:
        return leaves && backward;
      case Op::Send:
        return leaves && did(Op::Forward, a.stage);
      case Op::SendGrad:
        return enters && backward && did(Op::Backward, a.stage);
      case Op::Forward:
        return first || (enters ? did(Op::Recv, a.stage) : did(Op::Forward, a.stage - 1));
      case Op::Backward:
        return backward && did(Op::Forward, a.stage) &&
               (last || (leaves ? did(Op::RecvGrad, a.stage) : did(Op::Backward, a.stage + 1)));
      default:
        return weights && did(Op::Backward, a.stage);
    }
  }

  /// Whether every continuation from here ends well.
  bool visit(const std::vector<std::size_t>& position) {
    if (!seen.insert(position).second) return true;
    const State s = read(position);
    bool all_ended = true, moved = false;
    for (std::size_t r = 0; r < table.size(); ++r) {
      if (position[r] == table[r].size()) continue;
      all_ended = false;
      const Action a = table[r][position[r]];
      if (!legal(s, r, a)) return false;
      std::vector<std::size_t> next = position;
      ++next[r];
      const bool sends = a.op == Op::Send || a.op == Op::SendGrad;
      const bool gradient = a.op == Op::SendGrad || a.op == Op::RecvGrad;
      const int boundary = a.op == Op::Recv || a.op == Op::SendGrad ? a.stage - 1 : a.stage;
      const auto count = [&](const auto& lists) {
        const auto found = lists.find({boundary, gradient});
        return found == lists.end() ? std::size_t{0} : found->second.size();
      };
      if (!schedule::is_compute(a.op) && in_flight == 0) {
        if (!sends) continue;  // the sender moves both
        const auto peer = at(ranks[at(gradient ? boundary : boundary + 1)]);
        const Action b{gradient ? Op::RecvGrad : Op::Recv, gradient ? boundary : boundary + 1, a.micro};
        if (position[peer] == table[peer].size() || !(table[peer][position[peer]] == b)) continue;
        ++next[peer];
      } else if (sends) {
        if (count(s.sent) - count(s.received) >= at(in_flight)) continue;
      } else if (!schedule::is_compute(a.op)) {
        if (count(s.sent) == count(s.received)) continue;
        if (s.sent.at({boundary, gradient})[count(s.received)] != a.micro) return false;
      }
      moved = true;
      if (!visit(next)) return false;
    }
    return all_ended || moved;
  }

  const Table& table;
  std::vector<int> ranks;
  int stages, microbatches;
  bool backward, weights;
  int in_flight;
  std::set<std::vector<std::size_t>> seen;
};

struct Tally {
  int tables = 0, wrong = 0, disagree = 0, not_monotone = 0;
  bool same(const Table& t, const schedule::ScheduleTable& like) {
    std::vector<std::span<const Action>> rows(t.begin(), t.end());
    bool first = false, before = false;
    for (int k : {0, 1, 2}) {
      const schedule::PipelineDims n{like.stages, like.microbatches, like.ranks};
      const bool ok =
          schedule::Proof(rows, n, like.rank_map(), {like.backward, like.splits_backward()}, k).ok();
      const Explorer explored(t, like.rank_map(), like.stages, like.microbatches, like.backward,
                              like.splits_backward(), k);
      disagree += ok != explored.runs;
      not_monotone += before && !ok;
      if (k == 0) first = ok;
      before = ok;
    }
    ++tables;
    wrong += !first;
    return first;
  }
};

Table rows_of(const schedule::ScheduleTable& t) {
  Table rows;
  for (int r = 0; r < t.ranks; ++r) rows.emplace_back(t.row(r).begin(), t.row(r).end());
  return rows;
}

template <class F>
void for_small_tables(F f) {
  for (const auto& [stages, microbatches] :
       std::vector<std::pair<int, int>>{{1, 2}, {2, 1}, {2, 2}, {2, 3}, {2, 4}, {3, 1}, {3, 2}, {3, 3}}) {
    std::vector<schedule::RankMap> placements{schedule::RankMap()};
    if (stages == 3) placements = {schedule::RankMap(), {0, 1, 0}, {0, 0, 1}};
    for (const schedule::RankMap& where : placements) {
      f(make_schedule(GPipe{}, stages, microbatches, where));
      f(make_schedule(OneFOneB{}, stages, microbatches, where));
      f(make_schedule(ZeroBubble{}, stages, microbatches, where));
      f(make_schedule(ForwardOnly{}, stages, microbatches, where));
    }
    if (stages == 3) f(make_schedule(Interleaved{}, stages, microbatches, round_robin(2)));
  }
}

}  // namespace

TEST_CASE("The proof agrees with a search through every interleaving, for right tables and for wrong ones") {
  Tally right, swapped, missing, doubled;
  for_small_tables([&](const schedule::ScheduleTable& t) {
    const Table rows = rows_of(t);
    right.same(rows, t);
    for (std::size_t r = 0; r < rows.size(); ++r)
      for (std::size_t i = 0; i < rows[r].size(); ++i) {
        for (std::size_t j = i + 1; j < rows[r].size() && (t.stages < 3 || j < i + 3); ++j) {
          Table wrong = rows;
          std::swap(wrong[r][i], wrong[r][j]);
          swapped.same(wrong, t);
        }
        Table without = rows, twice = rows;
        without[r].erase(without[r].begin() + static_cast<std::ptrdiff_t>(i));
        missing.same(without, t);
        twice[r].insert(twice[r].begin() + static_cast<std::ptrdiff_t>(i), rows[r][i]);
        doubled.same(twice, t);
      }
  });
  for (const Tally* tally : {&right, &swapped, &missing, &doubled}) {
    CHECK(tally->disagree == 0);
    CHECK(tally->not_monotone == 0);
  }
  CHECK(right.wrong == 0);
  CHECK(missing.wrong == missing.tables);
  CHECK(doubled.wrong == doubled.tables);
  CHECK(swapped.wrong > swapped.tables / 2);  // some swaps are harmless
  CHECK(right.tables + swapped.tables + missing.tables + doubled.tables > 5000);
}

namespace {
Table crossing() {
  return {{{Op::Forward, 0, 0},
           {Op::Send, 0, 0},
           {Op::Forward, 0, 1},
           {Op::Send, 0, 1},
           {Op::RecvGrad, 0, 0},
           {Op::Backward, 0, 0},
           {Op::RecvGrad, 0, 1},
           {Op::Backward, 0, 1}},
          {{Op::Recv, 1, 0},
           {Op::Forward, 1, 0},
           {Op::Backward, 1, 0},
           {Op::SendGrad, 1, 0},
           {Op::Recv, 1, 1},
           {Op::Forward, 1, 1},
           {Op::Backward, 1, 1},
           {Op::SendGrad, 1, 1}}};
}
}  // namespace

TEST_CASE("Sends that cross deadlock under a rendezvous, run with one in flight, and the cycle is named") {
  const auto make = [](Table rows, int in_flight) {
    return schedule::ScheduleTable("mine", {2, 2}, {true, false}, {0, 1}, std::move(rows), in_flight);
  };
  CHECK(
      thrown([&] { make(crossing(), 0); }) ==
      "pcomp: this schedule deadlocks under a blocking rendezvous: rank 0, step 3, Send of stage 0, "
      "micro-batch 1 waits for rank 1; rank 1, step 3, SendGrad of stage 1, micro-batch 0 waits for rank 0");
  CHECK(make(crossing(), 1).ticks == 6);
  CHECK(make(crossing(), 1).bubble == Approx(1.0 / 3));
  CHECK(!make(crossing(), 1).deadlock_free);
  for (int microbatches : {0, -1})
    CHECK(thrown([&] {
            schedule::ScheduleTable("mine", {2, microbatches}, {true, false}, {0, 1}, crossing());
          }) ==
          "pcomp: this schedule needs more micro-batches: at least 1, not " + std::to_string(microbatches));

  Table late = crossing();  // everything of the second micro-batch after its send is missing
  late[1].resize(4);
  late[0].resize(6);
  CHECK(thrown([&] { make(late, 1); }).find("an operation is missing: Forward of stage 1, micro-batch 1") !=
        std::string::npos);
  std::swap(late[0][2], late[0][4]);
  CHECK(thrown([&] { make(late, 0); }).find("pcomp: a table that cannot run: ") == 0);
  Table ended = crossing();
  ended[1].resize(4);
  std::swap(ended[0][3], ended[0][4]);
  CHECK(thrown([&] { make(ended, 0); }) ==
        "pcomp: this schedule deadlocks under a blocking rendezvous: rank 0, step 4, Send of stage 0, "
        "micro-batch 1 waits for rank 1, which has ended");
  CHECK(thrown([&] { make({crossing()[0]}, 1); }) == "pcomp: a table for 2 ranks needs as many rows, not 1");
}

namespace {
/// Rank 0 sends 2 (k + 1) activations before it takes a gradient; rank 1 takes half of them, then sends k + 1 gradients.
Table needs_more_than(int k) {
  Table rows(2);
  const int half = k + 1, all = 2 * half;
  const auto add = [&](int rank, Op op, int micro) { rows[at(rank)].push_back({op, rank, micro}); };
  for (int m = 0; m < all; ++m) add(0, Op::Forward, m), add(0, Op::Send, m);
  for (int m = 0; m < all; ++m) add(0, Op::RecvGrad, m), add(0, Op::Backward, m);
  for (int first : {0, half}) {
    for (int m = first; m < first + half; ++m)
      add(1, Op::Recv, m), add(1, Op::Forward, m), add(1, Op::Backward, m);
    for (int m = first; m < first + half; ++m) add(1, Op::SendGrad, m);
  }
  return rows;
}
}  // namespace

TEST_CASE("Rows that need exactly as many in flight run with that many, and deadlock with one less") {
  for (int k : {0, 1, 2, 3}) {
    const auto make = [&](int in_flight) {
      return schedule::ScheduleTable("mine", {2, 2 * (k + 1)}, {true, false}, {0, 1}, needs_more_than(k),
                                     in_flight);
    };
    INFO(k);
    const std::string with = k ? "sends with " + std::to_string(k) + " in flight" : "a blocking rendezvous";
    CHECK(thrown([&] { make(k); }).find("pcomp: this schedule deadlocks under " + with + ": rank 0, step ") ==
          0);
    const schedule::ScheduleTable runs = make(k + 1);
    CHECK_FALSE(runs.runs_with(k));
    CHECK(runs.runs_with(k + 1));
    CHECK(runs.runs_with(k + 2));
  }
}

TEST_CASE("What a row must not do is refused by its own reason") {
  using Row = std::vector<Action>;
  const Row first{{Op::Forward, 0, 0}, {Op::Send, 0, 0}, {Op::RecvGrad, 0, 0}, {Op::Backward, 0, 0}};
  const Row second{{Op::Recv, 1, 0}, {Op::Forward, 1, 0}, {Op::Backward, 1, 0}, {Op::SendGrad, 1, 0}};
  const auto says = [&](Row a, Row b, int in_flight = 1) {
    return thrown([&] {
      schedule::ScheduleTable("mine", {2, 1}, {true, false}, {0, 1}, {std::move(a), std::move(b)}, in_flight);
    });
  };
  CHECK(says(first, second) == "nothing");
  Row other = first;
  other[0].stage = 1;
  CHECK(says(other, second).find("a stage of another rank: rank 0, step 0") != std::string::npos);
  for (const Action none : {Action{Op::Forward, 2, 0}, Action{Op::Forward, -1, 0}, Action{Op::Forward, 0, 1},
                            Action{Op::Forward, 0, -1}}) {
    other = first;
    other[0] = none;
    CHECK(says(other, second).find("a stage or micro-batch that does not exist: rank 0, step 0") !=
          std::string::npos);
  }
  const auto without = [](Row row, std::size_t i) {
    row.erase(row.begin() + static_cast<std::ptrdiff_t>(i));
    return row;
  };
  CHECK(says(without(first, 0), second).find("a send before its computation: rank 0") != std::string::npos);
  CHECK(says(without(first, 2), second).find("a backward before its gradient: rank 0") != std::string::npos);
  CHECK(says(first, without(second, 0)).find("a forward before its input: rank 1") != std::string::npos);
  CHECK(says(first, without(second, 1)).find("a backward before its forward: rank 1") != std::string::npos);
  CHECK(says(first, without(second, 2)).find("a send before its computation: rank 1") != std::string::npos);
  for (const bool gradient : {false, true}) {
    Row a{{Op::Forward, 0, 0}, {Op::Forward, 0, 1}, {Op::Send, 0, 0}, {Op::Send, 0, 1}};
    Row b{{Op::Recv, 1, 1}, {Op::Recv, 1, 0}, {Op::Forward, 1, 0}, {Op::Forward, 1, 1}};
    if (gradient) {
      std::swap(b[0], b[1]);
      for (int m : {0, 1}) b.push_back({Op::Backward, 1, m}), b.push_back({Op::SendGrad, 1, m});
      for (int m : {1, 0}) a.push_back({Op::RecvGrad, 0, m});
      for (int m : {0, 1}) a.push_back({Op::Backward, 0, m});
    }
    CHECK(thrown([&] {
            schedule::ScheduleTable("mine", {2, 2}, {gradient, false}, {0, 1}, {a, b}, 2);
          }).find("a message is received out of order: rank " + std::to_string(gradient ? 0 : 1)) !=
          std::string::npos);
  }
}
