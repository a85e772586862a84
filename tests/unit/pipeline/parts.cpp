// Parts of the pipeline that need no LibTorch, each judged by numbers written here.
#include <cmath>
#include <pcomp/core.hpp>
#include <pcomp/runtime/report.hpp>
#include <pcomp/stage/split.hpp>
#include <sstream>
#include <thread>

#include "catch.hpp"

using namespace pcomp;

TEST_CASE("A batch is cut into micro-batches by these numbers") {
  const auto cut = [](std::int64_t samples, int microbatches, std::vector<std::pair<int, int>> expected) {
    INFO(samples << " in " << microbatches);
    const auto parts = training::split(samples, microbatches);
    REQUIRE(parts.size() == expected.size());
    double all = 0;
    for (std::size_t m = 0; m < parts.size(); ++m) {
      CHECK(parts[m].first == expected[m].first);
      CHECK(parts[m].count == expected[m].second);
      CHECK(parts[m].weight == Approx(double(expected[m].second) / double(samples)).epsilon(1e-15));
      all += parts[m].weight;
    }
    CHECK(all == Approx(1).epsilon(1e-12));
  };
  cut(10, 4, {{0, 3}, {3, 3}, {6, 2}, {8, 2}});
  cut(8, 4, {{0, 2}, {2, 2}, {4, 2}, {6, 2}});
  cut(11, 4, {{0, 3}, {3, 3}, {6, 3}, {9, 2}});
  cut(5, 4, {{0, 2}, {2, 1}, {3, 1}, {4, 1}});
  cut(4, 4, {{0, 1}, {1, 1}, {2, 1}, {3, 1}});
  cut(7, 1, {{0, 7}});
  CHECK(training::split(10, 4)[0].weight == 0.3);
  CHECK(training::split(10, 4)[3].weight == 0.2);
  for (const auto& [samples, microbatches] : {std::pair{3, 4}, {0, 1}, {4, 0}, {4, -1}})
    CHECK(thrown([&] { static_cast<void>(training::split(samples, microbatches)); })
              .find("pcomp: a batch of " + std::to_string(samples) + " samples cannot be split into " +
                    std::to_string(microbatches) + " micro-batches") == 0);
}

namespace {
/// Three stages on two ranks: boundary 0 between the ranks, boundary 1 within rank 1.
runtime::Report measured() {
  runtime::Report r;
  r.steps = 4;
  r.boundaries.resize(2);
  r.boundaries[0] = {0, 0, 1, "Half", {8, 800, 800, 1600}, {8, 560, 560, 1120}, {2, 90, 90, 180}, 0};
  r.boundaries[1] = {1, 1, 1, "Raw", {8, 64, 64, 64}, {8, 72, 72, 72}, {}, 256};
  r.ranks.resize(2);
  r.ranks[0] = {1, 0.25, 0.5, 0.125, 0.0625, 4, {}, {}, {}};
  r.ranks[1] = {2, 0.5, 1, 0.25, 0.125, 5, {}, {}, {}};
  r.stages.resize(3);
  for (std::size_t s = 0; s < 3; ++s) r.stages[s] = {{8, 16, 0}, 8};
  return r;
}
}  // namespace

