#pragma once
#include <map>

#include "../schedule/action.hpp"
#include "../schedule/send_queue.hpp"
#include "../stage/step_memory.hpp"
#include "device_streams.hpp"
#include "payload_buffers.hpp"
#include "report.hpp"
#include "results.hpp"
#include "sample_ids.hpp"
#include "stage_runs.hpp"

namespace pcomp::detail {

/// Runs one rank's row of a schedule over its stages and the wires between them.
///
/// Law: the same payloads, in the same order, as a sequential loop over `boundary` with these micro-batches;
///   gradients accumulate in ascending micro-batch order. A boundary within the rank has no message but still passes
///   its wire, so results do not depend on the placement.
/// Errors: one `Error` or of its types that names rank, stage, micro-batch and operation; every rank ends with it.
class Executor {
 public:
  Executor(int rank, std::vector<int> rank_of, const kernel::Wires& wires)
      : rank_(rank),
        rank_of_(std::move(rank_of)),
        ends_(wires),
        results_(static_cast<int>(rank_of_.size()) - 1, rank_of_.back() == rank) {}

  /// Called in stage order.
  void build(int stage, const runtime::StageSpec& spec) {
    StageState& s = stages_[stage];
    s.flow.backward.after = &s.flow.forward;
    s.module = spec.build();
    s.module.recompute = s.module.recompute || spec.recompute;
    s.order = streams_.add(s.module.device);
    ends_.place(stage, s.module.device);
    const auto here = stages_.find(stage);
    if (here == stages_.begin()) return;
    StageState& previous = std::prev(here)->second;
    s.flow.forward.after = &previous.flow.forward;
    previous.flow.backward.after = &s.flow.backward;
  }
  const runtime::StageModule& stage(int s) const { return stages_.at(s).module; }
  void recompute(int s, bool on) {
    if (std::exchange(stages_.at(s).module.recompute, on) != on) memory_.forget();
  }
  int rank() const { return rank_; }
  RankStreams& streams() { return streams_; }
  const BoundaryEnds& ends() const { return ends_; }
  BoundaryEnds& ends() { return ends_; }
  Stopwatch& stopwatch() { return timed_; }
  const Stopwatch& stopwatch() const { return timed_; }
  const StepMemory& memory() const { return memory_; }
  /// Of every micro-batch its numbers (in a step, its weighted loss) or, in inference, its output.
  std::vector<std::vector<at::Tensor>> results() { return results_.take(); }
  /// The gradient of x, in parts, where stage 0 is here and x came with a graph; undefined where there is none.
  std::vector<at::Tensor> input_grads() { return std::exchange(input_grads_, {}); }

  /// `elsewhere`: the ranks of other processes, which get the results too. `locks`: as for StageRuns.
  void run(std::span<const Action> row, const Batch& batch, transport::Transport& link,
           const std::vector<int>& elsewhere, bool locks) {
    batch_ = &batch;
    link_ = &link;
    now_ = {};
    timed_.begin(batch.loss != nullptr);
    if (!row.empty()) now_ = row.front();
    try {
      ends_.begin(batch);
      begin(row, elsewhere, locks);
      if (batch.numbers() && rank_of_.back() == rank_) loss_.begin(batch);
      const std::vector<char> last = last_actions(row, rank_of_.size(), batch.parts.size());
      for (std::size_t i = 0; i < row.size(); ++i) {
        now_ = row[i];
        link.aborted().raise_if_any();
        act(row[i]);
        if (last[i]) stages_.at(row[i].stage).live.done(row[i].micro);
      }
      runs_.end();
      measured();
      timed_(&runtime::RankReport::send, now_, [&] {
        for (auto& entry : stages_)
          for (const Direction d : both_directions) entry.second.flow[d].sent.flush();
      });
      timed_(&runtime::RankReport::wait, now_,
             [&] { link.settle(), results_.receive(), identity_.finish(); });
      timed_.end();
      timed_.count(batch.numbers() ? &runtime::RankReport::losses : &runtime::RankReport::outputs,
                   results_.sent());
      timed_.count(&runtime::RankReport::agreement, identity_.sent());
    } catch (const c10::Error& e) {
      fail(now_, e.what_without_backtrace());
    } catch (const std::exception& e) {
      fail(now_, transport::Failure::of(e));
    } catch (...) {
      fail(now_, "an exception that is no std::exception");
    }
    clear();
  }

