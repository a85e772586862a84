#pragma once
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <deque>
#include <map>

#include "../autograd/tensor.hpp"
#include "../kernel/boundary_ops.hpp"
#include "../schedule/action.hpp"
#include "edge_buffers.hpp"
#include "entrance.hpp"
#include "micro_batches.hpp"
#include "probe.hpp"
#include "report.hpp"
#include "split_backward.hpp"
#include "stage_module.hpp"
#include "stopwatch.hpp"

namespace pcomp {

/// The loss of one micro-batch: a mean over its samples, of (output of the last stage, target).
using Loss = std::function<at::Tensor(const at::Tensor&, const at::Tensor&)>;

namespace detail {

/// What every rank works on in one step.
struct Batch {
  std::vector<MicroBatch> parts;
  at::Tensor x, y;
  const Loss* loss = nullptr;  ///< none: inference
  std::vector<Activation> activations;
};

/// Runs one rank's row of a schedule over its stages and the wires between them.
///
/// Law: the same payloads, in the same order, as a sequential loop over `boundary` with these micro-batches;
///   gradients accumulate over ascending micro-batches. An edge within the rank has no message, but passes
///   its wire all the same, so results do not depend on the placement.
/// Errors: one `Error` that names rank, stage, micro-batch and operation; every other rank ends with it.
class Executor {
 public:
  Executor(int rank, std::vector<int> rank_of, std::vector<const BoundaryOps*> wires)
      : rank_(rank), rank_of_(std::move(rank_of)), wires_(std::move(wires)) {
    forward_.resize(wires_.size());
    gradient_.resize(wires_.size());
    inference_.resize(wires_.size());
  }

  void build(int stage, const StageSpec& spec) { stages_[stage].module = spec.build(); }
  const StageModule& stage(int s) const { return stages_.at(s).module; }
  int rank() const { return rank_; }
  const RankReport& times() const { return times_; }
  const Traffic& forward(int edge) const { return forward_[at(edge)]; }
  const Traffic& gradient(int edge) const { return gradient_[at(edge)]; }
  const Traffic& inference(int edge) const { return inference_[at(edge)]; }
  Stopwatch& stopwatch() { return timed_; }

  /// `results[m]` becomes the weighted loss or, in inference, the output of micro-batch m.
  void run(std::span<const Action> row, const Batch& batch, Transport& link,
           std::vector<at::Tensor>& results) {
    batch_ = &batch;
    link_ = &link;
    results_ = &results;
    now_ = {};
    try {
      begin(row);
      for (const Action& a : row) {
        now_ = a;
        if (const std::string reason = link.aborted(); !reason.empty()) throw Error(reason);
        act(a);
      }
      for (auto& entry : stages_)
        timed_(times_.wait, now_, [&] { entry.second.sent.flush(), entry.second.sent_grad.flush(); });
    } catch (const c10::Error& e) {
      fail(now_, e.what_without_backtrace());
    } catch (const std::exception& e) {
      fail(now_, e.what());
    } catch (...) {
      fail(now_, "an exception that is no std::exception");
    }
    clear();
  }

 private:
  /// What lives between the forward and the backward pass of one micro-batch.
  struct Live {
    at::Tensor input, output;                         ///< graph ends of the stage
    at::Tensor input_grad, output_grad;               ///< set by the backward pass, and by the next stage
    std::shared_ptr<torch::autograd::Node> entrance;  ///< of the input, where the backward pass is split
    SplitBackward split;
    std::vector<std::byte> index_in, index_out;
  };
  /// Which sends of an edge may be posted before their place in the row: those whose buffer was used by a send
  /// whose place is past. To wait for a later one could be to wait for oneself.
  struct Early {
    std::size_t posted = 0, passed = 0;
    std::deque<int> deferred;
    bool may() const { return deferred.empty() && posted < passed + EdgeBuffers::depth; }
  };
  struct Held {
    StageModule module;
    std::vector<Live> live;
    Inbox received, received_grad;
    Outbox sent, sent_grad;
    Early early, early_grad;
  };

  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  bool last(int stage) const { return at(stage) + 1 == rank_of_.size(); }
  bool local(int edge) const { return rank_of_[at(edge)] == rank_of_[at(edge) + 1]; }
  const BoundaryOps& wire(int edge) const { return *wires_[at(edge)]; }
  Live& live(int stage, int micro) { return stages_.at(stage).live[at(micro)]; }
  Extents shape(int stage, int micro) const {
    return batch_->activations[at(stage)].of(batch_->parts[at(micro)].count);
  }

