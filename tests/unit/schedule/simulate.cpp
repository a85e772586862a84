#include <cmath>
#include <deque>
#include <pcomp/core.hpp>
#include <pcomp/plan/simulate.hpp>
#include <queue>
#include <random>

#include "catch.hpp"

using namespace pcomp;

namespace {

std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// The same machines, driven by events in order of time: each rank and each link is woken when something happens that
/// it may be waiting for, looks at the state of things at that time, and does what it can.
class Events {
 public:
  Events(const schedule::ScheduleTable& t, const plan::Costs& c)
      : table(t), costs(c), ranks(at(t.ranks)), links(at(2 * t.stages)) {
    for (int r = 0; r < t.ranks; ++r) wake(0, r);
    while (!queue.empty()) {
      now = queue.top().first;
      const int who = queue.top().second;
      queue.pop();
      if (who < table.ranks)
        run_rank(who);
      else
        run_link(who - table.ranks);
    }
  }
  double end = 0;
  std::vector<double> busy() const {
    std::vector<double> all;
    for (const auto& r : ranks) all.push_back(r.busy);
    return all;
  }
  bool finished() const {
    for (int r = 0; r < table.ranks; ++r)
      if (ranks[at(r)].next < table.row(r).size()) return false;
    return true;
  }

 private:
  struct RankState {
    std::size_t next = 0;
    double ready = 0, busy = 0;
    bool computing = false;
  };
  struct LinkState {
    int handed = 0, started = 0, arrived = 0, taken = 0, places = 0;
    double free = 0;
    std::vector<double> arrivals;
    std::deque<int> deferred;
  };

  void wake(double when, int who) { queue.push({when, who}); }
  int link_of(const Action& a) const {
    switch (a.op) {
      case Op::Recv:
        return 2 * (a.stage - 1);
      case Op::Forward:
      case Op::Send:
        return 2 * a.stage;
      case Op::RecvGrad:
        return 2 * a.stage + 1;
      default:
        return 2 * (a.stage - 1) + 1;
    }
  }
  bool crosses(int link) const {
    const int boundary = link < 0 ? -1 : link / 2;
    return boundary >= 0 && boundary + 1 < table.stages &&
           table.rank_of(boundary) != table.rank_of(boundary + 1) &&
           (link % 2 == 0 || table.trains(boundary));
  }
  void update(LinkState& l) const {
    while (l.arrived < l.started && l.arrivals[at(l.arrived)] <= now) ++l.arrived;
  }
  bool hand_over(int link) {
    LinkState& l = links[at(link)];
    update(l);
    if (l.handed - l.arrived >= costs.buffers) return false;
    ++l.handed;
    wake(now, table.ranks + link);
    return true;
  }

  void run_rank(int r) {
    RankState& k = ranks[at(r)];
    if (now < k.ready) return;
    while (k.next < table.row(r).size()) {
      const Action a = table.row(r)[k.next];
      const int link = link_of(a);
      if (schedule::is_compute(a.op) && !k.computing) {
        const double seconds = costs.seconds(a, table.splits_backward());
        k.computing = true;
        k.busy += seconds;
        k.ready = now + seconds;
        end = std::max(end, k.ready);
        return wake(k.ready, r);
      }
      if (schedule::is_compute(a.op) && a.op != Op::BackwardWeights && crosses(link)) {
        LinkState& l = links[at(link)];
        if (!l.deferred.empty() || l.handed >= l.places + costs.buffers)
          l.deferred.push_back(a.micro);
        else if (!hand_over(link))
          return;
      } else if (a.op == Op::Send || a.op == Op::SendGrad) {
        LinkState& l = links[at(link)];
        if (!l.deferred.empty()) {
          if (!hand_over(link)) return;
          l.deferred.pop_front();
        }
        ++l.places;
      } else if (a.op == Op::Recv || a.op == Op::RecvGrad) {
        LinkState& l = links[at(link)];
        update(l);
        if (l.arrived == l.taken) return;
        ++l.taken;
        end = std::max(end, now);
        wake(now, table.ranks + link);
      }
      k.computing = false;
      ++k.next;
    }
    end = std::max(end, now);
  }