 private:
  /// What passes a stage in one direction.
  struct Flow {
    Inbox received;
    Outbox sent;
    EarlySends early;
    std::vector<char> gone;  ///< per micro-batch: whether its payload was posted
    const Flow* after =
        nullptr;  ///< what this rank sends of a micro-batch before it needs the payload received here
  };
  struct StageState {
    runtime::StageModule module;
    transport::StreamFence* order = nullptr;
    LiveMicrobatches live;
    EachDirection<Flow> flow;
  };

  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  bool last(int stage) const { return at(stage) + 1 == rank_of_.size(); }
  bool local(int boundary) const { return rank_of_[at(boundary)] == rank_of_[at(boundary) + 1]; }
  bool boundary(int b) const { return b >= 0 && at(b) + 1 < rank_of_.size(); }
  static Direction direction(Op op) {
    return op == Op::Recv || op == Op::Forward || op == Op::Send ? Direction::forward : Direction::backward;
  }
  static Op pass_of(Direction d) { return d == Direction::forward ? Op::Forward : Op::Backward; }
  MicrobatchState& live(int stage, int micro) { return stages_.at(stage).live.of(micro); }
  Flow& flow(Direction d, int stage) { return stages_.at(stage).flow[d]; }
  /// A stage's end of a boundary.
  BoundaryEnd end(const StageState& s, Direction d, int stage, int boundary) const {
    return {link_,           rank_of_[at(boundary == stage ? stage + 1 : stage - 1)],
            boundary,        d == Direction::backward,
            s.module.device, link_->moves_device_memory() ? s.order : nullptr};
  }
  /// Posts every receive whose bytes do not depend on anything this rank has yet to send. Posted earlier, one could
  /// wait on a GPU for work not yet enqueued on that GPU, and some calls wait for everything that runs there.
  void listen() {
    for (auto& entry : stages_)
      for (const Direction d : both_directions) {
        Flow& f = entry.second.flow[d];
        f.received.listen([&](int m) { return !f.after || f.after->gone[at(m)]; });
      }
  }

  void begin(std::span<const Action> row, const std::vector<int>& elsewhere, bool locks) {
    split_ = std::any_of(row.begin(), row.end(), [](const Action& a) { return a.op == Op::BackwardWeights; });
    runs_.begin(*batch_, split_, locks);
    if (batch_->loss && (batch_->graphs->check || memory_.larger(samples()))) measure();
    for (auto& [stage, s] : stages_) {
      s.live.begin(batch_->parts.size());
      for (const Direction d : both_directions) {
        Flow& f = s.flow[d];
        f.gone.assign(batch_->parts.size(), 0);
        f.early = EarlySends(BoundaryBuffers::depth);
        if (const int from = receives_at(d, stage); boundary(from)) f.received.begin(end(s, d, stage, from));
        if (const int to = sends_at(d, stage); boundary(to)) f.sent.begin(end(s, d, stage, to));
      }
    }
    for (const Action& a : row)
      if (const Direction d = direction(a.op); a.op == Op::Recv || a.op == Op::RecvGrad)
        flow(d, a.stage).received.expect(a.micro, ends_.bytes(d, receives_at(d, a.stage), a.micro));
      else if (a.op == Op::Send || a.op == Op::SendGrad)
        flow(d, a.stage).early.expect(a.micro);
    listen();
    const int first = rank_of_.front(), owner = rank_of_.back();
    const auto away = [&](int r) {
      return std::find(elsewhere.begin(), elsewhere.end(), r) != elsewhere.end();
    };
    identity_.begin(batch_->y, batch_->given_ids, *link_, static_cast<int>(rank_of_.size()), rank_, first,
                    owner, batch_->numbers() && (away(first) || away(owner)));
    results_.begin(*batch_, *link_, away(owner) ? owner : -1, elsewhere, rank_);
    input_grads_.assign(batch_->wants_grad ? batch_->parts.size() : 0, at::Tensor());
  }

