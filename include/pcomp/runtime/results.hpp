#pragma once
#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "../autograd/tensor.hpp"
#include "../nn/loss.hpp"
#include "../stage/graph_check.hpp"
#include "../transport/transport.hpp"
#include "batch.hpp"
#include "report.hpp"

namespace pcomp::detail {

/// What a loss or a metric made of a micro-batch.
inline at::Tensor one_number(const at::Tensor& made, const char* what) {
  if (!made.defined() || made.numel() != 1)
    throw Error(
        std::string(what) + " must be one number, not " +
        (made.defined() ? "a tensor of shape " + to_string(extents_of(made)) : "an undefined tensor"));
  return made.reshape({});
}

/// Zeros in the place of the last stage's output.
inline at::Tensor zero_output(const Batch& batch, int micro) {
  const int last = static_cast<int>(batch.activations.size()) - 1;
  const Extents shape = batch.shape(last, micro);
  at::Device device = at::kCPU;
  for (const auto& [target, whole] : batch.y) device = target.defined() ? target.device() : device;
  return at::zeros({shape.begin(), static_cast<std::size_t>(shape.rank())},
                   at::TensorOptions(device).dtype(batch.output().dtype));
}

/// A micro-batch's loss, weighted by its share of the batch's.
inline at::Tensor loss_of(const training::Loss& loss, const at::Tensor& output,
                          const training::Targets& targets, const LossShare& part) {
  const at::Tensor mean = loss.mean(output, targets, part.weight);
  return one_number(part.weight > 0 ? mean : output.narrow(0, 0, 0).sum(), "the loss") * part.share;
}

/// The same in training.
///
/// Errors: `Error` for a loss through which nothing would be trained; `check` looks at its whole graph.
inline at::Tensor trained_loss(const training::Loss& loss, const at::Tensor& output,
                               const training::Targets& targets, const LossShare& part, bool check) {
  const torch::autograd::Edge from =
      output.requires_grad() ? torch::autograd::impl::gradient_edge(output) : torch::autograd::Edge();
  const at::Tensor weighted = loss_of(loss, output, targets, part);
  if (from.function && (!weighted.requires_grad() || (check && !reach_of({weighted}, {from.function}).input)))
    throw Error(
        "the loss does not depend on the output of the last stage, so nothing would be trained: look for "
        "a detach(), an item() or a NoGradGuard in the loss");
  return weighted;
}

/// What follows the last stage on its rank: the loss and the metrics.
class LastStage {
 public:
  void begin(const Batch& batch) {
    batch_ = &batch;
    shares_ = loss_shares(batch.loss ? *batch.loss : *batch.judge, batch.y, batch.parts,
                          [&](int m) { return zero_output(batch, m); });
  }
  /// The graph of a training step ends in the weighted loss.
  void add_loss(runtime::Tensors& outputs, int micro, at::Device device) const {
    if (outputs.size() != 1) throw Error("the last stage returns one tensor, for the loss");
    outputs[0] = trained_loss(*batch_->loss, outputs[0], targets(micro, device), share(micro),
                              batch_->graphs->check.has_value());
  }
  /// The weighted loss and the metrics of an evaluation.
  std::vector<at::Tensor> judge(const at::Tensor& output, int micro, at::Device device) const {
    const training::Targets y = targets(micro, device);
    std::vector<at::Tensor> numbers{loss_of(*batch_->judge, output, y, share(micro))};
    for (const training::Metric& metric : *batch_->metrics)
      numbers.push_back(one_number(metric(output, y), "a metric"));
    return numbers;
  }

 private:
  const LossShare& share(int micro) const { return shares_[static_cast<std::size_t>(micro)]; }
  training::Targets targets(int micro, at::Device device) const {
    return parts_of(batch_->y, batch_->parts[static_cast<std::size_t>(micro)], device);
  }
  const Batch* batch_ = nullptr;
  std::vector<LossShare> shares_;  ///< by micro-batch
};

/// What the last stage makes of each micro-batch, on the ranks that are to have it: numbers (its weighted loss and,
/// in an evaluation, metrics) or its output.
///
/// Law: sent as soon as the last one is there, so that no rank waits for the end of the last stage's row. Every rank of
///   another process gets a message, an empty one if it is to have no outputs: a call ends on no rank before the last
///   stage has made the same one.
/// Bytes: to each rank of another process: 8 per number and micro-batch, and 8 per number for its type; the outputs as
///   they are, or nothing. Counted by `sent`.
class Results {
 public:
  explicit Results(int last_stage, bool owner) : stage_(last_stage), owner_(owner) {}

