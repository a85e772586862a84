#pragma once
#include "../kernel/boundary_ops.hpp"
#include "loss.hpp"
#include "micro_batches.hpp"
#include "probe.hpp"

namespace pcomp::detail {

/// What every rank works on in one step.
struct Batch {
  std::vector<MicroBatch> parts;
  at::Tensor x, y;
  const Loss* loss = nullptr;           ///< null: inference
  std::vector<Activation> activations;  ///< of every stage
  std::vector<std::int64_t> ids{};      ///< of the samples; empty: not given
  int frozen = 0;                       ///< how many first stages only run forward

  /// Whether this stage has a backward pass, and so the boundary after it carries gradients.
  bool trains(int stage) const { return loss && stage >= frozen; }

  /// The output shape of `stage` for micro-batch `micro`.
  Extents shape(int stage, int micro) const {
    return activations[static_cast<std::size_t>(stage)].of(parts[static_cast<std::size_t>(micro)].count);
  }
};

/// The wires take these shapes, or an error names the boundary before anything is sent.
inline void expect_shapes(const Batch& batch, const std::vector<const BoundaryOps*>& wires) {
  for (std::size_t e = 0; e < wires.size(); ++e) try {
      const Extents s = batch.shape(static_cast<int>(e), 0);
      wires[e]->bytes(s), wires[e]->grad_bytes(s);
    } catch (const Error& why) {
      throw Error("pcomp: boundary " + std::to_string(e) + ", behind stage " + std::to_string(e) + ": " +
                  bare(why.what()));
    }
}

inline void expect_dense_batch(const char* what, const at::Tensor& t) {
  if (t.defined() && (t.is_nested() || t.layout() != at::kStrided))
    throw Error(std::string("pcomp: ") + what + " must be dense, to be cut into micro-batches, not " +
                t.toString() + ": pass to_dense() of it");
}
inline void expect_batch(const at::Tensor& x) {
  expect_dense_batch("a batch", x);
  if (!x.defined() || x.dim() < 1 || x.size(0) < 1)
    throw Error("pcomp: a batch needs a first dimension of at least 1 sample, not " +
                (x.defined() ? to_string(extents_of(x)) : std::string("an undefined tensor")));
}
inline void expect_targets(const at::Tensor& y, const at::Tensor& x) {
  expect_dense_batch("the targets", y);
  if (y.defined() && (y.dim() < 1 || y.size(0) != x.size(0)))
    throw Error("pcomp: the batch has " + std::to_string(x.size(0)) + " samples, but the targets are " +
                (y.dim() ? std::to_string(y.size(0)) : "one number"));
}

}  // namespace pcomp::detail
