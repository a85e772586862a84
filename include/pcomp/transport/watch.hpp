#pragma once
#include "board.hpp"

namespace pcomp::detail {

/// Gives the reason of a failure to every rank, and learns of theirs: through the store, ten times a second at most.
///
/// Law: of all reasons the first that reaches the store holds, for every rank.
class Watch {
 public:
  /// `wake` is called once, when there is a reason or the store is lost, on a thread of the watch.
  Watch(Store store, std::string key, std::function<void()> wake) : state_(std::make_shared<State>()) {
    state_->store = std::move(store);
    state_->key = std::move(key);
    state_->wake = std::move(wake);
    thread_ = std::thread([s = state_] { loop(*s); });
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch() {
    std::unique_lock lock(state_->mutex);
    state_->wake = nullptr;
    state_->stop = true;
    state_->changed.notify_all();
    const bool ended = state_->changed.wait_for(lock, std::chrono::seconds(1), [&] { return state_->ended; });
    lock.unlock();
    ended ? thread_.join() : thread_.detach();
  }

  /// What some rank gave as reason; nothing while all goes well.
  std::string reason() const {
    std::lock_guard lock(state_->mutex);
    return state_->reason;
  }
  bool lost() const {
    std::lock_guard lock(state_->mutex);
    return state_->lost;
  }
  /// Gives a reason, and waits a little until the store says which one holds.
  void give(const std::string& reason) {
    std::unique_lock lock(state_->mutex);
    if (!state_->reason.empty()) return;
    state_->own = reason;
    state_->changed.notify_all();
    state_->changed.wait_for(lock, std::chrono::seconds(2),
                             [&] { return !state_->reason.empty() || state_->ended; });
    if (state_->reason.empty()) state_->reason = reason;
  }

 private:
  struct State {
    Store store;
    std::string key, own, reason;
    std::function<void()> wake;
    mutable std::mutex mutex;
    std::condition_variable changed;
    bool stop = false, lost = false, ended = false;
  };

  static void loop(State& s) {
    std::unique_lock lock(s.mutex);
    while (!s.stop && s.reason.empty() && !s.lost) {
      const std::string own = s.own;
      lock.unlock();
      std::string found;
      bool lost = false;
      try {
        if (!own.empty())
          found = text_of(s.store->compareSet(s.key, {}, value_of(own)));
        else if (s.store->check({s.key}))
          found = text_of(s.store->get(s.key));
      } catch (const std::exception&) {
        lost = true;
      }
      lock.lock();
      if (s.reason.empty()) s.reason = found;
      s.lost = lost;
      if ((lost || !found.empty()) && s.wake) s.wake();
      if (!lost && found.empty())
        s.changed.wait_for(lock, std::chrono::milliseconds(100), [&] { return s.stop || !s.own.empty(); });
    }
    s.ended = true;
    s.changed.notify_all();
  }

  std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace pcomp::detail