  /// Posts the first receives of every edge, before any compute.
  void begin(std::span<const Action> row) {
    split_ = false;
    for (const Action& a : row) split_ = split_ || a.op == Op::BackwardWeights;
    for (auto& [stage, s] : stages_) {
      s.early = s.early_grad = {};
      s.live.resize(std::max(s.live.size(), batch_->parts.size()));
      if (stage > 0) {
        s.received.begin(*link_, rank_of_[at(stage) - 1], stage - 1, false);
        s.sent_grad.begin(*link_, rank_of_[at(stage) - 1], stage - 1, true);
      }
      if (!last(stage)) {
        s.sent.begin(*link_, rank_of_[at(stage) + 1], stage, false);
        s.received_grad.begin(*link_, rank_of_[at(stage) + 1], stage, true);
      }
    }
    for (const Action& a : row)
      if (a.op == Op::Recv)
        stages_.at(a.stage).received.expect(a.micro, wire(a.stage - 1).bytes(shape(a.stage - 1, a.micro)));
      else if (a.op == Op::RecvGrad)
        stages_.at(a.stage).received_grad.expect(a.micro, wire(a.stage).grad_bytes(shape(a.stage, a.micro)));
  }

  /// A send is posted as soon as its computation is over and a buffer is free, at or before its place in the
  /// row: that place is where a rendezvous would have it, and no later one can hang.
  void act(const Action& a) {
    switch (a.op) {
      case Op::Recv:
        return receive(a.stage, a.micro);
      case Op::Forward:
        return forward_pass(a.stage, a.micro);
      case Op::Send:
        return pass(stages_.at(a.stage).early, [&](int m) { send(a.stage, m); });
      case Op::RecvGrad:
        return receive_grad(a.stage, a.micro);
      case Op::Backward:
        return backward_pass(a.stage, a.micro);
      case Op::SendGrad:
        return pass(stages_.at(a.stage).early_grad, [&](int m) { send_grad(a.stage, m); });
      case Op::BackwardWeights:
        return timed_(times_.compute, now_, [&] { live(a.stage, a.micro).split.weights(); });
    }
  }

  /// A payload is ready: sends it, now or at its place.
  template <class Send>
  void offer(Early& early, int micro, Send send) {
    if (!early.may()) return early.deferred.push_back(micro);
    ++early.posted;
    send(micro);
  }
  /// The place of a send in the row.
  template <class Send>
  void pass(Early& early, Send send) {
    ++early.passed;
    if (early.deferred.empty()) return;
    const int micro = early.deferred.front();
    early.deferred.pop_front();
    ++early.posted;
    send(micro);
  }

  void receive(int stage, int micro) {
    Held& s = stages_.at(stage);
    std::span<const std::byte> payload;
    timed_(times_.wait, now_, [&] { payload = s.received.take(); });
    timed_(times_.codec, now_, [&] { arrive(stage, micro, payload); });
    s.received.release();
  }

  void send(int stage, int micro) {
    now_.op = Op::Send;
    Held& s = stages_.at(stage);
    std::span<std::byte> payload;
    timed_(times_.wait, now_, [&] { payload = s.sent.buffer(wire(stage).bytes(shape(stage, micro))); });
    timed_(times_.codec, now_, [&] { depart(stage, micro, payload); });
    s.sent.send(micro);
  }

