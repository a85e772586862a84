// A schedule of your own: a clock of a few lines, from which rows, proof, facts and drawings follow.
#include <iostream>
#include <pcomp/core.hpp>
#include <pcomp/plan/simulate.hpp>

using namespace pcomp;

/// 1F1B with nearly twice the forwards to warm up, so that a slow link has time to answer: a slot of two ticks holds
/// a forward and a backward, and what is sent in one slot is used in the next.
struct Patient {
  static constexpr const char* name = "patient 1F1B";
  static constexpr bool backward = true;
  static constexpr std::int64_t tick(Op op, int stage, int micro, schedule::PipelineDims n) {
    if (op == Op::Forward) return 2 * (std::int64_t{stage} + micro);
    return 2 * (std::int64_t{2 * (n.stages - 1)} - stage + micro) + 1;
  }
};

// Proved where it is written down: no deadlock under either placement, and how many activations rank 0 keeps.
using Plan = Schedule<Patient, 4, 8>;
static_assert(Plan::deadlock_free && Plan::peak_live[0] == 7);
static_assert(Schedule<Patient, 5, 8, Placement<0, 1, 2, 3, 0>>::deadlock_free);

/// A clock that breaks its law: a stage's backward comes before the one that gives it its gradient.
struct Wrong : Patient {
  static constexpr const char* name = "wrong";
  static constexpr std::int64_t tick(Op op, int stage, int micro, schedule::PipelineDims n) {
    return op == Op::Forward ? Patient::tick(op, stage, micro, n) : 100 + stage + micro;
  }
};

int main() {
  std::cout << Plan::draw() << '\n';

  plan::Costs costs;
  costs.stages.assign(4, {0.01, 0.01, 0});
  costs.bytes.assign(3, codec::boundary_bytes(Quant<8>, Shape<8, 32, 32, 32>{}));
  costs.links.assign(3, {50e6, 2e-3});
  const double usual = plan::simulate(make_schedule(OneFOneB{}, 4, 8), costs).seconds;
  const double patient = plan::simulate(Plan{}, costs).seconds;
  std::cout << "over 400 Mbit/s and 2 ms: 1F1B " << 1e3 * usual << " ms, patient " << 1e3 * patient
            << " ms\n";

  // What the compiler refuses in a constant, `make_schedule` throws as an error.
  try {
    (void)make_schedule(Wrong{}, 3, 4);
  } catch (const Error& e) {
    std::cout << e.what() << '\n';
  }
  return patient < usual ? 0 : 1;
}
