#pragma once
#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace pcomp::detail {

/// Runs calls that may never return, one at a time, on its own thread, so that the caller can stop waiting for them.
///
/// Law: an abandoned call keeps running and must own all that it touches; until it returns, later ones are refused.
class TimedCaller {
 public:
  TimedCaller() : thread_([s = state_] { loop(*s); }) {}
  TimedCaller(const TimedCaller&) = delete;
  TimedCaller& operator=(const TimedCaller&) = delete;
  ~TimedCaller() {
    std::unique_lock lock(state_->mutex);
    state_->stop = true;
    state_->changed.notify_all();
    const bool ended = state_->changed.wait_for(lock, std::chrono::seconds(1), [&] { return state_->ended; });
    lock.unlock();
    ended ? thread_.join() : thread_.detach();
  }

  /// False if `limit` passed, or `enough()` became true, before the call returned; rethrows what the call throws.
  template <class F, class Enough>
  bool run(F task, std::chrono::milliseconds limit, Enough enough) {
    const auto end = std::chrono::steady_clock::now() + limit;
    std::unique_lock lock(state_->mutex);
    if (state_->task) return false;
    state_->error = nullptr;
    state_->task = std::move(task);
    state_->changed.notify_all();
    while (!state_->changed.wait_for(lock, std::chrono::milliseconds(50), [&] { return !state_->task; }))
      if (enough() || std::chrono::steady_clock::now() > end) return false;
    if (state_->error) std::rethrow_exception(std::exchange(state_->error, nullptr));
    return true;
  }
  template <class F>
  bool run(F task, std::chrono::milliseconds limit) {
    return run(std::move(task), limit, [] { return false; });
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    std::function<void()> task;
    std::exception_ptr error;
    bool stop = false, ended = false;
  };
  static void loop(State& s) {
    std::unique_lock lock(s.mutex);
    for (;;) {
      s.changed.wait(lock, [&] { return s.stop || s.task; });
      if (!s.task) break;
      lock.unlock();
      std::exception_ptr error;
      try {
        s.task();
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      s.error = error;
      s.task = nullptr;
      s.changed.notify_all();
    }
    s.ended = true;
    s.changed.notify_all();
  }

  std::shared_ptr<State> state_ = std::make_shared<State>();
  std::thread thread_;
};

}  // namespace pcomp::detail
