#include <algorithm>
#include <pcomp/core.hpp>

#include "catch.hpp"

using namespace pcomp;

// The published orders, each written out as a loop over what a rank does, without a clock.

namespace {

using Order = std::vector<Action>;

Order computations(std::span<const Action> row) {
  Order order;
  for (const Action& a : row)
    if (schedule::is_compute(a.op)) order.push_back(a);
  return order;
}

/// The order of DeepSpeed, Megatron and PipeDream-flush: forwards to warm up, then one forward and one backward.
Order one_f_one_b(int ranks, int microbatches, int rank) {
  Order order;
  const int warm_up = std::min(ranks - rank - 1, microbatches);
  int backward = 0;
  for (int m = 0; m < microbatches; ++m) {
    order.push_back({Op::Forward, rank, m});
    if (m >= warm_up) order.push_back({Op::Backward, rank, backward++});
  }
  while (backward < microbatches) order.push_back({Op::Backward, rank, backward++});
  return order;
}

/// Megatron-LM's schedule table and warm-up, for micro-batches in groups as large as the number of ranks.
Order megatron_interleaved(int ranks, int chunks, int microbatches, int rank) {
  Order forward, backward, order;
  for (int first = 0; first < microbatches; first += ranks)
    for (int chunk = 0; chunk < chunks; ++chunk)
      for (int m = first; m < std::min(first + ranks, microbatches); ++m) {
        forward.push_back({Op::Forward, chunk * ranks + rank, m});
        backward.push_back({Op::Backward, (chunks - 1 - chunk) * ranks + rank, m});
      }
  const std::size_t warm_up =
      std::min(static_cast<std::size_t>((ranks - rank - 1) * 2 + (chunks - 1) * ranks), forward.size());
  std::size_t b = 0;
  for (std::size_t k = 0; k < forward.size(); ++k) {
    order.push_back(forward[k]);
    if (k >= warm_up) order.push_back(backward[b++]);
  }
  while (b < backward.size()) order.push_back(backward[b++]);
  return order;
}

/// PyTorch's ScheduleInterleavedZeroBubble with one stage per rank: weights from the rank-th backward on.
Order zero_bubble(int ranks, int microbatches, int rank) {
  Order order;
  const int warm_up = std::min(ranks - rank - 1, microbatches);
  int backward = 0, weights = 0;
  const auto back = [&] {
    order.push_back({Op::Backward, rank, backward++});
    if (backward > rank) order.push_back({Op::BackwardWeights, rank, weights++});
  };
  for (int m = 0; m < microbatches; ++m) {
    order.push_back({Op::Forward, rank, m});
    if (m >= warm_up) back();
  }
  while (backward < microbatches) back();
  while (weights < microbatches) order.push_back({Op::BackwardWeights, rank, weights++});
  return order;
}

Order gpipe(int microbatches, int rank) {
  Order order;
  for (int m = 0; m < microbatches; ++m) order.push_back({Op::Forward, rank, m});
  for (int m = 0; m < microbatches; ++m) order.push_back({Op::Backward, rank, m});
  return order;
}

}  // namespace

TEST_CASE("Rows are in the published order") {
  int wrong = 0;
  for (int p = 1; p <= 16; ++p)
    for (int m = 1; m <= 64; ++m) {
      const auto g = make_schedule(GPipe{}, p, m), o = make_schedule(OneFOneB{}, p, m),
                 z = make_schedule(ZeroBubble{}, p, m);
      for (int r = 0; r < p; ++r) {
        wrong += computations(g.row(r)) != gpipe(m, r);
        wrong += computations(o.row(r)) != one_f_one_b(p, m, r);
        wrong += computations(z.row(r)) != zero_bubble(p, m, r);
      }
    }
  CHECK(wrong == 0);
}

TEST_CASE("Interleaved rows are in Megatron's order") {
  int wrong = 0;
  for (int p = 1; p <= 8; ++p)
    for (int v = 1; v <= 4; ++v)
      for (int m = p; m <= 64; m += p) {
        const auto t = make_schedule(Interleaved{}, p * v, m, round_robin(p));
        for (int r = 0; r < p; ++r) wrong += computations(t.row(r)) != megatron_interleaved(p, v, m, r);
      }
  CHECK(wrong == 0);
}
