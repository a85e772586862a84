#include <pcomp/core.hpp>

#include "../cpu/catch.hpp"

using namespace pcomp;

namespace {

template <class Plan>
constexpr bool is_one_f_one_b(int ranks, int microbatches) {
  for (int r = 0; r < ranks; ++r) {
    const int expected = ranks - r < microbatches ? ranks - r : microbatches;
    if (Plan::peak_live[static_cast<std::size_t>(r)] != expected) return false;
    int forwards = 0;
    for (const Action& a : Plan::row(r)) {
      if (a.op == Op::Backward) break;
      forwards += a.op == Op::Forward;
    }
    if (forwards != expected) return false;
  }
  return Plan::deadlock_free && Plan::ticks == 2 * (microbatches + ranks - 1);
}

constexpr bool test_one_f_one_b() {
  return is_one_f_one_b<Schedule<OneFOneB, 4, 8>>(4, 8) && is_one_f_one_b<Schedule<OneFOneB, 8, 32>>(8, 32) &&
         is_one_f_one_b<Schedule<OneFOneB, 5, 2>>(5, 2) && is_one_f_one_b<Schedule<OneFOneB, 1, 1>>(1, 1) &&
         is_one_f_one_b<Schedule<OneFOneB, 16, 64>>(16, 64);
}

constexpr bool test_others() {
  using Loop = Schedule<GPipe, 5, 8, Placement<0, 1, 2, 3, 0>>;
  using Inter = Schedule<Interleaved, 8, 8, RoundRobin<4>>;
  using Zero = Schedule<ZeroBubble, 2, 4>;
  using Infer = Schedule<ForwardOnly, 4, 8>;
  return Loop::ranks == 4 && Loop::peak_live[0] == 16 && Loop::peak_live[3] == 8 && Loop::messages(3) == 8 &&
         Inter::ranks == 4 && Inter::ticks == 38 && Inter::peak_live[0] == 11 && Inter::peak_live[3] == 5 &&
         Zero::ticks == 13 && Zero::peak_live[0] == 2 && Zero::peak_live[1] == 2 && Zero::backward &&
         Infer::ticks == 11 && Infer::peak_live[0] == 1 && !Infer::backward;
}

/// The first row of a table, entry by entry.
constexpr bool test_row() {
  using Plan = Schedule<OneFOneB, 2, 2>;
  constexpr Action expected[] = {{Op::Forward, 0, 0},  {Op::Send, 0, 0},     {Op::Forward, 0, 1},
                                 {Op::Send, 0, 1},     {Op::RecvGrad, 0, 0}, {Op::Backward, 0, 0},
                                 {Op::RecvGrad, 0, 1}, {Op::Backward, 0, 1}};
  if (Plan::row(0).size() != 8) return false;
  for (std::size_t i = 0; i < 8; ++i)
    if (!(Plan::row(0)[i] == expected[i])) return false;
  return true;
}

constexpr bool test_bytes() {
  constexpr auto thin = Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>;
  using Plan = Schedule<OneFOneB, 3, 8, Placement<0, 1, 1>>;
  using Infer = Schedule<ForwardOnly, 3, 8>;
  using Micro = Shape<8, 32, 32, 32>;
  constexpr auto forward = static_cast<std::int64_t>(wire_bytes(thin, Micro{}));
  constexpr auto gradient = static_cast<std::int64_t>(grad_wire_bytes(thin, Micro{}));
  return Plan::bytes_per_step(0, thin, Micro{}) == 8 * (forward + gradient) &&
         Plan::bytes_per_step(0, forward, gradient) == 8 * (forward + gradient) &&
         Plan::bytes_per_step(1, thin, Micro{}) == 0 &&
         Infer::bytes_per_step(1, thin, Micro{}) == 8 * forward &&
         codec::boundary_bytes(Wire<thin>{}, Micro{}) == schedule::BoundaryBytes{forward, gradient};
}

/// A table in the wrong order, as constants: rank 0 waits for a gradient before it sends what leads to it.
constexpr bool test_proof() {
  constexpr Action first[] = {
      {Op::Forward, 0, 0}, {Op::RecvGrad, 0, 0}, {Op::Send, 0, 0}, {Op::Backward, 0, 0}};
  constexpr Action second[] = {
      {Op::Recv, 1, 0}, {Op::Forward, 1, 0}, {Op::Backward, 1, 0}, {Op::SendGrad, 1, 0}};
  constexpr int ranks[] = {0, 1};
  const std::span<const Action> rows[] = {first, second};
  return !schedule::Proof(rows, {2, 1, 2}, ranks, {true, false}).ok() &&
         !schedule::Proof(rows, {2, 1, 2}, ranks, {true, false}, 9).ok();
}

static_assert(test_one_f_one_b());
static_assert(test_others());
static_assert(test_row());
static_assert(test_bytes());
static_assert(test_proof());

template <class Plan>
void equals(const schedule::ScheduleTable& table) {
  REQUIRE(table.ranks == Plan::ranks);
  CHECK(table.ticks == Plan::ticks);
  CHECK(table.bubble == Plan::bubble);
  CHECK(table.draw() == Plan::draw());
  for (int r = 0; r < Plan::ranks; ++r) {
    CHECK(std::vector<Action>(table.row(r).begin(), table.row(r).end()) ==
          std::vector<Action>(Plan::row(r).begin(), Plan::row(r).end()));
    CHECK(table.peak_live[static_cast<std::size_t>(r)] == Plan::peak_live[static_cast<std::size_t>(r)]);
  }
}

}  // namespace

TEST_CASE("Schedules are constants", "[static]") {
  CHECK(test_one_f_one_b());
  CHECK(test_others());
  CHECK(test_row());
  CHECK(test_bytes());
  CHECK(test_proof());
}

TEST_CASE("A schedule made at run time equals the constant", "[static]") {
  equals<Schedule<GPipe, 3, 5>>(make_schedule(GPipe{}, 3, 5));
  equals<Schedule<OneFOneB, 5, 7, Placement<0, 1, 2, 3, 0>>>(
      make_schedule(OneFOneB{}, 5, 7, {0, 1, 2, 3, 0}));
  equals<Schedule<Interleaved, 6, 7, RoundRobin<3>>>(make_schedule(Interleaved{}, 6, 7, round_robin(3)));
  equals<Schedule<ZeroBubble, 4, 6>>(make_schedule(ZeroBubble{}, 4, 6));
  equals<Schedule<ForwardOnly, 4, 3>>(Schedule<ForwardOnly, 4, 3>{});
}
