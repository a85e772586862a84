#pragma once
#include <vector>

#include "choices.hpp"
#include "simulate.hpp"

namespace pcomp::plan {

/// The costs of a candidate's stages and links, as `simulate` takes them; `crowd`: for each stage, the share of its time in
/// which the other ranks compute too (empty: 0).
///
/// Law: a stage costs its blocks, the decoding of what enters it and the encoding of what leaves it, both ways; one that
///   recomputes decodes and runs forward once more (`StageCost::again`).
/// Bytes: of the wire, for the largest micro-batch.
/// Errors: `Error` for what was not measured, and for stages that are not those of `choices`.
[[nodiscard]] Costs costs_of(const Choices& choices, const Candidate& candidate,
                             const std::vector<double>& crowd = {});

/// What a candidate's stages need in memory, as `ScheduleTable::peak_bytes` takes it; all 0 where the blocks' bytes are not
/// known.
///
/// Bytes: a stage keeps what its blocks do and the tensor that enters it, of 4 bytes an element, for each live
///   micro-batch; one that recomputes keeps the payload of that tensor alone. Fixed are weights, gradients and buffers as
///   measured, up to two messages in each direction, and the batch on the first rank. Not counted: the loss, memory of
///   wires with feedback, and what programs and libraries themselves take.
[[nodiscard]] std::vector<schedule::StageBytes> needs_of(const Choices& choices, const Candidate& candidate);

/// Simulates one step of a candidate, then again with the stages as crowded as the first run shows.
[[nodiscard]] Simulation predict(const Choices& choices, const Candidate& candidate);

/// Every candidate that fits, fastest first; ties in the given order of micro-batches, then wire, schedule and cut.
///
/// Law: if there are no more cuts than `shortlist`, the first is the fastest of all combinations. `peak_bytes` are the
///   table's for `needs_of`, at most `memory_limit` where there is one.
/// Errors: `Error` for choices that `check` refuses; where nothing fits, with what the leanest needs.
/// Source: PipeDream (Harlap et al., 2018) and DAPPLE (Fan et al., 2021) for planning from a profile of the layers.
/// Example: docs/planning.md
[[nodiscard]] std::vector<Candidate> rank(const Choices& choices);

/// The recommendation: of those at most `tolerance` slower than the fastest (0.03: 3 %), the one that compresses least,
/// because it loses least.
///
/// Errors: `Error` for no candidates, and for a tolerance below 0.
[[nodiscard]] const Candidate& recommend(const std::vector<Candidate>& ranked, double tolerance);
const Candidate& recommend(std::vector<Candidate>&&, double) = delete;  // it would refer to what is gone

}  // namespace pcomp::plan

#if !defined(PCOMP_COMPILED)
#include "impl/costs_of.ipp"
#include "impl/rank.ipp"
#endif
