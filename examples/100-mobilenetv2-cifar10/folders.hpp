#pragma once
#include <filesystem>

#include "options.hpp"

namespace cifar {

/// A new folder runs/wire-cut, runs/wire-cut-2, ...: an older run is never written over.
std::filesystem::path new_folder(const Settings& settings);

/// The run in runs/ whose checkpoint is the youngest.
///
/// Errors: `pcomp::Error` where there is none.
std::filesystem::path latest_run();

}  // namespace cifar
