#include <algorithm>
#include <pcomp/core.hpp>
#include <thread>

#include "catch.hpp"

using namespace pcomp;

namespace {

std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// Where each operation stands in its rank's row: [op][stage][micro], -1 if it is not there.
struct Places {
  explicit Places(const schedule::ScheduleTable& t) : table(t), place(at(7 * t.stages * t.microbatches), -1) {
    for (int r = 0; r < t.ranks; ++r) {
      int i = 0;
      for (const Action& a : t.row(r)) {
        int& p = place[at((static_cast<int>(a.op) * t.stages + a.stage) * t.microbatches + a.micro)];
        if (p >= 0 || t.rank_of(a.stage) != r) broken = true;
        p = i++;
      }
    }
  }
  int of(Op op, int s, int m) const {
    return place[at((static_cast<int>(op) * table.stages + s) * table.microbatches + m)];
  }
  const schedule::ScheduleTable& table;
  std::vector<int> place;
  bool broken = false;
};

/// The first law that a table breaks, or an empty text.
std::string broken_law(const schedule::ScheduleTable& t, bool weights) {
  const Places p(t);
  if (p.broken) return "an operation comes twice or on a wrong rank";
  for (int s = 0; s < t.stages; ++s) {
    const bool enters = s > 0 && t.rank_of(s - 1) != t.rank_of(s);
    const bool leaves = s + 1 < t.stages && t.rank_of(s + 1) != t.rank_of(s);
    const bool trains = t.trains(s), returns = enters && t.trains(s - 1);
    for (int m = 0; m < t.microbatches; ++m) {
      const int f = p.of(Op::Forward, s, m), b = p.of(Op::Backward, s, m),
                w = p.of(Op::BackwardWeights, s, m);
      const int recv = p.of(Op::Recv, s, m), send = p.of(Op::Send, s, m);
      const int recv_grad = p.of(Op::RecvGrad, s, m), send_grad = p.of(Op::SendGrad, s, m);
      if (f < 0 || (b >= 0) != trains || (w >= 0) != (weights && trains)) return "each pass exactly once";
      if ((recv >= 0) != enters || (send >= 0) != leaves) return "a message for every edge";
      if ((recv_grad >= 0) != (leaves && trains) || (send_grad >= 0) != returns)
        return "a gradient for every edge";
      if (recv > f || (leaves && send < f)) return "messages around the forward";
      if (trains && (f > b || recv_grad > b || (returns && send_grad < b))) return "forward, then backward";
      if (weights && trains && w < b) return "gradients of inputs before those of weights";
      if (m == 0) continue;
      for (Op op :
           {Op::Recv, Op::Forward, Op::Send, Op::RecvGrad, Op::Backward, Op::SendGrad, Op::BackwardWeights})
        if (p.of(op, s, m) >= 0 && p.of(op, s, m) < p.of(op, s, m - 1)) return "ascending micro-batches";
    }
    // Micro-batches ascend at both ends, so sends match receives in order.
  }
  return "";
}

std::vector<schedule::RankMap> placements(int stages) {
  std::vector<schedule::RankMap> all{schedule::RankMap()};
  if (stages < 3) return all;
  std::vector<int> loop, there_and_back;
  for (int s = 0; s < stages; ++s) {
    loop.push_back(s + 1 < stages ? s : 0);
    there_and_back.push_back(std::min(s, stages - 1 - s));
  }
  all.insert(all.end(), {loop, there_and_back, round_robin(2)});
  return all;
}

template <class P>
void check(P policy, int stages, int microbatches, const schedule::RankMap& where) {
  const schedule::ScheduleTable t =
      make_schedule(policy, stages, microbatches, where);  // throws if the proof fails
  const std::string broken = broken_law(t, schedule::splits_backward<P>);
  if (!broken.empty()) FAIL(t.policy << ' ' << stages << 'x' << microbatches << ": " << broken);
}

}  // namespace