  std::int64_t samples() const { return batch_->parts.back().first + batch_->parts.back().count; }
  void measure() {
    std::vector<StepMemory::Owner> owners;
    for (const auto& [stage, s] : stages_)
      owners.push_back({stage, s.module.module.get(), batch_->trains(stage)});
    const auto& parts = batch_->parts;
    const int probe = parts.size() > 1 && parts[1].count == parts[0].count ? 1 : 0;
    memory_.begin(owners, {samples(), probe, parts.size() == 1}, [this] {
      std::int64_t sum = ends_.state();
      for (const auto& entry : stages_) sum += messages(entry.second) + entry.second.live.capacity();
      return sum;
    });
  }
  void measured() {
    std::int64_t wires = ends_.state();
    memory_.end([&](int s) {
      const StageState& stage = stages_.at(s);
      return StepMemory::Kept{messages(stage) + std::exchange(wires, 0), stage.live.largest()};
    });
  }
  static std::int64_t messages(const StageState& s) {
    std::int64_t sum = 0;
    for (const Direction d : both_directions)
      sum += s.flow[d].received.capacity() + s.flow[d].sent.capacity();
    return sum;
  }

  /// A send is posted once its payload can be made, those before it in the row are posted and a buffer is free: at or
  /// before its place in the row. A rendezvous would send it at that place, so posting it no later cannot hang.
  void act(const Action& a) {
    const Direction d = direction(a.op);
    switch (a.op) {
      case Op::Recv:
      case Op::RecvGrad:
        return receive(d, a.stage, a.micro);
      case Op::Forward:
        return forward_pass(a.stage, a.micro);
      case Op::Backward:
        return backward_pass(a.stage, a.micro);
      case Op::Send:
      case Op::SendGrad:
        flow(d, a.stage).early.pass();
        return send_ready(d, a.stage);
      case Op::BackwardWeights:
        memory_.turn(a.stage, a.micro, Op::BackwardWeights);
        return timed_(&runtime::RankReport::compute, now_, [&] {
          const auto here = batch_->graphs->shared.enter(a.stage, a.micro);
          live(a.stage, a.micro).split.weights();
          batch_->graphs->shared.done(a.stage, a.micro);
        });
    }
  }

  void receive(Direction d, int stage, int micro) {
    memory_.turn(stage, micro, pass_of(d));
    Flow& f = flow(d, stage);
    DeviceBytes payload;
    timed_(&runtime::RankReport::wait, now_, [&] { payload = f.received.take(); });
    timed_(&runtime::RankReport::decode, now_, [&] {
      ends_.receive_and_decode(d, receives_at(d, stage), micro, live(stage, micro), payload);
      keep(d, stage, micro, payload);
    });
    f.received.release();
    listen();
  }

  void send_ready(Direction d, int stage) {
    for (EarlySends& early = flow(d, stage).early; early.any();) send(d, stage, early.take());
  }

  void send(Direction d, int stage, int micro) {
    now_.op = d == Direction::forward ? Op::Send : Op::SendGrad;
    memory_.turn(stage, micro, pass_of(d));
    Flow& f = flow(d, stage);
    const int to = sends_at(d, stage);
    DeviceBytes payload;
    timed_(&runtime::RankReport::send, now_, [&] { payload = f.sent.buffer(ends_.bytes(d, to, micro)); });
    timed_(&runtime::RankReport::encode, now_,
           [&] { ends_.encode_and_send(d, to, micro, live(stage, micro), payload); });
    timed_(&runtime::RankReport::send, now_, [&] { f.sent.send(micro); });
    f.gone[at(micro)] = 1;
    listen();
  }

  /// What a stage has made goes to the next stage in this direction: through the wire, and to its rank if that is
  /// another.
  void pass_on(Direction d, int stage, int micro) {
    const int to = sends_at(d, stage), receiver = d == Direction::forward ? stage + 1 : stage - 1;
    if (local(to))
      timed_(&runtime::RankReport::encode, now_, [&] {
        const DeviceBytes message = ends_.pass(d, to, micro, live(stage, micro), live(receiver, micro),
                                               [&] { memory_.turn(receiver, micro, pass_of(d)); });
        keep(d, receiver, micro, message);
      });
    else
      flow(d, stage).early.offer(micro), send_ready(d, stage);
  }

  /// For a stage that computes again before its backward pass: what it was given.
  void keep(Direction d, int stage, int micro, const DeviceBytes& message) {
    if (d == Direction::forward && batch_->trains(stage) && stages_.at(stage).module.recompute)
      ends_.keep(stage - 1, live(stage, micro), message);
  }

