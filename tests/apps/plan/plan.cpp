#include <cmath>
#include <pcomp/cpu.hpp>
#include <pcomp/plan/alone.hpp>
#include <pcomp/plan/rank.hpp>

#include "../../unit/schedule/catch.hpp"

using namespace pcomp;

namespace {

plan::WireChoice wire(const char* name, double share) {
  return {name, [share](const Extents& s) {
            const auto bytes = std::llround(4 * share * static_cast<double>(s.size()));
            return schedule::BoundaryBytes{bytes, bytes};
          }};
}

/// Six blocks whose costs rise and whose activations shrink from one to the next, on two equal machines.
plan::Choices choices(double bandwidth) {
  plan::Choices c;
  plan::Machine m;
  for (int microbatches : {2, 4})
    for (int b = 0; b < 6; ++b)
      m.blocks[microbatches].push_back(
          {(0.010 + 0.002 * b) / microbatches, (0.020 + 0.002 * b) / microbatches,
           (0.012 + 0.001 * b) / microbatches, (0.010 + 0.002 * b) / microbatches});
  m.wires = {{"raw", {}}, {"half", {}}, {"thin", {1e-10, 1e-10, 1e-10, 1e-10}}};
  c.machines = {m, m};
  c.wires = {wire("raw", 1), wire("half", 0.5), wire("thin", 0.01)};
  c.schedules = {"gpipe", "1f1b", "zero-bubble"};
  c.microbatches = {2, 4};
  c.batch = 8;
  c.link.bandwidth = bandwidth;
  c.activation = [](int block, int samples) { return Extents{samples, 64 - 8 * block, 16, 16}; };
  return c;
}

}  // namespace

TEST_CASE("Every combination is simulated, and the first is the fastest of them") {
  const plan::Choices c = choices(5e6);
  const auto ranked = plan::rank(c);
  CHECK(ranked.size() == 5 * 3 * 3 * 2);
  double least = 1e9;
  for (int first = 1; first < 6; ++first)
    for (const plan::WireChoice& w : c.wires)
      for (const std::string& schedule : c.schedules)
        for (int microbatches : c.microbatches) {
          const plan::Candidate one{{0, first}, w.name, schedule, microbatches};
          const double seconds =
              plan::simulate(plan::table_of(schedule, 2, microbatches), plan::costs_of(c, one)).seconds;
          const bool found = std::any_of(ranked.begin(), ranked.end(), [&](const plan::Candidate& r) {
            return r.first == one.first && r.wire == one.wire && r.schedule == schedule &&
                   r.microbatches == microbatches && r.seconds == seconds;
          });
          CHECK(found);
          least = std::min(least, seconds);
        }
  CHECK(ranked.front().seconds == least);
  for (std::size_t i = 1; i < ranked.size(); ++i) CHECK(ranked[i - 1].seconds <= ranked[i].seconds);
}

TEST_CASE("A stage costs its blocks and its payloads, a link its bytes") {
  plan::Choices c = choices(1e6);
  c.machines[1].blocks[4][5].forward = 1;
  const plan::Costs costs = plan::costs_of(c, {{0, 4}, "thin", "1f1b", 4});
  const double elements = 2 * 40 * 16 * 16;
  CHECK(costs.stages[0].forward == Approx((0.010 + 0.012 + 0.014 + 0.016) / 4 + 1e-10 * elements));
  CHECK(costs.stages[0].backward == Approx((0.020 + 0.022 + 0.024 + 0.026) / 4 + 1e-10 * elements));
  CHECK(costs.stages[1].forward == Approx(0.018 / 4 + 1 + 1e-10 * elements));
  CHECK(costs.stages[0].weights == 0);
  CHECK(plan::costs_of(c, {{0, 4}, "thin", "zero-bubble", 4}).stages[0].weights > 0);
  REQUIRE(costs.bytes.size() == 1);
  CHECK(costs.bytes[0].forward == std::llround(0.04 * elements));
  CHECK(costs.links[0].bandwidth == 1e6);
}

TEST_CASE(
    "A fast link gets raw activations, a slow one the thinnest wire, and a tolerance the mildest that will "
    "do") {
  const auto fast = plan::rank(choices(1e12));
  CHECK(plan::recommend(fast, 0.03).wire == "raw");
  const auto slow = plan::rank(choices(1e5));
  CHECK(slow.front().wire == "thin");
  CHECK(plan::recommend(slow, 0.03).wire == "thin");
  CHECK(plan::recommend(slow, 1e9).wire == "raw");
  for (const double bandwidth : {1e5, 1e6, 1e7, 1e8}) {
    const auto ranked = plan::rank(choices(bandwidth));
    const plan::Candidate& best = plan::recommend(ranked, 0.05);
    CHECK(best.seconds <= 1.05 * ranked.front().seconds);
    for (const plan::Candidate& r : ranked)
      if (r.seconds <= 1.05 * ranked.front().seconds)
        CHECK(r.bytes * best.raw_bytes <= best.bytes * r.raw_bytes);
  }
}

