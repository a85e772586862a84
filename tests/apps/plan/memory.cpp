#include <cmath>
#include <pcomp/cpu.hpp>
#include <pcomp/plan/alone.hpp>
#include <pcomp/plan/rank.hpp>
#include <random>

#include "../../unit/schedule/catch.hpp"

using namespace pcomp;

namespace {

/// `blocks` of random costs and bytes, on `ranks` machines that differ.
plan::Choices random_choices(unsigned seed, int ranks, int blocks) {
  std::mt19937 random(seed);
  const auto draw = [&](int from, int to) { return std::uniform_int_distribution(from, to)(random); };
  plan::Choices c;
  c.microbatches = {1, 4};
  c.batch = 8;
  c.sample_bytes = 10;
  for (int r = 0; r < ranks; ++r) {
    plan::Machine m;
    for (const int n : c.microbatches)
      for (int b = 0; b < blocks; ++b) {
        const double forward = draw(1, 20), inputs = draw(1, 20), weights = draw(1, 20);
        const std::int64_t live = draw(0, 900);
        m.blocks[n].push_back(
            {forward / n,
             (inputs + weights) / n,
             inputs / n,
             weights / n,
             {draw(0, 2000), live, live + draw(0, 300), draw(0, 500), draw(0, 90), draw(0, 400)}});
      }
    m.wires = {{"raw", {}}, {"thin", {0.01, 0.02, 0.03, 0.04}}};
    c.machines.push_back(m);
  }
  c.wires = {{"raw",
              [](const Extents& s) {
                return schedule::BoundaryBytes{4 * s.size(), 4 * s.size()};
              }},
             {"thin", [](const Extents& s) {
                return schedule::BoundaryBytes{s.size() / 2, s.size() / 4};
              }}};
  c.link = {20, 0.5};
  std::vector<int> widths;
  for (int b = 0; b < blocks; ++b) widths.push_back(draw(1, 30));
  c.activation = [widths](int block, int samples) {
    return Extents{samples, widths[static_cast<std::size_t>(block)]};
  };
  return c;
}

/// What a stage of these blocks needs, written down a second time.
schedule::StageBytes stage_needs(const plan::Choices& c, int rank, int microbatches, const std::string& wire,
                                 int begin, int end, bool split, bool recompute) {
  const auto& blocks = c.machines[static_cast<std::size_t>(rank)].blocks.at(microbatches);
  const int all = static_cast<int>(blocks.size()), samples = c.batch / microbatches;
  const auto of = [&](int b) { return blocks[static_cast<std::size_t>(b)].bytes; };
  const auto output = [&](int b) { return b < 0 ? 0 : 4 * c.activation(b, samples).size(); };
  const auto sum = [&](int from, int to, auto field) {
    std::int64_t bytes = 0;
    for (int b = from; b < to; ++b) bytes += of(b).*field;
    return bytes;
  };
  using S = schedule::StageBytes;
  const auto messages = [&](int b) {  // one or two, there and back; thin ones are an eighth and a sixteenth
    if (b < 0 || b + 1 == all) return std::int64_t{0};
    return std::min(microbatches, 2) * (wire == "raw" ? 2 * output(b) : output(b) / 8 + output(b) / 16);
  };
  const std::int64_t x = output(begin - 1), graph = x + sum(begin, end, &S::live);
  S s;
  s.fixed =
      (begin == 0 ? 10 * c.batch : 0) + sum(begin, end, &S::fixed) + messages(begin - 1) + messages(end - 1);
  s.live = !recompute ? graph : begin == 0 ? 0 : wire == "raw" ? x : x / 8;
  std::int64_t building = 0, running = 0;
  for (int b = begin; b < end; ++b) {
    building = std::max(building, x + sum(begin, b, &S::live) + of(b).forward);
    running = std::max(running, x + of(b).forward + (b > begin ? output(b - 1) : 0));
    std::int64_t behind = sum(b + 1, end, split ? &S::between : &S::live);
    if (!split) {
      behind = -behind;
      if (b + 1 < end) behind += std::min(of(end - 1).live, output(end - 1));  // the stage's output stays
    }
    s.backward = std::max(s.backward, behind + of(b).backward + output(b));
    if (split) s.weights = std::max(s.weights, of(b).weights);
  }
  s.forward = recompute ? running : building;
  if (recompute) s.backward = std::max(building, graph + s.backward);
  if (split) s.between = sum(begin, end, &S::between) + (recompute ? graph : 0);
  return s;
}

std::vector<std::vector<int>> all_cuts(int blocks, int stages) {
  std::vector<std::vector<int>> cuts;
  for (int chosen = 0; chosen < 1 << (blocks - 1); ++chosen) {
    std::vector<int> first{0};
    for (int b = 1; b < blocks; ++b)
      if (chosen >> (b - 1) & 1) first.push_back(b);
    if (static_cast<int>(first.size()) == stages) cuts.push_back(first);
  }
  return cuts;
}

}  // namespace

