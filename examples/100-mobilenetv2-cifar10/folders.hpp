#pragma once
#include <filesystem>
#include <memory>

#include "options.hpp"

namespace cifar {

/// A new folder runs/wire-cut, runs/wire-cut-2, ...: an older run is never written over.
std::filesystem::path new_folder(const Settings& settings);

/// The run in runs/ whose checkpoint is the youngest.
///
/// Errors: `pcomp::Error` where there is none.
std::filesystem::path latest_run();

/// Keeps other runs out of a folder while the result lives, at most as long as the process, however that ends. Where the
/// file system has no locks it keeps out nobody.
///
/// Errors: `pcomp::Error` where another run holds it.
std::shared_ptr<void> hold(const std::filesystem::path& folder);

}  // namespace cifar
