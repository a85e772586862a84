#include <pcomp/core.hpp>
using namespace pcomp;

using Fine = Schedule<GPipe, 5, 8, Placement<0, 1, 2, 3, 0>>;
static_assert(Fine::deadlock_free);
#if !CASE  // within every compiler's default limits
static_assert(Schedule<ZeroBubble, 16, 64>::deadlock_free);
#endif

/// A wrong policy: a stage's backward comes before the one that gives it its gradient.
struct Backwards : GPipe {
  static constexpr std::int64_t tick(Op op, int stage, int micro, schedule::PipelineDims n) {
    return op == Op::Forward ? GPipe::tick(op, stage, micro, n) : 100 + stage + micro;
  }
};

#if CASE == 1  // this schedule needs more micro-batches
static_assert(Schedule<OneFOneB, 3, 0>::stages == 3);
#elif CASE == 2  // a Placement names one rank for every stage
static_assert(Schedule<GPipe, 3, 4, Placement<0, 1>>::stages == 3);
#elif CASE == 3  // a Placement must use every rank from 0 up
static_assert(Schedule<GPipe, 3, 4, Placement<0, 2, 2>>::stages == 3);
#elif CASE == 4  // a Placement must use every rank from 0 up
static_assert(Schedule<GPipe, 2, 4, RoundRobin<3>>::stages == 2 &&
              Schedule<GPipe, 2, 4, Placement<1, 2>>::stages == 2);
#elif CASE == 5  // deadlocks under a blocking rendezvous && rank 2, step 8, SendGrad|<2, 8, pcomp::Op::Se
static_assert(Schedule<Backwards, 3, 4>::stages == 3);
#elif CASE == 6  // this schedule cannot run a Placement that names a rank twice like this
static_assert(Schedule<Interleaved, 4, 4, Placement<0, 1, 1, 0>>::stages == 4);
#elif CASE == 7  // more than 8192 actions or 64 stages is built at run time: make_schedule\(policy
static_assert(Schedule<OneFOneB, 64, 256>::stages == 64);
#elif CASE == 8  // ignoring return value
#pragma GCC diagnostic error "-Wunused-result"
void dropped(const schedule::ScheduleTable& table) { table.freeze(2); }
#endif