  void receive_grad(int stage, int micro) {
    Held& s = stages_.at(stage);
    std::span<const std::byte> payload;
    timed_(times_.wait, now_, [&] { payload = s.received_grad.take(); });
    timed_(times_.codec, now_, [&] { arrive_grad(stage, micro, payload); });
    s.received_grad.release();
  }

  void send_grad(int stage, int micro) {
    now_.op = Op::SendGrad;
    Held& s = stages_.at(stage);
    std::span<std::byte> payload;
    timed_(times_.wait, now_,
           [&] { payload = s.sent_grad.buffer(wire(stage - 1).grad_bytes(shape(stage - 1, micro))); });
    timed_(times_.codec, now_, [&] { depart_grad(stage, micro, payload); });
    s.sent_grad.send(micro);
  }

  void forward_pass(int stage, int micro) {
    Live& v = live(stage, micro);
    const MicroBatch& part = batch_->parts[at(micro)];
    timed_(times_.compute, now_, [&] {
      if (stage == 0) v.input = batch_->x.narrow(0, part.first, part.count);
      v.output = stages_.at(stage).module.forward(v.input);
      if (last(stage)) finish(v, part, micro);
    });
    if (!batch_->loss) v.input = at::Tensor();
    if (last(stage)) return;
    if (extents_of(v.output) != shape(stage, micro))
      throw Error("the output has shape " + to_string(extents_of(v.output)) +
                  ", but one sample gave a shape that makes it " + to_string(shape(stage, micro)));
    if (local(stage))
      timed_(times_.codec, now_, [&] { hand_over(stage, micro); });
    else
      offer(stages_.at(stage).early, micro, [&](int m) { send(stage, m); });
  }

  void finish(Live& v, const MicroBatch& part, int micro) {
    if (batch_->loss) {
      const at::Tensor target =
          batch_->y.defined() ? batch_->y.narrow(0, part.first, part.count) : at::Tensor();
      const at::Tensor loss = (*batch_->loss)(v.output, target);
      if (!loss.defined() || loss.numel() != 1)
        throw Error(
            "the loss must be one number, not " +
            (loss.defined() ? "a tensor of shape " + to_string(extents_of(loss)) : "an undefined tensor"));
      v.output = loss.reshape({}) * part.weight;
      (*results_)[at(micro)] = v.output.detach();
    } else {
      (*results_)[at(micro)] = v.output;
      v.output = at::Tensor();
    }
  }

  void backward_pass(int stage, int micro) {
    Live& v = live(stage, micro);
    timed_(times_.compute, now_, [&] {
      if (v.output.requires_grad() && split_)
        v.input_grad = v.split.inputs(v.output, v.output_grad, v.entrance.get());
      else if (v.output.requires_grad())
        v.output.backward(v.output_grad);
      v.output = v.output_grad = v.input = at::Tensor();
      v.entrance.reset();
    });
    if (stage == 0) return;
    if (local(stage - 1))
      timed_(times_.codec, now_, [&] { hand_back(stage, micro); });
    else
      offer(stages_.at(stage).early_grad, micro, [&](int m) { send_grad(stage, m); });
  }

  /// Output of `stage` -> payload. The sender keeps the index block alone.
  void depart(int stage, int micro, std::span<std::byte> payload) {
    Live& v = live(stage, micro);
    const BoundaryOps& w = wire(stage);
    const at::Tensor x = v.output.detach().contiguous();
    expect_dense_cpu(x);
    const Extents s = shape(stage, micro);
    w.encode(in(x), s, payload, torch_threads);
    count(batch_->loss ? forward_ : inference_, stage, payload.size());
    if (batch_->loss)
      v.index_out.assign(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(w.index_bytes(s)));
    else
      v.output = at::Tensor();
  }