TEST_CASE("With a limit of memory, the first candidate is the fastest of all that fit") {
  int limited = 0, recomputed = 0, none = 0;
  for (unsigned seed = 0; seed < 12; ++seed)
    for (const int ranks : {2, 3}) {
      plan::Choices c = random_choices(seed, ranks, 5);
      const auto cuts = all_cuts(5, ranks);
      for (const auto mode :
           {plan::Recomputation::never, plan::Recomputation::to_fit, plan::Recomputation::always})
        for (const std::int64_t limit : {3000, 4500, 6500, 100000}) {
          c.memory_limit = limit;
          c.recompute = mode;
          double fastest = 1e9;
          std::int64_t leanest = 1 << 30;
          for (const auto& first : cuts)
            for (const plan::WireChoice& w : c.wires)
              for (const std::string& schedule : c.schedules)
                for (const int n : c.microbatches)
                  for (int again = 0; again < 1 << ranks; ++again) {
                    if (mode == plan::Recomputation::never && again != 0) continue;
                    if (mode == plan::Recomputation::always && again + 1 != 1 << ranks) continue;
                    plan::Candidate one{first, w.name, schedule, n};
                    std::vector<schedule::StageBytes> needs;
                    for (int s = 0; s < ranks; ++s) {
                      one.recompute.push_back(again >> s & 1);
                      const std::size_t next = static_cast<std::size_t>(s) + 1;
                      needs.push_back(stage_needs(c, s, n, w.name, first[next - 1],
                                                  next < first.size() ? first[next] : 5,
                                                  schedule == "zero-bubble", again >> s & 1));
                    }
                    CHECK(plan::needs_of(c, one) == needs);
                    const auto table = plan::table_of(schedule, ranks, n);
                    const auto peak = table.peak_bytes(needs);
                    const std::int64_t most = *std::max_element(peak.begin(), peak.end());
                    leanest = std::min(leanest, most);
                    if (most > limit) continue;
                    fastest = std::min(fastest, plan::simulate(table, plan::costs_of(c, one)).seconds);
                  }
          if (leanest > limit) {
            const std::string why = thrown([&] { (void)plan::rank(c); });
            char needs[60];
            std::snprintf(needs, sizeof needs, "the leanest needs %.4g MB",
                          static_cast<double>(leanest) / 1e6);
            CHECK(why.find("pcomp: nothing fits into ") == 0);
            CHECK(why.find(needs) != std::string::npos);
            CHECK((why.find("without recomputation") != std::string::npos) ==
                  (mode == plan::Recomputation::never));
            ++none;
            continue;
          }
          const auto ranked = plan::rank(c);
          CHECK(ranked.front().seconds == fastest);
          for (const plan::Candidate& r : ranked) {
            CHECK(r.fullest() <= limit);
            CHECK(r.peak_bytes ==
                  plan::table_of(r.schedule, ranks, r.microbatches).peak_bytes(plan::needs_of(c, r)));
            // Where it is needed alone: without it, the stage would not fit.
            for (std::size_t s = 0; mode == plan::Recomputation::to_fit && s < r.first.size(); ++s)
              if (r.recompute[s]) {
                plan::Candidate without = r;
                without.recompute[s] = false;
                CHECK(plan::table_of(r.schedule, ranks, r.microbatches)
                          .peak_bytes(plan::needs_of(c, without))[s] > limit);
                ++recomputed;
              }
          }
          const std::size_t all = cuts.size() * 2 * 3 * 2;
          CHECK(ranked.size() <= all);
          limited += ranked.size() < all;
        }
    }
  CHECK(limited > 10);
  CHECK(recomputed > 10);
  CHECK(none > 10);
}

