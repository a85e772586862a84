#pragma once
#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "../autograd/tensor.hpp"
#include "../transport/transport.hpp"
#include "batch.hpp"

namespace pcomp::detail {

/// The last stage's result for each micro-batch, its weighted loss or its output, on every rank.
///
/// Law: sent as soon as the last one is there, so that no rank waits for the end of the last stage's row.
/// Bytes: to each rank of another process, 8 per micro-batch plus 8 or, in inference, the outputs as they are; counted
///   for no boundary and in no report.
class Results {
 public:
  explicit Results(int last_stage, bool owner) : stage_(last_stage), owner_(owner) {}

  /// `from` is the rank that holds the last stage if that is in another process, else -1; `to` are the ranks of
  /// other processes.
  void begin(const Batch& batch, Transport& link, int from, const std::vector<int>& to) {
    finish();
    batch_ = &batch;
    link_ = &link;
    to_ = owner_ ? &to : nullptr;
    values_.assign(batch.parts.size(), at::Tensor());
    missing_ = values_.size();
    listening_ = !owner_ && from >= 0;
    if (!listening_ && !(owner_ && !to.empty())) return;
    buffer_.resize(size());
    if (listening_) ticket_ = link.receive(from, {stage_, 0, false}, buffer_);
  }
  /// `order`: of the device that computes `value`, or null.
  void set(int micro, at::Tensor value, StreamOrder* order) {
    values_[static_cast<std::size_t>(micro)] = std::move(value);
    if (--missing_ || !to_ || to_->empty()) return;
    if (order) await(*order);
    pack();
    for (int rank : *to_) sends_.push_back(link_->send(rank, {stage_, 0, false}, buffer_));
  }
  /// Waits for this process's sends to complete, as it may exit afterwards, and for the results of another one.
  void receive() {
    finish();
    if (!listening_) return;
    listening_ = false;
    link_->wait(ticket_);
    unpack();
  }
  std::vector<at::Tensor> take() { return std::move(values_); }
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
  void await(StreamOrder& order) {
    const StreamOrder::Mark made = order.mark();
    const auto end = std::chrono::steady_clock::now() + link_->limit();
    while (!order.passed(made)) {
      if (const std::string reason = link_->aborted(); !reason.empty()) throw Error(reason);
      if (std::chrono::steady_clock::now() > end)
        throw Error("waited " + std::to_string(link_->limit().count()) +
                    " ms for the last stage's GPU, the time limit");
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  }
  std::size_t output_bytes(std::size_t micro) const {
    return static_cast<std::size_t>(batch_->shape(stage_, static_cast<int>(micro)).size()) *
           c10::elementSize(batch_->activations.back().dtype);
  }
  std::size_t size() const {
    if (batch_->loss) return 8 * (values_.size() + 1);
    std::size_t sum = 0;
    for (std::size_t m = 0; m < values_.size(); ++m) sum += output_bytes(m);
    return sum;
  }

  void pack() {
    std::byte* to = buffer_.data();
    if (batch_->loss) {
      const auto type = static_cast<std::int64_t>(values_[0].scalar_type());
      std::memcpy(to, &type, 8);
      for (const at::Tensor& v : values_) {
        const auto number = v.item<double>();
        std::memcpy(to += 8, &number, 8);
      }
      return;
    }
    for (std::size_t m = 0; m < values_.size(); ++m) {
      const Extents expected = batch_->shape(stage_, static_cast<int>(m));
      const at::Tensor v = in_memory(values_[m].detach()).contiguous().cpu();
      if (extents_of(v) != expected || v.scalar_type() != batch_->activations.back().dtype)
        throw Error("the output has shape " + to_string(extents_of(v)) + ", but one sample gave " +
                    to_string(expected) + ", which the other ranks expect");
      std::memcpy(to, v.const_data_ptr(), output_bytes(m));
      to += output_bytes(m);
    }
  }
  void unpack() {
    const std::byte* from = buffer_.data();
    if (batch_->loss) {
      std::int64_t type = 0;
      std::memcpy(&type, from, 8);
      for (at::Tensor& v : values_) {
        double number = 0;
        std::memcpy(&number, from += 8, 8);
        v = at::scalar_tensor(number, static_cast<at::ScalarType>(type));
      }
      return;
    }
    for (std::size_t m = 0; m < values_.size(); ++m) {
      const Extents s = batch_->shape(stage_, static_cast<int>(m));
      values_[m] = at::empty(c10::IntArrayRef(s.begin(), s.end()), batch_->activations.back().dtype);
      std::memcpy(values_[m].mutable_data_ptr(), from, output_bytes(m));
      from += output_bytes(m);
    }
  }

  int stage_;
  bool owner_, listening_ = false;
  const Batch* batch_ = nullptr;
  Transport* link_ = nullptr;
  const std::vector<int>* to_ = nullptr;
  std::vector<at::Tensor> values_;
  std::size_t missing_ = 0;
  std::vector<std::byte> buffer_;
  Transport::Ticket ticket_ = 0;
  std::vector<Transport::Ticket> sends_;
};

}  // namespace pcomp::detail
