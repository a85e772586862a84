#include "plan.hpp"

#include <cmath>
#include <pcomp/cpu.hpp>

#include "../schedule/catch.hpp"

using namespace pcomp;

namespace {

plan::Wire wire(const char* name, double share) {
  return {name, [share](const Extents& s) {
            const auto bytes = std::llround(4 * share * static_cast<double>(s.size()));
            return EdgeBytes{bytes, bytes};
          }};
}

/// Six blocks whose costs rise and whose activations shrink from one to the next, on two equal machines.
plan::Choices choices(double bandwidth) {
  plan::Choices c;
  plan::Machine m;
  for (int micros : {2, 4})
    for (int b = 0; b < 6; ++b)
      m.blocks[micros].push_back({(0.010 + 0.002 * b) / micros, (0.020 + 0.002 * b) / micros,
                                  (0.012 + 0.001 * b) / micros, (0.010 + 0.002 * b) / micros});
  m.wires = {{"raw", {}}, {"half", {}}, {"thin", {1e-10, 1e-10, 1e-10, 1e-10}}};
  c.machines = {m, m};
  c.wires = {wire("raw", 1), wire("half", 0.5), wire("thin", 0.01)};
  c.schedules = {"gpipe", "1f1b", "zero-bubble"};
  c.micro_batches = {2, 4};
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
    for (const plan::Wire& w : c.wires)
      for (const std::string& schedule : c.schedules)
        for (int micros : c.micro_batches) {
          const plan::Candidate one{{0, first}, w.name, schedule, micros};
          const double seconds =
              simulate(plan::table_of(schedule, 2, micros), plan::costs_of(c, one)).seconds;
          const bool found = std::any_of(ranked.begin(), ranked.end(), [&](const plan::Candidate& r) {
            return r.first == one.first && r.wire == one.wire && r.schedule == schedule &&
                   r.micro_batches == micros && r.seconds == seconds;
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
  const Costs costs = plan::costs_of(c, {{0, 4}, "thin", "1f1b", 4});
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
    for (auto& [micros, blocks] : m.crowded)
      for (plan::BlockCost& b : blocks) b = {2 * b.forward, 2 * b.backward, 2 * b.inputs, 2 * b.weights};
  const Simulation crowded = plan::predict(c, even);
  CHECK(crowded.seconds > 1.4 * alone);
  CHECK(crowded.seconds < 2 * alone);
  // A stage that is always crowded costs twice as much; otherwise its costs grow by the share of the overlap.
  const Costs half = plan::costs_of(c, even, {0.5, 0});
  CHECK(half.stages[0].forward == Approx(1.5 * plan::costs_of(c, even).stages[0].forward));
  CHECK(half.stages[1].forward == Approx(plan::costs_of(c, even).stages[1].forward));
  const double idle = simulate(plan::table_of("gpipe", 2, 4), plan::costs_of(c, lone)).seconds;
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
  known.width = 0.1, known.batch = 7;
  CHECK(plan::read(text).batch == 0);
  CHECK(plan::read(plan::write(known)).width == 0.1);
  CHECK(plan::read(plan::write(known)).batch == 7);
  for (const char* bad : {"network 0.25", "network 0 64", "network 1 0", "block 2 1 1 1 1 1", "block 2 0 1 1",
                          "wire raw 1", "blocks", "block x"})
    CHECK(thrown([&] { plan::read(bad); }).find("not '" + std::string(bad) + "'") != std::string::npos);
  plan::Choices c = choices(1);
  c.micro_batches = {3};
  CHECK(thrown([&] { plan::rank(c); }).find("0 blocks were measured, fewer than the 2 ranks") !=
        std::string::npos);
  c = choices(1);
  c.wires = {wire("other", 1)};
  CHECK(thrown([&] { plan::rank(c); }).find("was not measured with 2 micro-batches and the wire other") !=
        std::string::npos);
  c = choices(1);
  c.schedules = {"none"};
  CHECK(thrown([&] { plan::rank(c); }).find("there is no schedule 'none'") != std::string::npos);
}