  void run_link(int link) {
    LinkState& l = links[at(link)];
    if (now < l.free || l.started == l.handed || l.started - l.taken >= costs.buffers) return;
    const schedule::BoundaryBytes bytes =
        costs.bytes.empty() ? schedule::BoundaryBytes{} : costs.bytes[at(link / 2)];
    const plan::LinkModel cable = costs.links.empty() ? plan::LinkModel{} : costs.links[at(link / 2)];
    const double occupied = double(link % 2 ? bytes.gradient : bytes.forward) / cable.bandwidth;
    ++l.started;
    l.free = now + occupied;
    l.arrivals.push_back(now + occupied + cable.latency);
    wake(l.free, table.ranks + link);
    wake(l.arrivals.back(), table.rank_of(link / 2));
    wake(l.arrivals.back(), table.rank_of(link / 2 + 1));
  }

  const schedule::ScheduleTable& table;
  const plan::Costs& costs;
  std::vector<RankState> ranks;
  std::vector<LinkState> links;
  using Event = std::pair<double, int>;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> queue;
  double now = 0;
};

plan::Costs random_costs(std::mt19937& random, int stages) {
  // Multiples of 1/64, so that sums are exact and the two models must agree to the last bit.
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<>(low, high)(random); };
  plan::Costs c;
  for (int s = 0; s < stages; ++s)
    c.stages.push_back({pick(0, 200) / 64.0, pick(0, 200) / 64.0, pick(0, 200) / 64.0});
  for (int e = 0; e + 1 < stages; ++e) {
    c.bytes.push_back({pick(0, 4000), pick(0, 4000)});
    c.links.push_back({std::ldexp(1.0, pick(5, 14)), pick(0, 3) ? pick(0, 128) / 64.0 : 0.0});
  }
  c.buffers = pick(1, 4);
  return c;
}

void compare(const schedule::ScheduleTable& t, const plan::Costs& c, int& runs) {
  const plan::Simulation s = plan::simulate(t, c);
  const Events e(t, c);
  REQUIRE(e.finished());
  REQUIRE(s.seconds == e.end);
  REQUIRE(s.busy == e.busy());
  double from = 0;
  for (const plan::Segment& piece : s.critical) {
    REQUIRE(piece.begin == from);
    REQUIRE(piece.end >= piece.begin);
    from = piece.end;
  }
  REQUIRE(from == s.seconds);
  ++runs;
}

}  // namespace

TEST_CASE("The simulation agrees with a second model, driven by events, to the last bit") {
  std::mt19937 random(1);
  int runs = 0;
  for (int i = 0; i < 300; ++i) {
    const int stages = std::uniform_int_distribution<>(1, 8)(random);
    const int microbatches = std::uniform_int_distribution<>(1, 12)(random);
    const plan::Costs c = random_costs(random, stages);
    std::vector<int> loop;
    for (int s = 0; s < stages; ++s) loop.push_back(s + 1 < stages || s == 0 ? s : 0);
    for (const schedule::RankMap& where : {schedule::RankMap(), schedule::RankMap(loop)}) {
      compare(make_schedule(GPipe{}, stages, microbatches, where), c, runs);
      compare(make_schedule(OneFOneB{}, stages, microbatches, where), c, runs);
      compare(make_schedule(ZeroBubble{}, stages, microbatches, where), c, runs);
      compare(make_schedule(ForwardOnly{}, stages, microbatches, where), c, runs);
    }
    compare(make_schedule(Interleaved{}, stages, microbatches, round_robin((stages + 1) / 2)), c, runs);
    const int frozen = std::uniform_int_distribution<>(0, stages - 1)(random);
    compare(make_schedule(OneFOneB{}, stages, microbatches, loop).freeze(frozen), c, runs);
    compare(make_schedule(ZeroBubble{}, stages, microbatches).freeze(frozen), c, runs);
  }
  CHECK(runs == 3300);
}

TEST_CASE("With free links and equal times the simulation is the table's ticks") {
  for (int p : {1, 2, 5, 8})
    for (int m : {1, 4, 9, 16}) {
      plan::Costs equal;
      equal.stages.assign(at(p), {1, 1, 0});
      const auto one = make_schedule(OneFOneB{}, p, m);
      const plan::Simulation s = plan::simulate(one, equal);
      CHECK(s.seconds == one.ticks);
      CHECK(s.utilisation(0) == Approx(1 - one.bubble));
      equal.stages.assign(at(p), {1, 1, 1});
      const auto zero = make_schedule(ZeroBubble{}, p, m);
      CHECK(plan::simulate(zero, equal).seconds == zero.ticks);
    }
}

