#pragma once
#include "../base/compiled.hpp"
#include "../runtime/engine.hpp"
#include "folder.hpp"
#include "optimizer_state.hpp"

namespace pcomp {

/// Saves a run: each stage's parameters, buffers, optimiser state and LibTorch random state, the state of each boundary
/// with feedback or random numbers, and what the program adds.
///
/// Law: after `load_checkpoint`, training continues bit for bit as if uninterrupted, under any placement of the same
///   stages. If stages draw random numbers (dropout): under the same placement, if each rank is a process or there is
///   only one, and on the CPU, as a GPU's generator is not saved. The last checkpoint stays intact until the new one is
///   complete.
/// Processes: all call it with the same manifest and see the same folder; each writes its own stages, and that of
///   stage 0 also `run` and the manifest.
/// Bytes: a file for each stage and for each direction of a boundary with state, and one for `run`.
/// Folder: the engine holds it from its first save to its end, and no other pipeline saves there, of this process or of
///   another run.
/// Errors: `Error` if any process cannot save, or another run holds the folder, whom it names; the last checkpoint is
///   unchanged.
/// Example: apps/train
void save_checkpoint(const checkpoint::CheckpointFolder& folder, checkpoint::Manifest what, Engine& engine,
                     const torch::optim::Optimizer& optimizer, const checkpoint::NamedTensors& run);

}  // namespace pcomp

namespace pcomp::checkpoint {

/// What `save_checkpoint` was given as `run`.
[[nodiscard]] NamedTensors load_run(const CheckpointFolder& folder, const Manifest& m);

}  // namespace pcomp::checkpoint

namespace pcomp {

/// Restores a saved run into an engine and its optimiser.
///
/// Errors: `BadCheckpoint` for a network that does not fit, naming the first tensor that does not; for a boundary with state
///   whose wire is not the saved one; for another optimiser; for damaged files. Part of the network may then have
///   changed.
void load_checkpoint(const checkpoint::CheckpointFolder& folder, const checkpoint::Manifest& m,
                     Engine& engine, torch::optim::Optimizer& optimizer);

}  // namespace pcomp

#if !defined(PCOMP_COMPILED)
#include "impl/checkpoint.ipp"
#endif
