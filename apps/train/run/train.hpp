#pragma once
#include <csignal>

#include "options.hpp"

namespace cifar {

/// Set by a signal; the run ends after the step in which it is seen.
extern volatile std::sig_atomic_t interrupted;

/// Trains as the settings say and returns the program's exit code.
///
/// Errors: `pcomp::Error` for data, folders and checkpoints that are not what they should be.
int train(Settings settings);

}  // namespace cifar