TEST_CASE("A stage that recomputes runs forward once more for every micro-batch") {
  for (const char* schedule : {"gpipe", "1f1b", "zero-bubble"}) {
    const auto table = plan::table_of(schedule, 1, 6);
    plan::Costs costs;
    costs.stages = {{2, 3, 4}};
    const double without = plan::simulate(table, costs).seconds;
    costs.stages[0].again = 2;
    CHECK(plan::simulate(table, costs).seconds == without + 6 * 2);
  }
  // What arrives is decoded again; what leaves is not encoded again.
  plan::Choices c = random_choices(1, 2, 3);
  plan::Candidate one{{0, 2}, "thin", "1f1b", 4};
  const plan::Costs plain = plan::costs_of(c, one);
  one.recompute = {false, true};
  const plan::Costs again = plan::costs_of(c, one);
  CHECK(again.stages[0].again == 0);
  CHECK(again.stages[1].again == plain.stages[1].forward);
  CHECK(again.stages[1].forward == plain.stages[1].forward);
  CHECK(again.stages[1].backward == plain.stages[1].backward);
  one.recompute = {true, true};
  const double elements = static_cast<double>(c.activation(1, 2).size());
  CHECK(plan::costs_of(c, one).stages[0].again == Approx(plain.stages[0].forward - 0.01 * elements));
  // Without a limit, only `always` recomputes.
  c.recompute = plan::Recomputation::always;
  for (const plan::Candidate& r : plan::rank(c)) CHECK(r.recompute == std::vector<bool>{true, true});
  c.recompute = plan::Recomputation::to_fit;
  for (const plan::Candidate& r : plan::rank(c)) CHECK(r.recompute == std::vector<bool>{false, false});
}

TEST_CASE("One machine alone: the fastest way through all blocks without a boundary") {
  plan::Choices c = random_choices(5, 2, 4);
  for (plan::Machine& m : c.machines)
    for (auto& [n, blocks] : m.blocks) blocks.assign(4, {1.0 / n, 2.0 / n, 9, 9, {100, 50, 70, 20, 5, 6}});
  c.machines[1].blocks[4].assign(4, {0.2, 0.4, 9, 9, {100, 50, 70, 20, 5, 6}});  // 9.6 seconds, against 12
  plan::Alone a = plan::alone(c);
  CHECK(a.seconds == Approx(9.6));
  CHECK((a.machine == 1 && a.microbatches == 4 && a.fits && !a.recompute));
  // All weights, the batch, what every block keeps, and the gradient of 2 samples that enters the last.
  c.activation = [](int, int samples) { return Extents{samples, 3}; };
  a = plan::alone(c);
  CHECK(a.peak_bytes == 4 * 100 + 10 * 8 + 4 * 50 + 20 + 4 * 2 * 3);
  // The whole batch at once, which no candidate does but the machine was measured with.
  c.machines[0].blocks[1].assign(4, {0.1, 0.2, 9, 9, {100, 50, 70, 20, 5, 6}});
  c.microbatches = {4};
  CHECK(plan::alone(c).microbatches == 1);
  CHECK(plan::alone(c).seconds == Approx(1.2));
  // The faster one that fits; recomputed if need be, unless that is not allowed; else the leanest.
  c.machines[0].blocks[1].assign(4, {0.1, 0.2, 9, 9, {1000, 50, 70, 20, 5, 6}});
  c.memory_limit = a.peak_bytes;
  CHECK(plan::alone(c).seconds == Approx(9.6));
  c.machines[0].blocks[1].assign(4, {1, 2, 9, 9, {100, 5000, 5000, 20, 5, 6}});
  c.memory_limit = a.peak_bytes - 1;
  a = plan::alone(c);
  CHECK((!a.fits && !a.recompute && a.peak_bytes == c.memory_limit + 1));
  c.recompute = plan::Recomputation::always;
  c.memory_limit = 0;
  a = plan::alone(c);
  CHECK((a.recompute && a.seconds == Approx(4 * 4 * (0.2 + 0.4 + 0.2))));
  for (plan::Machine& m : c.machines)
    for (auto& [n, blocks] : m.blocks)
      for (plan::BlockCost& b : blocks) b.bytes = {};
  CHECK(plan::alone(c).peak_bytes == 0);
}