TEST_CASE("A report's figures are those of what was measured") {
  runtime::Report r = measured();
  CHECK(r.bytes(0) == 800);
  CHECK(r.bytes(1) == 560);
  CHECK(r.bytes(2) == 0);
  CHECK(r.seconds() == 1.25);
  CHECK(r.ranks[0].busy() == 1.75);
  CHECK(r.ranks[0].bubble() == 1 - 1.75 / 4);
  CHECK(runtime::RankReport().bubble() == 0);
  CHECK(runtime::Report().seconds() == 0);
  const plan::StageCost each = r.stages[0].each();
  CHECK((each.forward == 1 && each.backward == 2 && each.weights == 0));
  CHECK(runtime::StageReport{{3, 0, 0}, 0}.each().forward == 3);
  runtime::Traffic sum{1, 2, 3, 4};
  sum += {10, 20, 30, 40};
  CHECK((sum.messages == 11 && sum.bytes == 22 && sum.predicted == 33 && sum.raw == 44));

  // Predicted: stages of 1 and 2 seconds; one link of 100 bytes a second, whose messages are 100 and 70 bytes.
  const auto table = make_schedule(GPipe{}, 3, 1, {0, 1, 1});
  r.predict(table);
  CHECK(r.step.seconds == 9);
  r.predict(table, {{100, 0.5}, {}});
  CHECK(r.step.seconds == Approx(9 + 1.5 + 1.2).epsilon(1e-12));
  runtime::Report none;
  none.predict(table);
  CHECK(none.step.seconds == 0);

  std::ostringstream text;
  r.print_traffic(text);
  CHECK(text.str() ==
        "boundary  ranks  direction   messages         bytes     predicted           raw   of raw  wire\n"
        "       0   0->1  forward            8           800           800          1600   50.00%  Half\n"
        "       0   0->1  gradient           8           560           560          1120   50.00%  Half\n"
        "       0   0->1  inference          2            90            90           180   50.00%  Half\n"
        "       1   on 1  forward            8            64            64            64  100.00%  Raw\n"
        "       1   on 1  gradient           8            72            72            72  100.00%  Raw\n"
        "boundary 1 keeps 256 bytes in memory for its feedback\n");
}

TEST_CASE("A stopwatch charges the pass of a stage, and forgets what is taken back and what is no training") {
  detail::Stopwatch watch;
  const auto pause = [] { std::this_thread::sleep_for(std::chrono::milliseconds(2)); };
  watch.begin(true);
  watch(&runtime::RankReport::decode, {Op::Recv, 1, 0}, pause);
  watch(&runtime::RankReport::compute, {Op::Forward, 1, 0}, pause);
  watch(&runtime::RankReport::wait, {Op::RecvGrad, 1, 0}, pause);
  watch(&runtime::RankReport::compute, {Op::Backward, 1, 0}, pause);
  watch.end();
  REQUIRE(watch.stages().size() == 2);
  CHECK(watch.stages()[1].microbatches == 1);
  CHECK(watch.stages()[1].sum.forward ==
        watch.times().decode + (watch.stages()[1].sum.forward - watch.times().decode));
  CHECK(watch.stages()[1].sum.forward + watch.stages()[1].sum.backward ==
        Approx(watch.times().decode + watch.times().compute));
  CHECK(watch.stages()[1].sum.forward > watch.times().decode);
  CHECK(watch.stages()[1].sum.weights == 0);
  CHECK(watch.times().wait > 0);
  CHECK(watch.times().steps >= watch.times().busy() + watch.times().wait);
  const runtime::RankReport before = watch.times();
  const runtime::StageReport stage = watch.stages()[1];
  watch.mark();
  watch.begin(true);
  watch(&runtime::RankReport::compute, {Op::BackwardWeights, 0, 1}, pause);
  watch(&runtime::RankReport::compute, {Op::Forward, 1, 1}, pause);
  watch.end();
  CHECK(watch.stages()[0].sum.weights > 0);
  CHECK(watch.stages()[1].microbatches == 2);
  watch.take_back();
  CHECK(watch.times().compute == before.compute);
  CHECK(watch.times().steps == before.steps);
  CHECK(watch.stages()[1].microbatches == stage.microbatches);
  CHECK(watch.stages()[0].sum.weights == 0);
  std::vector<schedule::Interval> lane;
  watch.record(&lane, detail::Stopwatch::Clock::now());
  watch.begin(false);
  watch(&runtime::RankReport::encode, {Op::Forward, 0, 2}, pause);
  watch(&runtime::RankReport::compute, {Op::Forward, 0, 2}, pause);
  watch(&runtime::RankReport::send, {Op::Send, 0, 2}, pause);
  watch.end();
  CHECK(watch.times().steps == before.steps);
  CHECK(watch.times().compute == before.compute);
  CHECK(watch.stages()[0].microbatches == 0);
  CHECK(watch.stages()[0].sum.forward == 0);
  REQUIRE(lane.size() == 2);  // what belongs to one operation is one interval
  CHECK((lane[0].op == Op::Forward && lane[1].op == Op::Send && lane[1].micro == 2));
  CHECK((lane[0].begin >= 0 && lane[0].end > lane[0].begin && lane[1].begin >= lane[0].end));
}