TEST_CASE("The laws hold for 1 to 16 stages, 1 to 64 micro-batches, every policy and placement") {
  for (int stages = 1; stages <= 16; ++stages)
    for (int microbatches = 1; microbatches <= 64; ++microbatches) {
      for (const schedule::RankMap& where : placements(stages)) {
        check(GPipe{}, stages, microbatches, where);
        check(OneFOneB{}, stages, microbatches, where);
        check(ZeroBubble{}, stages, microbatches, where);
        check(ForwardOnly{}, stages, microbatches, where);
      }
      for (int ranks : {1, 2, 3, stages})
        if (ranks <= stages) check(Interleaved{}, stages, microbatches, round_robin(ranks));
    }
}

namespace {
/// Checks that a frozen table has the rows of the whole one, less what frozen stages do not do.
void check_frozen(const schedule::ScheduleTable& whole, int first) {
  const schedule::ScheduleTable t = whole.freeze(first);
  INFO(t.policy << ' ' << t.stages << 'x' << t.microbatches << ", " << first << " frozen");
  REQUIRE(broken_law(t, t.splits_backward()).empty());
  REQUIRE(t.runs_with(0) == whole.deadlock_free);
  REQUIRE(t.runs_with(2));
  int computed = 0;
  for (int r = 0; r < t.ranks; ++r) {
    auto kept = t.row(r).begin();
    int live = 0, most = 0;
    for (const Action& a : whole.row(r))
      if (kept != t.row(r).end() && *kept == a) ++kept;
    REQUIRE(kept == t.row(r).end());
    for (const Action& a : t.row(r)) {
      computed += schedule::is_compute(a.op);
      most = std::max(most, live + (a.op == Op::Forward));
      live += (a.op == Op::Forward && a.stage >= first) -
              (a.op == (t.splits_backward() ? Op::BackwardWeights : Op::Backward));
    }
    REQUIRE(live == 0);
    REQUIRE(t.peak_live[at(r)] == most);
  }
  REQUIRE(t.ticks <= whole.ticks);
  REQUIRE(t.bubble == Approx(1 - double(computed) / (double(t.ticks) * t.ranks)));
}
}  // namespace