TEST_CASE("The verdict says whether the pipeline pays, and who waits") {
  plan::Candidate c{{0, 3}, "raw", "gpipe", 4};
  c.seconds = 2;
  plan::Alone a{0, 4, false, 3, 5000000, true};
  CHECK(plan::verdict(c, a) == "the pipeline pays: it is 1.50 times as fast as one machine alone");
  c.seconds = 4;
  CHECK(plan::verdict(c, a) == "the pipeline does not pay here: one machine alone is 1.33 times as fast");
  c.seconds = 3.001;
  CHECK(plan::verdict(c, a) == "the pipeline does not pay here: one machine alone is as fast");
  c.bubble = 0.38, c.busy = {3, 1};
  CHECK(
      plan::verdict(c, a) ==
      "the pipeline does not pay here: one machine alone is as fast; its ranks wait for 38 % of a step, and "
      "rank 0 does 75 % of the work");
  c.bubble = 0.3;
  a.fits = false;
  CHECK(plan::verdict(c, a) == "the pipeline pays: one machine alone would need 5 MB");
  c.first = {0};
  CHECK(plan::verdict(c, a) == "one rank: there is no pipeline");
}

TEST_CASE("Of many blocks and ranks, the shortlist has the cut whose busiest rank has the least to do") {
  std::mt19937 random(7);
  plan::Choices c = random_choices(3, 1, 1);
  plan::Machine m;
  std::vector<double> cost;
  for (int b = 0; b < 60; ++b) {
    cost.push_back(std::uniform_int_distribution(1, 9)(random));
    m.blocks[4].push_back({cost.back() / 4, cost.back() / 4, 1, 1});
  }
  m.wires = c.machines[0].wires;
  c.machines.assign(8, m);
  c.wires.pop_back();
  c.microbatches = {4};
  c.schedules = {"1f1b"};
  c.link = {};
  c.activation = [](int, int samples) { return Extents{samples, 1}; };
  const auto stages_of_at_most = [&](double most) {
    double sum = 0;
    int stages = 1;
    for (const double k : cost) {
      if (sum + k > most) ++stages, sum = 0;
      sum += k;
    }
    return stages;
  };
  double least = 9;
  while (stages_of_at_most(least) > 8) ++least;
  const auto busiest = [&](const plan::Candidate& r) {
    double most = 0;
    for (std::size_t s = 0; s < r.first.size(); ++s) {
      double sum = 0;
      const int end = s + 1 < r.first.size() ? r.first[s + 1] : 60;
      for (int b = r.first[s]; b < end; ++b) sum += cost[static_cast<std::size_t>(b)];
      most = std::max(most, sum);
    }
    return most;
  };
  const auto ranked = plan::rank(c);
  CHECK(ranked.size() == 40);
  double best = 1e9;
  for (const plan::Candidate& r : ranked) best = std::min(best, busiest(r));
  CHECK(best == least);
}