  /// Payload -> input of `stage`.
  void arrive(int stage, int micro, std::span<const std::byte> payload) {
    Live& v = live(stage, micro);
    const BoundaryOps& w = wire(stage - 1);
    const Extents s = shape(stage - 1, micro);
    at::Tensor x = at::empty(c10::IntArrayRef(s.begin(), s.end()), batch_->activations[at(stage) - 1].dtype);
    w.decode(payload, s, out(x), torch_threads);
    if (!batch_->loss) {
      v.input = x;
      return;
    }
    v.index_in.assign(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(w.index_bytes(s)));
    if (!anchor_.defined()) anchor_ = at::zeros({}).requires_grad_();
    v.input = Entrance::apply(anchor_, &x, &v.input_grad);
    v.entrance = v.input.grad_fn();
  }

  /// Gradient of the input of `stage` -> gradient payload.
  void depart_grad(int stage, int micro, std::span<std::byte> payload) {
    Live& v = live(stage, micro);
    const BoundaryOps& w = wire(stage - 1);
    const Extents s = shape(stage - 1, micro);
    const at::Tensor dy = v.input_grad.defined() ? v.input_grad.contiguous()
                                                 : at::zeros(c10::IntArrayRef(s.begin(), s.end()),
                                                             batch_->activations[at(stage) - 1].dtype);
    v.input_grad = at::Tensor();
    w.encode_grad(in(dy), s, v.index_in, payload, torch_threads);
    count(gradient_, stage - 1, payload.size());
  }

  /// Gradient payload -> gradient of the output of `stage`.
  void arrive_grad(int stage, int micro, std::span<const std::byte> payload) {
    Live& v = live(stage, micro);
    const Extents s = shape(stage, micro);
    v.output_grad = at::empty(c10::IntArrayRef(s.begin(), s.end()), v.output.scalar_type());
    wire(stage).decode_grad(payload, s, v.index_out, out(v.output_grad), torch_threads);
  }

  /// The two ends of an edge within this rank.
  void hand_over(int stage, int micro) {
    local_.resize(std::max(local_.size(), wire(stage).bytes(shape(stage, micro))));
    const auto payload = std::span(local_).first(wire(stage).bytes(shape(stage, micro)));
    depart(stage, micro, payload);
    arrive(stage + 1, micro, payload);
  }
  void hand_back(int stage, int micro) {
    local_.resize(std::max(local_.size(), wire(stage - 1).grad_bytes(shape(stage - 1, micro))));
    const auto payload = std::span(local_).first(wire(stage - 1).grad_bytes(shape(stage - 1, micro)));
    depart_grad(stage, micro, payload);
    arrive_grad(stage - 1, micro, payload);
  }

  static void count(std::vector<Traffic>& traffic, int edge, std::size_t bytes) {
    traffic[at(edge)] += {1, static_cast<std::int64_t>(bytes), 0, 0};
  }

  [[noreturn]] void fail(const Action a, std::string why) {
    clear();
    if (const std::string reason = link_->aborted(); !reason.empty()) throw Error(reason);
    if (why.starts_with("pcomp: ")) why.erase(0, 7);
    const std::string reason = "pcomp: rank " + std::to_string(rank_) + ", stage " + std::to_string(a.stage) +
                               ", micro-batch " + std::to_string(a.micro) + ", " + to_string(a.op) + ": " +
                               why;
    link_->abort(reason);
    throw Error(link_->aborted());
  }

  void clear() {
    for (auto& [stage, s] : stages_)
      for (Live& v : s.live) {
        v.input = v.output = v.input_grad = v.output_grad = at::Tensor();
        v.entrance.reset();
        v.split = {};
      }
  }

  int rank_;
  std::vector<int> rank_of_;
  std::vector<const BoundaryOps*> wires_;
  std::map<int, Held> stages_;
  const Batch* batch_ = nullptr;
  Transport* link_ = nullptr;
  Action now_;
  bool split_ = false;  ///< the row has BackwardWeights
  Stopwatch timed_;
  std::vector<at::Tensor>* results_ = nullptr;
  at::Tensor anchor_;
  std::vector<std::byte> local_;
  RankReport times_;
  std::vector<Traffic> forward_, gradient_, inference_;
};

}  // namespace detail
}  // namespace pcomp
