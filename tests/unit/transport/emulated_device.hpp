#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <pcomp/transport/transport.hpp>
#include <random>
#include <thread>

/// A device whose streams are threads: each does its work in the order given, at times of its own choosing.
class EmulatedDevice : public pcomp::transport::StreamFence {
 public:
  /// `careless`: nothing waits for a mark, as if a link had forgotten to. `late`: how much later each copy begins.
  explicit EmulatedDevice(bool careless = false, std::chrono::microseconds late = {})
      : careless_(careless), late_(late) {}
  ~EmulatedDevice() override { drain(); }

  /// Puts work on the calling thread's stream.
  void give(std::function<void()> work) { mine().give(std::move(work)); }
  Mark mark() override { return mine().mark(); }
  void await(const Mark& m) override {
    if (careless_) return;
    mine().give([e = event(m)] { e->wait(); });
  }
  bool passed(const Mark& m) override { return event(m)->passed(); }
  Mark copy(Place to, Place from, std::size_t size, const Mark& first, const Mark& second) override {
    if (!careless_)
      for (const Mark& m : {first, second})
        if (m) copies_.give([e = event(m)] { e->wait(); });
    copies_.give([=, late = late_] {
      std::this_thread::sleep_for(late);
      std::memcpy(to.data, from.data, size);
    });
    return copies_.mark();
  }
  void drain() override {
    std::vector<Mark> all{copies_.mark()};
    {
      const std::lock_guard lock(mutex_);
      for (auto& entry : streams_) all.push_back(entry.second.mark());
    }
    for (const Mark& m : all) event(m)->wait();
  }

 private:
  class Event {
   public:
    void pass() {
      const std::lock_guard lock(mutex_);
      passed_ = true;
      changed_.notify_all();
    }
    bool passed() {
      const std::lock_guard lock(mutex_);
      return passed_;
    }
    void wait() {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return passed_; });
    }

   private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool passed_ = false;
  };
  static std::shared_ptr<Event> event(const Mark& m) { return std::static_pointer_cast<Event>(m); }

  class Stream {
   public:
    Stream() : thread_([this] { loop(); }) {}
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream() {
      {
        const std::lock_guard lock(mutex_);
        stop_ = true;
      }
      changed_.notify_all();
      thread_.join();
    }
    void give(std::function<void()> work) {
      {
        const std::lock_guard lock(mutex_);
        work_.push_back(std::move(work));
      }
      changed_.notify_all();
    }
    Mark mark() {
      const auto e = std::make_shared<Event>();
      give([e] { e->pass(); });
      return e;
    }

   private:
    void loop() {
      std::minstd_rand random(static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(this) >> 4));
      std::unique_lock lock(mutex_);
      for (;;) {
        changed_.wait(lock, [&] { return stop_ || !work_.empty(); });
        if (work_.empty()) return;
        const auto work = std::move(work_.front());
        work_.pop_front();
        lock.unlock();
        if (random() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
        work();
        lock.lock();
      }
    }
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> work_;
    bool stop_ = false;
    std::thread thread_;
  };
  Stream& mine() {
    const std::lock_guard lock(mutex_);
    return streams_[std::this_thread::get_id()];
  }

  const bool careless_;
  const std::chrono::microseconds late_;
  std::mutex mutex_;
  std::map<std::thread::id, Stream> streams_;
  Stream copies_;
};