TEST_CASE("A cut where the wire does not take the tensor is none") {
  plan::Choices c = random_choices(4, 2, 4);
  const auto picky = [](const Extents& s) {
    if (s[1] % 2 == 0) throw Error("pcomp: odd widths only");
    return schedule::BoundaryBytes{s.size(), s.size()};
  };
  c.wires = {{"thin", picky}};
  c.activation = [](int block, int samples) { return Extents{samples, block == 1 ? 3 : 2}; };
  for (const plan::Candidate& r : plan::rank(c)) CHECK(r.first == std::vector<int>{0, 2});
  CHECK(thrown([&] {
          (void)plan::costs_of(c, {{0, 1}, "thin", "gpipe", 4});
        }) == "pcomp: the wire cannot carry the output of block 0: odd widths only");
  c.activation = [](int, int samples) { return Extents{samples, 2}; };
  CHECK(thrown([&] { (void)plan::rank(c); }) ==
        "pcomp: no wire can carry what is between any 2 stages; thin: odd widths only");
}

TEST_CASE("Bytes are saved with the blocks, and a line has all of them or none") {
  plan::Machine m = random_choices(2, 1, 3).machines[0];
  m.network = "mine", m.batch = 8;
  const plan::Machine back = plan::read(plan::write(m));
  for (std::size_t b = 0; b < 3; ++b) CHECK(back.blocks.at(4)[b].bytes == m.blocks.at(4)[b].bytes);
  CHECK(back.network == "mine");
  CHECK(plan::read("block 4 0 1 2 3 4 ").blocks.at(4)[0].bytes == schedule::StageBytes{});
  for (const char* bad :
       {"block 4 0 1 2 3 4 5", "block 4 0 1 2 3 4 5 6 7 8 9", "block 4 0 1 2 3 4 5 6 7 8 9 10 11",
        "block 4 0 1 2 3 4 -5 6 7 8 9 10", "block 4 0 1 2 3 4 5 -6 7 8 9 10",
        "block 4 0 1 2 3 4 5 6 -7 8 9 10", "block 4 0 1 2 3 4 5 6 7 -8 9 10",
        "block 4 0 1 2 3 4 5 6 7 8 -9 10", "block 4 0 1 2 3 4 5 6 7 8 9 -10", "wire raw 1 1 1 1 1"})
    CHECK(thrown([&] { (void)plan::read(bad); }).find("not '" + std::string(bad) + "'") != std::string::npos);
  m.network = "my network";
  CHECK(thrown([&] { (void)plan::write(m); }).find("one word, not 'my network'") != std::string::npos);
}