  /// `from` is the rank that holds the last stage if that is in another process, else -1; `to` are the ranks of
  /// other processes; `rank` is this one.
  void begin(const Batch& batch, transport::Transport& link, int from, const std::vector<int>& to,
             int rank = 0) {
    finish();
    batch_ = &batch;
    link_ = &link;
    to_ = owner_ ? &to : nullptr;
    values_.assign(batch.parts.size(), {});
    missing_ = values_.size();
    sent_ = {};
    listening_ = !owner_ && from >= 0;
    if (!listening_ && !(owner_ && !to.empty())) return;
    whole_ = owner_ || batch.numbers() > 0 || batch.outputs_for(rank);
    buffer_.resize(whole_ ? size() : 0);
    if (listening_) ticket_ = link.receive(from, {stage_, 0, false}, buffer_);
  }
  /// `order`: of the device that computes the values, or null.
  void set(int micro, std::vector<at::Tensor> values, transport::StreamFence* order) {
    values_[static_cast<std::size_t>(micro)] = std::move(values);
    if (--missing_ || !to_ || to_->empty()) return;
    if (order) await(*order);
    pack();
    const std::span<const std::byte> all(buffer_);
    for (int rank : *to_) {
      const bool whole = batch_->numbers() > 0 || batch_->outputs_for(rank);
      sends_.push_back(link_->send(rank, {stage_, 0, false}, whole ? all : all.first(0)));
      if (whole) sent_ += {1, static_cast<std::int64_t>(all.size()), predicted(), raw()};
    }
  }
  void set(int micro, at::Tensor value, transport::StreamFence* order) {
    set(micro, std::vector<at::Tensor>{std::move(value)}, order);
  }
  /// Waits for this process's sends to complete, as it may exit afterwards, and for the results of another one.
  void receive() {
    finish();
    if (!listening_) return;
    listening_ = false;
    link_->wait(ticket_);
    if (whole_) unpack();
  }
  /// By micro-batch; nothing where this rank was to have no outputs.
  std::vector<std::vector<at::Tensor>> take() { return std::move(values_); }
  /// What this rank sent in this call.
  const runtime::Traffic& sent() const { return sent_; }
  /// After a failed step: drops what was posted without waiting for it.
  void forget() {
    sends_.clear();
    listening_ = false;
  }

 private:
  void finish() {
    for (; !sends_.empty(); sends_.pop_back()) link_->wait(sends_.back());
  }
  /// A device may wait for a peer, so the host's wait has a time limit.
  void await(transport::StreamFence& order) {
    const transport::StreamFence::Mark made = order.mark();
    const auto end = std::chrono::steady_clock::now() + link_->limit();
    while (!order.passed(made)) {
      link_->aborted().raise_if_any();
      if (std::chrono::steady_clock::now() > end)
        throw Timeout("waited " + std::to_string(link_->limit().count()) +
                      " ms for the last stage's GPU, the time limit");
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  }
  std::int64_t elements() const {
    std::int64_t sum = 0;
    for (std::size_t m = 0; m < values_.size(); ++m) sum += batch_->shape(stage_, static_cast<int>(m)).size();
    return sum;
  }
  std::int64_t predicted() const {
    const auto n = static_cast<std::int64_t>(batch_->numbers());
    return n ? 8 * n * (static_cast<std::int64_t>(values_.size()) + 1)
             : elements() * static_cast<std::int64_t>(c10::elementSize(batch_->output().dtype));
  }
  std::int64_t raw() const {
    const auto n = static_cast<std::int64_t>(batch_->numbers() * values_.size());
    return 4 * (n ? n : elements());
  }
  std::size_t output_bytes(std::size_t micro) const {
    return static_cast<std::size_t>(batch_->shape(stage_, static_cast<int>(micro)).size()) *
           c10::elementSize(batch_->output().dtype);
  }
  std::size_t size() const {
    if (const std::size_t n = batch_->numbers()) return 8 * n * (values_.size() + 1);
    std::size_t sum = 0;
    for (std::size_t m = 0; m < values_.size(); ++m) sum += output_bytes(m);
    return sum;
  }

  void pack() {
    std::byte* to = buffer_.data();
    if (batch_->numbers()) {
      for (const at::Tensor& v : values_[0]) {
        const auto type = static_cast<std::int64_t>(v.scalar_type());
        std::memcpy(to, &type, 8), to += 8;
      }
      for (const auto& values : values_)
        for (const at::Tensor& v : values) {
          const auto number = v.item<double>();
          std::memcpy(to, &number, 8), to += 8;
        }
      return;
    }
    for (std::size_t m = 0; m < values_.size(); ++m) {
      const Extents expected = batch_->shape(stage_, static_cast<int>(m));
      const at::Tensor v = in_memory(values_[m][0].detach()).contiguous().cpu();
      if (extents_of(v) != expected || v.scalar_type() != batch_->output().dtype)
        throw Error("the output has shape " + to_string(extents_of(v)) + ", but one sample gave " +
                    to_string(expected) + ", which the other ranks expect");
      std::memcpy(to, v.const_data_ptr(), output_bytes(m));
      to += output_bytes(m);
    }
  }
  void unpack() {
    const std::byte* from = buffer_.data();
    if (const std::size_t n = batch_->numbers()) {
      const std::byte* types = from;
      from += 8 * n;
      for (auto& values : values_)
        for (std::size_t i = 0; i < n; ++i) {
          std::int64_t type = 0;
          double number = 0;
          std::memcpy(&type, types + 8 * i, 8);
          std::memcpy(&number, from, 8), from += 8;
          values.push_back(at::scalar_tensor(number, static_cast<at::ScalarType>(type)));
        }
      return;
    }
    for (std::size_t m = 0; m < values_.size(); ++m) {
      const Extents s = batch_->shape(stage_, static_cast<int>(m));
      const at::Tensor v = at::empty(c10::IntArrayRef(s.begin(), s.end()), batch_->output().dtype);
      std::memcpy(v.mutable_data_ptr(), from, output_bytes(m));
      values_[m] = {v};
      from += output_bytes(m);
    }
  }

  int stage_;
  bool owner_, listening_ = false, whole_ = true;
  const Batch* batch_ = nullptr;
  transport::Transport* link_ = nullptr;
  const std::vector<int>* to_ = nullptr;
  std::vector<std::vector<at::Tensor>> values_;
  std::size_t missing_ = 0;
  runtime::Traffic sent_;
  std::vector<std::byte> buffer_;
  transport::Transport::Ticket ticket_ = 0;
  std::vector<transport::Transport::Ticket> sends_;
};

}  // namespace pcomp::detail