TEST_CASE("Frozen stages only run forward, under every policy and placement") {
  for (int stages : {1, 2, 3, 5, 8})
    for (int microbatches : {1, 3, 8})
      for (int first = 0; first < stages; ++first) {
        for (const schedule::RankMap& where : placements(stages)) {
          check_frozen(make_schedule(GPipe{}, stages, microbatches, where), first);
          check_frozen(make_schedule(OneFOneB{}, stages, microbatches, where), first);
          check_frozen(make_schedule(ZeroBubble{}, stages, microbatches, where), first);
        }
        check_frozen(make_schedule(Interleaved{}, stages, microbatches, round_robin((stages + 1) / 2)),
                     first);
      }
  const schedule::ScheduleTable two = make_schedule(OneFOneB{}, 4, 8).freeze(2);
  CHECK(two.frozen() == 2);
  CHECK((two.freeze(3).frozen() == 3 && two.freeze(2).frozen() == 2));
  CHECK(two.bytes_per_step(1, 100, 7) == 800);
  CHECK(two.bytes_per_step(2, 100, 7) == 856);
  CHECK((two.peak_live[0] == 1 && two.peak_live[1] == 1 && two.peak_live[2] == 2));
  const auto large = make_schedule(OneFOneB{}, 4096, 16384).freeze(100);
  CHECK(large.row(17).size() == 3u * 16384u);
  CHECK(thrown([&] { (void)two.freeze(1); }) == "pcomp: of 4 stages the first 2 to 3 can be frozen, not 1");
  CHECK(thrown([&] { (void)two.freeze(4); }) == "pcomp: of 4 stages the first 2 to 3 can be frozen, not 4");
  CHECK(thrown([] { (void)make_schedule(OneFOneB{}, 4, 8).freeze(-1); }) ==
        "pcomp: of 4 stages the first 0 to 3 can be frozen, not -1");
  const auto own = [](int frozen) {
    return schedule::ScheduleTable("mine", {2, 1}, {true, false, frozen}, {0, 0},
                                   {{{Op::Forward, 0, 0}, {Op::Forward, 1, 0}, {Op::Backward, 1, 0}}});
  };
  CHECK(own(1).ticks == 3);
  CHECK(thrown([&] { own(0); }).find("an operation is missing: Backward of stage 0") != std::string::npos);
  CHECK(thrown([&] { own(2); }) == "pcomp: of 2 stages the first 0 to 1 can be frozen, not 2");
  CHECK(thrown([&] { own(-1); }) == "pcomp: of 2 stages the first 0 to 1 can be frozen, not -1");
  // What waits for a gradient to be sent in the wrong order waits no more once none is sent.
  const std::vector<std::vector<Action>> crossed{{{Op::Forward, 0, 0},
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
  const schedule::ScheduleTable early("early", {2, 2}, {true, false}, {0, 1}, crossed, 1);
  CHECK_FALSE(early.deadlock_free);
  CHECK(early.freeze(0).deadlock_free == false);
  CHECK(early.freeze(1).deadlock_free);
  CHECK(thrown([] { (void)make_schedule(ForwardOnly{}, 4, 8).freeze(1); }) ==
        "pcomp: a schedule without backward passes has none to leave out");
}

TEST_CASE("Memory and bubble are what the papers say, over the same grid") {
  int wrong = 0;
  const auto close = [](double a, double b) { return std::abs(a - b) < 1e-12; };
  for (int p = 1; p <= 16; ++p)
    for (int m = 1; m <= 64; ++m) {
      const auto gpipe = make_schedule(GPipe{}, p, m), one = make_schedule(OneFOneB{}, p, m);
      const auto zero = make_schedule(ZeroBubble{}, p, m);
      const double bubble = double(p - 1) / (m + p - 1);
      wrong += !close(gpipe.bubble, bubble) || !close(one.bubble, bubble);
      if (m >= p) wrong += zero.ticks != 3 * m + p - 1;
      wrong += zero.bubble > bubble + 1e-12;
      for (int r = 0; r < p; ++r) {
        wrong += gpipe.peak_live[at(r)] != m;
        wrong += one.peak_live[at(r)] != std::min(p - r, m);
        wrong += zero.peak_live[at(r)] != std::min(p, m);
      }
    }
  for (int p = 1; p <= 8; ++p)
    for (int v = 1; v <= 4; ++v)
      for (int m = p; m <= 64; m += p) {
        const auto t = make_schedule(Interleaved{}, p * v, m, round_robin(p));
        if (v > 1) wrong += !close(t.bubble, double(p - 1) / (v * m + p - 1));
        for (int r = 0; r < p; ++r)
          wrong += t.peak_live[at(r)] != std::min(2 * (p - r - 1) + (v - 1) * p + 1, v * m);
      }
  CHECK(wrong == 0);
}

TEST_CASE("The memory of a step is counted from the row, stage by stage") {
  // Stage s keeps 100 + s bytes of a micro-batch, and needs 7 more in a forward and 50 more in a backward pass.
  const auto needs = [](int stages, std::int64_t live) {
    std::vector<schedule::StageBytes> all;
    for (int s = 0; s < stages; ++s) all.push_back({1000, live + s, live + s + 7, 50});
    return all;
  };
  for (int p = 1; p <= 8; ++p)
    for (int m = 1; m <= 16; ++m) {
      const auto gpipe = make_schedule(GPipe{}, p, m).peak_bytes(needs(p, 100));
      const auto one = make_schedule(OneFOneB{}, p, m).peak_bytes(needs(p, 100));
      for (int r = 0; r < p; ++r) {
        REQUIRE(gpipe[at(r)] == 1000 + m * (100 + r) + 50);
        REQUIRE(one[at(r)] == 1000 + std::min(p - r, m) * (100 + r) + 50);
      }
    }
  // Recomputation: little is kept, and one graph at a time (GPipe, section 2.3).
  std::vector<schedule::StageBytes> again(4, {0, 10, 120, 150});
  CHECK(make_schedule(GPipe{}, 4, 8).peak_bytes(again) == std::vector<std::int64_t>(4, 8 * 10 + 150));
  // Several stages on a rank, a frozen stage and a split backward pass, by hand.
  const auto two = make_schedule(GPipe{}, 3, 2, {0, 1, 0});
  CHECK(two.peak_bytes({{5, 10, 10, 0}, {7, 20, 90, 0}, {9, 30, 30, 3}}) ==
        std::vector<std::int64_t>{5 + 9 + 2 * 10 + 2 * 30 + 3, 7 + 20 + 90});
  CHECK(two.freeze(1).peak_bytes({{5, 10, 15, 0}, {7, 20, 90, 0}, {9, 30, 30, 3}}) ==
        std::vector<std::int64_t>{5 + 9 + 2 * 30 + 3, 7 + 20 + 90});
  CHECK(make_schedule(ZeroBubble{}, 2, 4).peak_bytes({{0, 10, 10, 4}, {0, 10, 10, 0, 0, 4}}) ==
        std::vector<std::int64_t>(2, 2 * 10 + 4));
  CHECK(make_schedule(ZeroBubble{}, 2, 4).peak_bytes({{0, 10, 10, 4, 100, 3}, {0, 10, 10, 4, -9}}) ==
        std::vector<std::int64_t>{10 + 110 + 3, 1 + 10 + 4});
  constexpr std::array<schedule::StageBytes, 3> stages{{{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10, 11, 12}}};
  constexpr auto fixed = Schedule<OneFOneB, 3, 4>::peak_bytes(stages);
  static_assert(fixed[0] == 1 + 3 * 2 + 4);
  CHECK(make_schedule(OneFOneB{}, 3, 4).peak_bytes({stages.begin(), stages.end()}) ==
        std::vector<std::int64_t>(fixed.begin(), fixed.end()));
  CHECK(thrown([] {
          (void)make_schedule(OneFOneB{}, 4, 8).peak_bytes({{}, {}});
        }) == "pcomp: peak_bytes takes what each of 4 stages needs, not 2");
}

TEST_CASE("The last action of each stage and micro-batch is known") {
  const auto table = make_schedule(OneFOneB{}, 3, 4, {0, 1, 0});
  for (int r = 0; r < table.ranks; ++r) {
    const auto row = table.row(r);
    const std::vector<char> last = detail::last_actions(row, 3, 4);
    for (std::size_t i = 0; i < row.size(); ++i) {
      bool later = false;
      for (std::size_t j = i + 1; j < row.size(); ++j)
        later = later || (row[j].stage == row[i].stage && row[j].micro == row[i].micro);
      REQUIRE(bool(last[i]) == !later);
    }
  }
}

TEST_CASE("What ends under a rendezvous ends with any number of messages in flight") {
  for (int stages : {1, 2, 5})
    for (int microbatches : {1, 4, 7})
      for (int in_flight : {0, 1, 2, 5}) {
        CHECK(make_schedule(OneFOneB{}, stages, microbatches).runs_with(in_flight));
        CHECK(make_schedule(ZeroBubble{}, stages, microbatches).runs_with(in_flight));
        CHECK(
            make_schedule(Interleaved{}, 2 * stages, microbatches, round_robin(stages)).runs_with(in_flight));
      }
}

TEST_CASE("Messages and bytes per edge and step") {
  auto t = make_schedule(OneFOneB{}, 5, 8, {0, 1, 1, 2, 0});
  CHECK(t.messages(0) == 8);
  CHECK(t.messages(1) == 0);
  CHECK(t.bytes_per_step(2, 100, 7) == 856);
  CHECK(make_schedule(ForwardOnly{}, 5, 8).bytes_per_step(2, 100, 7) == 800);
  CHECK(t.bytes_per_step(0, Quant<8>, Extents{16, 8}) ==
        8 * 2 * static_cast<std::int64_t>(wire_bytes(Quant<8>, Extents{16, 8})));
  CHECK(thrown([&] { t.bytes_per_step(0); }) == "pcomp: set `bytes` for 4 boundaries first, not 0");
  t.bytes = {{100, 7}, {1, 1}, {2, 3}, {4, 5}};
  CHECK(t.bytes_per_step(0) == 856);
  CHECK(t.bytes_per_step(1) == 0);
  CHECK(thrown([&] { t.messages(4); }) == "pcomp: there is no boundary 4: 5 stages have 4");
}

TEST_CASE(
    "A table of 4,096 stages and 16,384 micro-batches gives single rows, without the 400 million actions of "
    "all") {
  const schedule::ScheduleTable t = make_schedule(OneFOneB{}, 4096, 16384);
  for (int r : {0, 17, 4095}) {
    const auto row = t.row(r);
    CHECK(row.size() == (r == 0 || r == 4095 ? 4u : 6u) * 16384u);
    const auto alone = schedule::make_row(OneFOneB{}, 4096, 16384, r);
    CHECK(std::equal(row.begin(), row.end(), alone.begin(), alone.end()));
  }
  const auto wide = make_schedule(Interleaved{}, 4096, 16384, round_robin(256));
  CHECK(wide.row(100).size() == 6u * 16 * 16384);
  const schedule::ScheduleTable less = wide.first(3), copy = less;
  std::vector<Action> kept(wide.row(7).begin(), wide.row(7).end());
  std::erase_if(kept, [](const Action& a) { return a.micro >= 3; });
  CHECK((kept.size() == 6u * 16 * 3 && std::ranges::equal(less.row(7), kept)));
  std::vector<std::span<const Action>> asked(4);
  {
    std::vector<std::jthread> threads;
    for (auto& row : asked) threads.emplace_back([&] { row = copy.row(9); });
  }
  for (const auto& row : asked) CHECK(row.data() == copy.row(9).data());
  CHECK(std::ranges::equal(asked[0], less.row(9)));
  CHECK(thrown([&] { (void)int{t.ticks}; }).find("ask a smaller one") != std::string::npos);
  CHECK(thrown([&] { (void)t.draw(); }).find("is asked for single rows") != std::string::npos);
}

namespace {
struct Backwards : GPipe {
  static constexpr const char* name = "backwards";
  static constexpr std::int64_t tick(Op op, int stage, int micro, schedule::PipelineDims n) {
    return op == Op::Forward ? GPipe::tick(op, stage, micro, n) : 100000 + stage + micro;
  }
};
}  // namespace

TEST_CASE("What makes no sense is one clear error") {
  CHECK(thrown([] { (void)make_schedule(GPipe{}, 0, 4); }) ==
        "pcomp: a schedule needs at least 1 stage, not 0");
  CHECK(thrown([] { (void)make_schedule(GPipe{}, 4, 0); }) ==
        "pcomp: this schedule needs more micro-batches: at least 1, not 0");
  CHECK(thrown([] {
          (void)make_schedule(GPipe{}, 3, 4, {0, 1});
        }) == "pcomp: a Placement names one rank for every stage: 3 stages, but 2 ranks named");
  CHECK(thrown([] {
          (void)make_schedule(GPipe{}, 3, 4, {0, 2, 2});
        }) == "pcomp: a Placement must use every rank from 0 up, not 0,2,2");
  CHECK(thrown([] { (void)make_schedule(GPipe{}, 3, 4, round_robin(0)); }) ==
        "pcomp: round_robin needs at least 1 rank, not 0");
  CHECK(thrown([] {
          (void)make_schedule(Interleaved{}, 4, 4, {0, 1, 1, 0});
        }) ==
        "pcomp: this schedule cannot run a Placement that names a rank twice like this: interleaved 1F1B on "
        "ranks 0,1,1,0");
  CHECK(thrown([] { (void)make_schedule(GPipe{}, 3, 4).row(3); }) ==
        "pcomp: there is no rank 3: this schedule has 3");
  CHECK(thrown([] { (void)schedule::make_row(GPipe{}, 3, 4, -1); }) ==
        "pcomp: there is no rank -1: this schedule has 3");
  CHECK(thrown([] { (void)make_schedule(Backwards{}, 3, 4); }) ==
        "pcomp: a table that cannot run: a send before its computation: rank 2, step 8, SendGrad of stage 2, "
        "micro-batch 0");
  CHECK(
      thrown([] { (void)make_schedule(Backwards{}, 2000, 1000).row(5); }) ==
      "pcomp: the clock of backwards breaks its law: the tick of Backward of stage 5, micro-batch 0 must be "
      "above that of Backward of stage 6, micro-batch 0");
}