TEST_CASE("Choices that make no sense are one error, before anything is simulated") {
  const plan::Choices good = random_choices(1, 2, 4);
  CHECK(thrown([&] { good.check(); }) == "nothing");
  const auto refused = [&](auto change, const std::string& because) {
    plan::Choices c = good;
    change(c);
    for (const std::string& said :
         {thrown([&] { (void)plan::rank(c); }), thrown([&] { (void)plan::alone(c); })}) {
      INFO(said);
      CHECK(said.find(because) != std::string::npos);
    }
  };
  using C = plan::Choices;
  const double never = std::numeric_limits<double>::quiet_NaN();
  refused([](C& c) { c.machines.clear(); }, "there is no machine to plan for");
  refused([](C& c) { c.wires.clear(); }, "there is no wire to choose");
  refused([](C& c) { c.schedules.clear(); }, "there is no schedule to choose");
  refused([](C& c) { c.microbatches.clear(); }, "there is no number of micro-batches to choose");
  refused([](C& c) { c.wires.push_back(c.wires[0]); }, "the wire raw is given twice");
  refused([](C& c) { c.wires[0].name = ""; }, "a wire has no name");
  refused([](C& c) { c.schedules = {"gpipe", "gpipe"}; }, "the schedule gpipe is given twice");
  refused([](C& c) { c.microbatches = {4, 4}; }, "the number of micro-batches 4 is given twice");
  refused([](C& c) { c.wires[1].bytes = nullptr; }, "the wire thin has no function for its bytes");
  refused([](C& c) { c.activation = nullptr; }, "no function for the blocks' activations");
  refused([](C& c) { c.shortlist = 0; }, "at least 1 cut, not 0");
  refused([](C& c) { c.memory_limit = -1; }, "memory is at least 0 bytes");
  refused([](C& c) { c.sample_bytes = -1; }, "memory is at least 0 bytes");
  for (const plan::LinkModel& link : {plan::LinkModel{0, 0}, {1, -1}, {never, 0}, {1, never}})
    refused([&](C& c) { c.link = link; }, "a link needs a bandwidth above 0 and a latency");
  refused([](C& c) { c.microbatches = {9}; }, "a batch of 8 samples cannot be cut into 9 micro-batches");
  refused([](C& c) { c.microbatches = {0}; }, "cannot be cut into 0 micro-batches");
  refused([](C& c) { c.machines[1].batch = 64; }, "rank 1 was measured with a batch of 64, not of 8");
  refused([](C& c) { c.machines[1].blocks[4].pop_back(); },
          "rank 1: with 4 micro-batches 3 blocks were measured, but 4");
  refused([](C& c) { c.machines[1].crowded[4] = {{}}; }, "another number while other ranks compute");
  refused([](C& c) { c.machines[0].wires.erase("thin"); },
          "rank 0 was not measured with 1 micro-batches and the wire thin");
  for (const double bad : {-1.0, never, std::numeric_limits<double>::infinity()}) {
    for (auto field : {&plan::BlockCost::forward, &plan::BlockCost::backward, &plan::BlockCost::inputs,
                       &plan::BlockCost::weights})
      refused([&](C& c) { c.machines[1].blocks[4][2].*field = bad; },
              "measured times are at least 0 seconds");
    for (auto field : {&plan::WireCost::encode, &plan::WireCost::decode, &plan::WireCost::encode_grad,
                       &plan::WireCost::decode_grad})
      refused([&](C& c) { c.machines[1].wires["thin"].*field = bad; },
              "measured times are at least 0 seconds");
  }
  for (auto field :
       {&schedule::StageBytes::fixed, &schedule::StageBytes::live, &schedule::StageBytes::forward,
        &schedule::StageBytes::backward, &schedule::StageBytes::between, &schedule::StageBytes::weights})
    refused([&](C& c) { c.machines[1].blocks[4][2].bytes.*field = -1; },
            "measured memory is at least 0 bytes");
  const auto forget = [](C& c) {
    for (plan::BlockCost& b : c.machines[1].blocks[4]) b.bytes = {};
  };
  refused([&](C& c) { forget(c), c.memory_limit = 1000; }, "which were not measured: measure them anew");
  C old = good;  // without a limit they are not needed
  forget(old);
  CHECK(plan::rank(old).front().fullest() == 0);
  CHECK(plan::needs_of(old, {{0, 1}, "raw", "gpipe", 4})[1] == schedule::StageBytes{});
  // A candidate that is not one of these choices.
  for (const std::vector<int>& first :
       std::vector<std::vector<int>>{{}, {1, 2}, {0, 4}, {0, 2, 1}, {0, 1, 2}})
    CHECK(thrown([&] {
            (void)plan::predict(good, {first, "raw", "gpipe", 4});
          }).find("stages begin at") != std::string::npos);
  const std::vector<plan::Candidate> none;
  CHECK(thrown([&] { (void)plan::recommend(none, 0); }) == "pcomp: there is nothing to recommend from");
  const auto ranked = plan::rank(good);
  for (const double bad : {-0.1, never})
    CHECK(thrown([&] { (void)plan::recommend(ranked, bad); }).find("a tolerance is a share of at least 0") !=
          std::string::npos);
}
