#pragma once
#include <ATen/core/Tensor.h>

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "microbatch.hpp"

namespace pcomp::training {

/// A tensor that every micro-batch gets whole, such as positions or the weights of classes.
struct Whole {
  at::Tensor tensor;
};
[[nodiscard]] inline Whole whole(at::Tensor tensor) { return {std::move(tensor)}; }

/// Tensors that go with a batch: its targets, or the side inputs of stages.
///
/// Law: each micro-batch gets its samples' part of each tensor, or all of it where it is given as `whole`.
/// Shapes: the first dimension is the batch, unless it is `whole`.
/// Example: examples/080-transformer
class BatchTensors {
 public:
  struct Entry {
    at::Tensor tensor;
    bool whole = false;
    Entry(at::Tensor t)
        : tensor(std::move(t)) {}  // implicit, so that {mask, whole(positions)} is a list of them
    Entry(Whole w) : tensor(std::move(w.tensor)), whole(true) {}
    at::Tensor part(const SampleRange& m) const {
      return whole || !tensor.defined() ? tensor : tensor.narrow(0, m.first, m.count);
    }
  };

  BatchTensors() = default;
  /// One, or none where it is undefined.
  BatchTensors(at::Tensor one) {
    if (one.defined()) all_.emplace_back(std::move(one));
  }
  BatchTensors(Whole one) : all_{Entry(std::move(one))} {}
  BatchTensors(std::initializer_list<Entry> all) : all_(all) {}
  BatchTensors(const std::vector<at::Tensor>& all) : all_(all.begin(), all.end()) {}

  auto begin() { return all_.begin(); }
  auto end() { return all_.end(); }
  auto begin() const { return all_.begin(); }
  auto end() const { return all_.end(); }
  std::size_t size() const { return all_.size(); }
  bool empty() const { return all_.empty(); }

 private:
  std::vector<Entry> all_;
};

/// The targets of one micro-batch.
using Targets = std::vector<at::Tensor>;

}  // namespace pcomp::training

namespace pcomp::detail {

/// Some samples of a tensor. All views share one autograd version counter: an in-place change to one micro-batch would
/// count for the others.
inline at::Tensor part_of(const at::Tensor& all, const training::SampleRange& m) {
  const at::Tensor part = all.narrow(0, m.first, m.count);
  return part.requires_grad() ? part : at::Tensor(part.variable_data());
}
/// The same of all tensors, on a device.
inline std::vector<at::Tensor> parts_of(const training::BatchTensors& all, const training::SampleRange& m,
                                        at::Device device) {
  std::vector<at::Tensor> parts;
  for (const auto& [tensor, whole] : all)
    parts.push_back(!tensor.defined() ? tensor : (whole ? tensor : part_of(tensor, m)).to(device));
  return parts;
}

}  // namespace pcomp::detail
