#pragma once
#include <pcomp/schedule/make_schedule.hpp>
#include <string>

#include "metrics.hpp"
#include "summary.hpp"

/// What a run says on the terminal.
namespace cifar {

/// Before its first epoch; `done`: the epochs that a resumed run has behind it.
void print_beginning(const Summary& run, const pcomp::schedule::ScheduleTable& schedule,
                     std::int64_t parameters, const std::string& folder, int done);

/// After each epoch; `sent`: bytes since the last epoch's line.
void print_epoch(const Settings& settings, const Metrics& epoch, double sent);

/// After its last epoch: accuracy, and the bytes of every boundary.
void print_result(const Summary& run);

}  // namespace cifar