TEST_CASE("That holds too where ranks have several stages, with as many buffers as it takes") {
  plan::Costs equal;
  equal.buffers = 1000;
  for (int p : {3, 4, 5, 8})
    for (int m : {1, 3, 4, 8}) {
      std::vector<int> loop, halves;
      for (int s = 0; s < p; ++s) loop.push_back(s + 1 < p ? s : 0), halves.push_back(2 * s / p);
      for (const schedule::RankMap& where :
           {round_robin(2), schedule::RankMap(loop), schedule::RankMap(halves)}) {
        INFO(p << " stages, " << m << " micro-batches");
        equal.stages.assign(at(p), {1, 1, 0});
        const auto one = make_schedule(OneFOneB{}, p, m, where);
        CHECK(plan::simulate(one, equal).seconds == one.ticks);
        const auto pipe = make_schedule(GPipe{}, p, m, where);
        CHECK(plan::simulate(pipe, equal).seconds == pipe.ticks);
        const auto less = one.freeze(p / 2);
        CHECK(plan::simulate(less, equal).seconds == less.ticks);
        equal.stages.assign(at(p), {1, 1, 1});
        const auto zero = make_schedule(ZeroBubble{}, p, m, where);
        CHECK(plan::simulate(zero, equal).seconds == zero.ticks);
      }
    }
  CHECK(make_schedule(OneFOneB{}, 8, 3, round_robin(2)).ticks == 26);
}

TEST_CASE("Rows of one's own send in their order, and a receive waits for its message") {
  const std::vector<std::vector<Action>> rows{
      {{Op::Forward, 0, 0}, {Op::Forward, 0, 1}, {Op::Send, 0, 1}, {Op::Send, 0, 0}},
      {{Op::Recv, 1, 1}, {Op::Recv, 1, 0}, {Op::Forward, 1, 1}, {Op::Forward, 1, 0}}};
  const schedule::ScheduleTable mine("mine", {2, 2}, {false, false}, {0, 1}, rows);
  CHECK(mine.ticks == 4);
  plan::Costs equal;
  equal.stages.assign(2, {1, 0, 0});
  const plan::Simulation s = plan::simulate(mine, equal);
  CHECK(s.seconds == 4);
  std::vector<int> sent;
  for (const auto& e : s.trace.ranks[0])
    if (e.op == Op::Send) sent.push_back(e.micro);
  CHECK(sent == std::vector<int>{1, 0});
}

TEST_CASE("Two ranks and four micro-batches: 5/8 of one device under 1F1B, and less under zero bubble") {
  plan::Costs c;
  c.stages.assign(2, {1, 1, 1});
  const double alone = 2 * 4 * 3;
  CHECK(plan::simulate(make_schedule(OneFOneB{}, 2, 4), c).seconds == alone * 5 / 8);
  CHECK(plan::simulate(make_schedule(ZeroBubble{}, 2, 4), c).seconds == alone * 13 / 24);
}

TEST_CASE("A slow link is the critical path, and a compressed one is not") {
  plan::Costs c;
  c.stages.assign(2, {1, 1, 1});
  c.bytes = {{4000, 4000}};
  c.links = {{1000, 0.5}};
  const auto t = make_schedule(OneFOneB{}, 2, 8);
  const plan::Simulation slow = plan::simulate(t, c);
  double on_link = 0;
  for (const plan::Segment& s : slow.critical)
    if (s.action.op == Op::Send || s.action.op == Op::SendGrad) on_link += s.end - s.begin;
  CHECK(on_link > slow.seconds / 2);
  c.bytes = {{100, 100}};
  CHECK(plan::simulate(t, c).seconds < slow.seconds / 1.5);
}

TEST_CASE("Costs that do not fit are one clear error") {
  const auto t = make_schedule(OneFOneB{}, 3, 4);
  plan::Costs c;
  c.stages.assign(2, {1, 1, 1});
  CHECK(thrown([&] { (void)plan::simulate(t, c); }) == "pcomp: costs for 2 stages, but the schedule has 3");
  c.stages.assign(3, {1, -1, 1});
  CHECK(thrown([&] { (void)plan::simulate(t, c); }) == "pcomp: costs need times of at least 0 seconds");
  c = {};
  c.links.assign(2, {0, 0});
  CHECK(thrown([&] { (void)plan::simulate(t, c); }) == "pcomp: costs need a bandwidth above 0 and a latency");
  c = {};
  c.buffers = 0;
  CHECK(thrown([&] { (void)plan::simulate(t, c); }) == "pcomp: costs need at least 1 buffer");
}