  void forward_pass(int stage, int micro) {
    MicrobatchState& v = live(stage, micro);
    const StageState& s = stages_.at(stage);
    memory_.turn(stage, micro, Op::Forward);
    timed_(&runtime::RankReport::compute, now_, [&] {
      if (stage == 0) enter(v, micro, s.module, false);
      runs_.forward(stage, micro, s.module, v, [&] {
        if (last(stage)) finish(v, micro, s);
      });
    });
    if (!batch_->trains(stage) || v.recomputes) v.graph.clear_inputs();
    if (last(stage)) return;
    expect_as_learnt(*batch_, stage, micro, v.graph.outputs);
    pass_on(Direction::forward, stage, micro);
  }

  /// A micro-batch of x as stage 0's input. A copy where x has a graph or is needed again: stage 0 may change it in place.
  void enter(MicrobatchState& v, int micro, const runtime::StageModule& module, bool again) {
    const at::Tensor x = part_of(batch_->x, batch_->parts[at(micro)]);
    const bool learns = batch_->wants_grad && batch_->trains(0);
    const at::Tensor own = x.to(module.device);
    v.graph.clear_inputs();
    const bool copies = learns || (batch_->trains(0) && module.recompute && !again);
    v.graph.enter(copies && own.is_same(x) ? x.clone() : own, learns);
  }

  void finish(MicrobatchState& v, int micro, const StageState& s) {
    identity_.expect_same();
    if (batch_->loss) {
      loss_.add_loss(v.graph.outputs, micro, s.module.device);
      results_.set(micro, v.graph.outputs[0].detach(), s.order);
      if (v.recomputes) v.graph.outputs.clear();
      return;
    }
    at::Tensor output = std::exchange(v.graph.outputs.at(0), at::Tensor());
    if (!batch_->judge) return results_.set(micro, std::move(output), s.order);
    results_.set(micro, loss_.judge(output, micro, s.module.device), s.order);
  }

  void backward_pass(int stage, int micro) {
    MicrobatchState& v = live(stage, micro);
    const StageState& s = stages_.at(stage);
    memory_.turn(stage, micro, Op::Backward);
    timed_(&runtime::RankReport::compute, now_, [&] {
      const auto here = batch_->graphs->shared.enter(stage, micro);
      if (v.recomputes) {
        stage == 0 ? enter(v, micro, s.module, true) : ends_.give_again(stage - 1, micro, v);
        runs_.forward_again(stage, micro, s.module, v, [&] {
          if (last(stage)) loss_.add_loss(v.graph.outputs, micro, s.module.device);
        });
      }
      runs_.backward(stage, micro, last(stage), v);
      if (!split_) batch_->graphs->shared.done(stage, micro);
    });
    if (stage == 0 && batch_->wants_grad) input_grads_[at(micro)] = v.graph.take_input_grad(0);
    if (stage > 0 && batch_->trains(stage - 1)) pass_on(Direction::backward, stage, micro);
  }

  [[noreturn]] void fail(const Action a, transport::Failure why) {
    clear();
    results_.forget();
    identity_.forget();
    link_->aborted().raise_if_any();
    why.stage = a.stage, why.microbatch = a.micro;
    why.text = "pcomp: rank " + std::to_string(rank_) + ", stage " + std::to_string(a.stage) +
               ", micro-batch " + std::to_string(a.micro) + ", " + to_string(a.op) + ": " + bare(why.text) +
               (a.op == Op::Forward ? single_sample(*batch_, a.micro, why.text) : "");
    link_->abort(why);
    link_->aborted().raise();
  }

  void clear() {
    runs_.clear();
    memory_.drop();
    for (auto& entry : stages_) entry.second.live.clear();
  }

  int rank_;
  std::vector<int> rank_of_;
  RankStreams streams_;  ///< outlives what is in their memory
  BoundaryEnds ends_;
  StageRuns runs_;
  StepMemory memory_;
  LastStage loss_;
  Results results_;
  BatchIdentity identity_;
  std::map<int, StageState> stages_;
  const Batch* batch_ = nullptr;
  transport::Transport* link_ = nullptr;
  Action now_;
  std::vector<at::Tensor> input_grads_;
  bool split_ = false;  ///< the row has BackwardWeights
  Stopwatch timed_;
};

}  // namespace pcomp::detail
