#pragma once
#include <filesystem>
#include <memory>

#include "options.hpp"

namespace cifar {

/// A new folder runs/wire-cut, runs/wire-cut-2, ...: an older run is never overwritten.
std::filesystem::path new_folder(const Settings& settings);

/// The run in runs/ with the newest checkpoint.
///
/// Errors: `pcomp::Error` if there is none.
std::filesystem::path latest_run();

/// Keeps other runs out of a folder while the result lives, at most until the process ends, however it ends. On a file
/// system without locks it keeps none out.
///
/// Errors: `pcomp::Error` if another run holds it.
std::shared_ptr<void> hold(const std::filesystem::path& folder);

}  // namespace cifar