TEST_CASE("Where ranks crowd each other, a stage costs more for as long as the other computes") {
  plan::Choices c = choices(1e12);
  const plan::Candidate even{{0, 3}, "raw", "gpipe", 4}, lone{{0, 5}, "raw", "gpipe", 4};
  const double alone = plan::predict(c, even).seconds;
  for (plan::Machine& m : c.machines) m.crowded = m.blocks;
  CHECK(plan::predict(c, even).seconds == Approx(alone));
  for (plan::Machine& m : c.machines)
    for (auto& [microbatches, blocks] : m.crowded)
      for (plan::BlockCost& b : blocks) b = {2 * b.forward, 2 * b.backward, 2 * b.inputs, 2 * b.weights};
  const plan::Simulation crowded = plan::predict(c, even);
  CHECK(crowded.seconds > 1.4 * alone);
  CHECK(crowded.seconds < 2 * alone);
  // A stage that is always crowded costs twice as much; otherwise its costs grow by the share of the overlap.
  const plan::Costs half = plan::costs_of(c, even, {0.5, 0});
  CHECK(half.stages[0].forward == Approx(1.5 * plan::costs_of(c, even).stages[0].forward));
  CHECK(half.stages[1].forward == Approx(plan::costs_of(c, even).stages[1].forward));
  const double idle = plan::simulate(plan::table_of("gpipe", 2, 4), plan::costs_of(c, lone)).seconds;
  CHECK(plan::predict(c, lone).seconds / idle < crowded.seconds / alone);
  CHECK(plan::write(plan::read(plan::write(c.machines[0]))) == plan::write(c.machines[0]));
}

TEST_CASE("More ranks than two: the shortlist finds what all cuts would") {
  plan::Choices c = choices(2e6);
  c.machines.push_back(c.machines[0]);
  c.machines[2].blocks[2][5].forward = 0.3;  // a machine that is slow at the last block
  const auto all = plan::rank(c);
  CHECK(all.size() == 10 * 3 * 3 * 2);
  c.shortlist = 4;
  const auto some = plan::rank(c);
  CHECK(some.size() == 4 * 3 * 3 * 2);
  CHECK(some.front().seconds == all.front().seconds);
}

TEST_CASE("What was measured is read back, and mistakes are one error") {
  const plan::Machine m = choices(1).machines[0];
  const std::string text = plan::write(m);
  CHECK(plan::write(plan::read(text)) == text);
  CHECK(plan::read("# by hand\n\n" + text).blocks.at(4).size() == 6);
  plan::Machine known = m;
  known.network = "0.1", known.batch = 7;
  CHECK(plan::read(text).batch == 0);
  CHECK(plan::read(plan::write(known)).network == "0.1");
  CHECK(plan::read(plan::write(known)).batch == 7);
  for (const char* bad : {"network 0.25", "network 1 0", "block 2 1 1 1 1 1", "block 2 0 1 1", "wire raw 1",
                          "blocks", "block x"})
    CHECK(thrown([&] { (void)plan::read(bad); }).find("not '" + std::string(bad) + "'") != std::string::npos);
  plan::Choices c = choices(1);
  c.microbatches = {3};
  CHECK(thrown([&] { (void)plan::rank(c); }).find("0 blocks were measured, fewer than the 2 ranks") !=
        std::string::npos);
  c = choices(1);
  c.wires = {wire("other", 1)};
  CHECK(thrown([&] {
          (void)plan::rank(c);
        }).find("was not measured with 2 micro-batches and the wire other") != std::string::npos);
  c = choices(1);
  c.schedules = {"none"};
  CHECK(thrown([&] { (void)plan::rank(c); }).find("there is no schedule 'none'") != std::string::npos);
}

namespace {
/// Two equal blocks for each of `ranks` machines, and a wire that costs nothing.
plan::Choices even_choices(int ranks, double bandwidth = std::numeric_limits<double>::infinity()) {
  plan::Choices c;
  plan::Machine m;
  for (int b = 0; b < ranks; ++b) m.blocks[4].push_back({1, 2, 1, 1});
  m.wires = {{"raw", {}}};
  c.machines.assign(static_cast<std::size_t>(ranks), m);
  c.wires = {wire("raw", 1)};
  c.schedules = {"gpipe"};
  c.microbatches = {4};
  c.batch = 8;
  c.link.bandwidth = bandwidth;
  c.activation = [](int, int samples) { return Extents{samples, 100}; };
  return c;
}
}  // namespace