TEST_CASE("Every cost has a bad value of its own, in every place") {
  const auto t = make_schedule(OneFOneB{}, 3, 4);
  const double never = std::numeric_limits<double>::quiet_NaN();
  const auto says = [&](const plan::Costs& c) {
    return thrown([&] { static_cast<void>(plan::simulate(t, c)); });
  };
  for (std::size_t place : {0u, 2u})
    for (double bad : {-1.0, never})
      for (auto field : {&plan::StageCost::forward, &plan::StageCost::backward, &plan::StageCost::weights,
                         &plan::StageCost::again}) {
        plan::Costs c;
        c.stages.assign(3, {1, 1, 1});
        CHECK(says(c) == "nothing");
        c.stages[place].*field = bad;
        CHECK(says(c) == "pcomp: costs need times of at least 0 seconds");
      }
  for (std::size_t place : {0u, 1u}) {
    for (auto field : {&schedule::BoundaryBytes::forward, &schedule::BoundaryBytes::gradient}) {
      plan::Costs c;
      c.bytes.assign(2, {});
      CHECK(says(c) == "nothing");
      c.bytes[place].*field = -1;
      CHECK(says(c) == "pcomp: costs need at least 0 bytes");
    }
    for (const plan::LinkModel& bad :
         {plan::LinkModel{1, -1}, plan::LinkModel{1, never}, plan::LinkModel{0, 0}, plan::LinkModel{-1, 0},
          plan::LinkModel{never, 0}}) {
      plan::Costs c;
      c.links.assign(2, {});
      CHECK(says(c) == "nothing");
      c.links[place] = bad;
      CHECK(says(c) == "pcomp: costs need a bandwidth above 0 and a latency");
    }
  }
  for (std::size_t n : {1u, 3u}) {
    plan::Costs c;
    c.bytes.assign(n, {});
    CHECK(says(c) == "pcomp: costs for " + std::to_string(n) + " boundaries' bytes, but the schedule has 2");
    c = {};
    c.links.assign(n, {});
    CHECK(says(c) == "pcomp: costs for " + std::to_string(n) + " boundaries' links, but the schedule has 2");
  }
  for (int bad : {0, -1}) {
    plan::Costs c;
    c.buffers = bad;
    CHECK(says(c) == "pcomp: costs need at least 1 buffer");
  }
}

TEST_CASE("What a link costs, number by number") {
  // One message each way: 1 s of forward, 4 s on the link and 0.5 s on the way, 3 s of stage 1, 8.5 s back, 2 s.
  plan::Costs c;
  c.stages = {{1, 2, 0}, {1, 1, 1}};
  c.bytes = {{4000, 8000}};
  c.links = {{1000, 0.5}};
  CHECK(plan::simulate(make_schedule(OneFOneB{}, 2, 1), c).seconds == 1 + 4.5 + 3 + 8.5 + 2);
  // Two messages follow each other on the link; the second waits for the first's 4 s, not for its latency.
  CHECK(plan::simulate(make_schedule(ForwardOnly{}, 2, 2), c).seconds == 1 + 4 + 4.5 + 1);
  // With one buffer a side, the second waits until the first is received.
  c.buffers = 1;
  CHECK(plan::simulate(make_schedule(ForwardOnly{}, 2, 2), c).seconds == 1 + 4.5 + 4.5 + 1);
}

TEST_CASE("As many sends are posted early as there are buffers, in order, and only what is ready") {
  const std::vector<int> order{2, 0, 1, 3, 4};
  for (const std::size_t buffers : {1u, 2u, 3u}) {
    detail::EarlySends early(buffers);
    for (int m : order) early.expect(m);
    CHECK_FALSE(early.any());
    early.offer(0);
    CHECK_FALSE(early.any());  // 2 comes first
    for (int m : {1, 2, 3, 4}) early.offer(m);
    std::size_t posted = 0;
    const auto post = [&] {
      for (; early.any(); ++posted) {
        CHECK(early.next() == order[posted]);
        CHECK(early.take() == order[posted]);
      }
      return posted;
    };
    for (std::size_t passed = 0; passed < 5; ++passed, early.pass())
      CHECK(post() == std::min<std::size_t>(5, passed + buffers));
  }
}
