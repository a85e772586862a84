#pragma once
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ThreadLocalState.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "../schedule/make_schedule.hpp"
#include "../stage/stage.hpp"
#include "../transport/communicator.hpp"
#include "executor.hpp"

namespace pcomp::detail {

/// A thread that lives as long as its rank, so that torch's per-thread state stays warm.
class RankThread {
 public:
  RankThread() : thread_([this] { loop(); }) {}
  RankThread(const RankThread&) = delete;
  RankThread& operator=(const RankThread&) = delete;
  ~RankThread() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  /// Hands over one task, which must not throw; the previous one must have been waited for.
  void start(std::function<void()> task) {
    {
      std::lock_guard lock(mutex_);
      task_ = std::move(task);
    }
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !task_; });
  }

 private:
  void loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return stop_ || task_; });
      if (!task_) return;
      lock.unlock();
      task_();
      lock.lock();
      task_ = nullptr;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> task_;
  bool stop_ = false;
  std::thread thread_;
};

/// Where the seeds of an engine's stages come from: rank 0's generator. Every rank's moves on alike.
inline std::uint64_t shared_seed(transport::Communicator& links) {
  const std::uint64_t own = next_seed();
  if (links.elsewhere().empty()) return own;
  return transport::gather<std::uint64_t>(links, "seed of the stages", [&] { return own; }).of(0);
}

/// One rank of this process: what it runs and over which link, on its own thread and streams.
struct Rank {
  Rank(int r, const std::vector<int>& rank_of, const kernel::Wires& wires, transport::Transport& to)
      : executor(r, rank_of, wires), link(to) {}
  Executor executor;
  transport::Transport& link;
  std::exception_ptr error;
  RankThread thread;
};

/// The ranks of this process, which run concurrently.
class Ranks {
 public:
  void add(int r, const std::vector<int>& rank_of, const kernel::Wires& wires, transport::Transport& link) {
    all_.push_back(std::make_unique<Rank>(r, rank_of, wires, link));
  }
  auto begin() const { return all_.begin(); }
  auto end() const { return all_.end(); }
  std::size_t size() const { return all_.size(); }
  /// Null for a rank in another process.
  Rank* find(int rank) const {
    for (const auto& r : all_)
      if (r->executor.rank() == rank) return r.get();
    return nullptr;
  }

  /// Runs `task` on every rank's own thread, in the caller's grad mode, autocast state and treatment of denormals, and
  /// waits for all; on GPUs it is ordered after the earlier and before the later work on the caller's current streams.
  template <class F>
  void on_every(F&& task) const {
    const at::ThreadLocalState state;
    const FloatMode floats = FloatMode::of_this_thread();
    const bool cache = at::autocast::is_autocast_cache_enabled();  // the state leaves it out
    for (const auto& rank : all_) {
      rank->executor.streams().fork();
      rank->thread.start([&, r = rank.get()] {
        const at::ThreadLocalStateGuard guard(state);
        adopt(floats);
        const AutocastCache casts(cache);
        r->error = nullptr;
        try {
          r->executor.streams().enter();
          task(*r);
          r->executor.streams().leave();
        } catch (...) {
          r->error = std::current_exception();
        }
      });
    }
    for (const auto& rank : all_) rank->thread.wait();
    for (const auto& rank : all_)
      if (rank->error) std::rethrow_exception(std::exchange(rank->error, nullptr));
    for (const auto& rank : all_) rank->executor.streams().join();
  }

  /// Builds one stage at a time: LibTorch has one generator for all threads, and each stage its own seed.
  void build(const std::vector<runtime::StageSpec>& stages, const std::vector<int>& rank_of,
             std::uint64_t seed) const {
    at::Generator generator = at::detail::getDefaultCPUGenerator();
    const RngStateGuard after;
    for (std::size_t s = 0; s < stages.size(); ++s) {
      generator.set_current_seed(seed * 0x9e3779b97f4a7c15u + s);
      on_every([&](Rank& rank) {
        if (rank_of[s] == rank.executor.rank()) rank.executor.build(static_cast<int>(s), stages[s]);
      });
    }
  }

  /// A step went through on every rank, or failed on one.
  void end_step(bool whole) const {
    for (const auto& rank : all_) rank->executor.ends().end_step(whole);
  }
  /// `take_back` undoes what the reports counted since `mark`.
  void mark() const {
    for (const auto& rank : all_) rank->executor.ends().mark(), rank->executor.stopwatch().mark();
  }
  void take_back() const {
    for (const auto& rank : all_) rank->executor.ends().take_back(), rank->executor.stopwatch().take_back();
  }
  /// After a failed step: waits until the GPUs have finished all work enqueued on them.
  void drain() const {
    for (const auto& rank : all_) rank->executor.streams().drain();
  }

 private:
  /// On this thread and on its intra-op threads, which do not follow it by themselves.
  static void adopt(const FloatMode& mode) {
    if (mode == FloatMode::of_this_thread()) return;
    mode.enter();
    at::parallel_for(0, at::get_num_threads(), 1, [&](std::int64_t, std::int64_t) { mode.enter(); });
  }

  std::vector<std::unique_ptr<Rank>> all_;
};

/// What the ranks of this process sent over each boundary, and where their time went. `boundaries`: what was predicted.
inline runtime::Report report_of(const schedule::ScheduleTable& schedule, const kernel::Wires& wires,
                                 const std::vector<runtime::BoundaryReport>& boundaries, std::int64_t steps,
                                 const Ranks& ranks) {
  runtime::Report r;
  r.steps = steps;
  for (std::size_t e = 0; e < wires.size(); ++e) {
    const int boundary = static_cast<int>(e);
    runtime::BoundaryReport b = boundaries[e];
    b.boundary = boundary;
    b.from_rank = schedule.rank_of(boundary), b.to_rank = schedule.rank_of(boundary + 1);
    b.wire = wires[e].name();
    for (const auto& rank : ranks) {
      b.forward += rank->executor.ends().sent(Direction::forward, boundary);
      b.gradient += rank->executor.ends().sent(Direction::backward, boundary);
      b.inference += rank->executor.ends().inference(boundary);
      b.state += rank->executor.ends().state(boundary);
    }
    r.boundaries.push_back(b);
  }
  r.ranks.resize(static_cast<std::size_t>(schedule.ranks));
  for (const auto& rank : ranks) {
    runtime::RankReport& own = r.ranks[static_cast<std::size_t>(rank->executor.rank())];
    own = rank->executor.stopwatch().times();
    own.peak_bytes = rank->executor.memory().peak();
  }
  r.stages.resize(static_cast<std::size_t>(schedule.stages));
  for (int s = 0; s < schedule.stages; ++s)
    if (const Rank* rank = ranks.find(schedule.rank_of(s))) {
      runtime::StageReport& stage = r.stages[static_cast<std::size_t>(s)];
      if (const auto& own = rank->executor.stopwatch().stages(); static_cast<std::size_t>(s) < own.size())
        stage = own[static_cast<std::size_t>(s)];
      stage.bytes = rank->executor.memory().stage(s);
    }
  r.predict(schedule);
  return r;
}

}  // namespace pcomp::detail