TEST_CASE("Three ranks crowd a stage by the share of the two others that compute at the same time") {
  plan::Choices c = even_choices(3);
  const plan::Candidate even{{0, 1, 2}, "raw", "gpipe", 4};
  for (plan::Machine& m : c.machines) {
    m.crowded = m.blocks;
    for (plan::BlockCost& b : m.crowded[4]) b = {2, 4, 2, 2};
  }
  // GPipe, stages of 1 and 2 seconds, 4 micro-batches: forward from 0 to 4, 1 to 5 and 2 to 6 on ranks 0, 1 and 2;
  // backward from 10 to 18, 8 to 16 and 6 to 14. Each computes for 12 seconds.
  const double with_1 = 3 + 6, with_2 = 2 + 4, between = 3 + 6;
  const auto crowded = [&](double first, double second) { return 1 + (first + second) / 24; };
  const plan::Costs costs =
      plan::costs_of(c, even, {(with_1 + with_2) / 24, (with_1 + between) / 24, (with_2 + between) / 24});
  CHECK(costs.stages[0].forward == Approx(crowded(with_1, with_2)));
  CHECK(costs.stages[1].forward == Approx(crowded(with_1, between)));
  CHECK(plan::predict(c, even).seconds ==
        Approx(plan::simulate(make_schedule(GPipe{}, 3, 4), costs).seconds).epsilon(1e-12));
  CHECK(plan::predict(c, even).busy[0] == Approx(12 * crowded(with_1, with_2)));
  CHECK(plan::predict(c, even).busy[1] == Approx(12 * crowded(with_1, between)));
}

TEST_CASE("The shortlist looks at the direction that sends more") {
  // Activations shrink from block to block, the links are slow, and only one direction sends more for a larger one.
  for (const bool gradient : {false, true}) {
    plan::Choices c = even_choices(6, 1000);
    c.machines.resize(2);
    for (plan::Machine& m : c.machines) m.blocks[4].assign(6, {1e-3, 1e-3, 1e-3, 1e-3});
    c.wires = {
        {"raw", [gradient](const Extents& s) {
           const std::int64_t dear = 4000 * s[1], cheap = 4000;
           return gradient ? schedule::BoundaryBytes{cheap, dear} : schedule::BoundaryBytes{dear, cheap};
         }}};
    c.activation = [](int block, int) { return Extents{1, 6 - block}; };
    const auto all = plan::rank(c);
    CHECK(all.size() == 5);
    c.shortlist = 1;
    const auto best = plan::rank(c);
    REQUIRE(best.size() == 1);
    CHECK(best[0].first == all[0].first);
    CHECK(best[0].first == std::vector<int>{0, 5});
    // Wires that differ by direction: the bytes are those of both.
    CHECK(best[0].bytes == 4 * (8000 + 4000));
    CHECK(best[0].raw_bytes == 4 * 2 * 4 * 2);
    CHECK(all.back().bytes > best[0].bytes);
  }
}

TEST_CASE("Every field of a measured line has a bad value of its own") {
  CHECK(thrown([] { (void)plan::read("block 1 0 1 1 1 1\nblock 1 1 1 1 1 1\ncrowded 1 0 1 1 1 1"); }) ==
        "nothing");
  for (const char* bad :
       {"block 0 0 1 1 1 1", "block -1 0 1 1 1 1", "crowded 0 0 1 1 1 1", "block 1 1 1 1 1 1",
        "crowded 1 1 1 1 1 1", "block 1 -1 1 1 1 1", "block 1 0 x 1 1 1", "block 1 0 1 x 1 1",
        "block 1 0 1 1 x 1", "block 1 0 1 1 1 x", "block 1 0 1 1 1", "network 1 -64", "network 1 x",
        "network 1 64 1", "wire", "wire raw", "wire raw 1 1 1", "wire raw 1 1 1 x", "Block 1 0 1 1 1 1"})
    CHECK(thrown([&] { (void)plan::read(bad); }).find("not '" + std::string(bad) + "'") != std::string::npos);
  CHECK(thrown([] { (void)plan::read("block 1 0 1 1 1 1\nblock 1 0 1 1 1 1"); }).find("not 'block 1 0") !=
        std::string::npos);
  CHECK(thrown([] { (void)plan::read("block 1 0 1 1 1 1\nblock 1 2 1 1 1 1"); }).find("not 'block 1 2") !=
        std::string::npos);
}

TEST_CASE("Each stage pays for what it codes: the activation that enters it and the one that leaves it") {
  plan::Choices c = even_choices(3);
  c.machines[1].wires["raw"] = {1, 10, 100, 1000};  // encode, decode, encode_grad, decode_grad
  c.activation = [](int block, int samples) { return Extents{samples, block == 0 ? 3 : 7}; };
  const plan::Costs costs = plan::costs_of(c, {{0, 1, 2}, "raw", "gpipe", 4});
  CHECK(costs.stages[1].forward == 1 + 2 * 3 * 10 + 2 * 7 * 1);
  CHECK(costs.stages[1].backward == 2 + 2 * 3 * 100 + 2 * 7 * 1000);
  CHECK((costs.stages[0].forward == 1 && costs.stages[2].forward == 1));
  const plan::Costs split = plan::costs_of(c, {{0, 1, 2}, "raw", "zero-bubble", 4});
  CHECK((split.stages[0].backward == 1 && split.stages[0].weights == 1));
  c.batch = 9;  // the largest micro-batch has 3 of 9 samples
  CHECK(plan::costs_of(c, {{0, 1, 2}, "raw", "gpipe", 4}).bytes.at(0).forward == 4 * 3 * 3);
}
