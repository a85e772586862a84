#pragma once
#include <algorithm>
#include <map>
#include <memory>

#include "../schedule/policies/forward_only.hpp"
#include "../schedule/make_schedule.hpp"
#include "edge_buffers.hpp"

namespace pcomp::detail {

/// Refuses a schedule that an engine with so many stages and wires cannot train by.
inline void expect_runnable(const ScheduleTable& schedule, std::size_t stages, std::size_t wires) {
  if (static_cast<int>(stages) != schedule.stages || wires + 1 != stages)
    throw Error("pcomp: a schedule of " + std::to_string(schedule.stages) +
                " stages needs as many stages and one "
                "wire fewer, not " +
                std::to_string(stages) + " stages and " + std::to_string(wires) + " wires");
  if (!schedule.backward) throw Error("pcomp: training needs a schedule with backward passes");
  constexpr int buffers = static_cast<int>(EdgeBuffers::depth);
  if (!schedule.deadlock_free && !schedule.runs_with(buffers))
    throw Error("pcomp: this schedule needs more than " + std::to_string(buffers) +
                " messages in flight on an edge, and a rank has " + std::to_string(buffers) +
                " buffers for it");
}

/// The schedules that an engine runs: its own, those for batches with too few samples for all micro-batches, and those
/// without backward passes.
class Tables {
 public:
  int smallest = 1;  ///< samples of a micro-batch

  int micros(const ScheduleTable& schedule, std::int64_t samples) const {
    return static_cast<int>(std::clamp<std::int64_t>(samples / smallest, 1, schedule.micros));
  }
  const ScheduleTable& training(const ScheduleTable& schedule, int micros) {
    if (micros == schedule.micros) return schedule;
    const auto known = fewer_.find(micros);
    return known != fewer_.end() ? known->second
                                 : fewer_.emplace(micros, schedule.first(micros)).first->second;
  }
  const ScheduleTable& inference(const ScheduleTable& schedule, int micros) {
    if (!inference_ || inference_->micros != micros)
      inference_ = std::make_unique<ScheduleTable>(
          make_schedule(ForwardOnly{}, schedule.stages, micros, RankMap(schedule.rank_map())));
    return *inference_;
  }
  /// The engine's schedule is another one from now on.
  void forget() { fewer_.clear(); }

 private:
  std::map<int, ScheduleTable> fewer_;
  std::unique_ptr<ScheduleTable> inference_;
};

}  // namespace pcomp::detail
