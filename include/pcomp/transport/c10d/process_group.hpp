#pragma once
#include <algorithm>
#include <deque>
#include <optional>
#include <thread>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include "../transport.hpp"
#include "failure_monitor.hpp"

namespace pcomp::transport {

/// One rank's end of the links over c10d process groups, whatever their backend.
///
/// Law: as `Transport`. A message is the bytes alone; its tag is made of the boundary and of all calls so far.
/// Bytes: sent from and received into the caller's buffers; the tensor over a buffer is made once.
/// Errors: `PeerLost` and `Timeout` say which peer. After one the groups are unusable.
/// Source: c10d of LibTorch (ProcessGroupGloo, ProcessGroupNCCL).
/// Example: docs/several-machines.md
class ProcessGroupTransport : public Transport {
 public:
  /// `calls`: of this rank, which also number the messages, of which there are `numbers` in one call.
  ProcessGroupTransport(detail::Rendezvous& rendezvous, const std::string& name,
                        std::chrono::milliseconds timeout, std::shared_ptr<Calls> calls, int numbers)
      : timeout_(timeout), calls_(std::move(calls)), numbers_(numbers) {
    monitor_.emplace(rendezvous, name, timeout, calls_, [this] { interrupt(); });
  }
  ProcessGroupTransport(const ProcessGroupTransport&) = delete;
  ProcessGroupTransport& operator=(const ProcessGroupTransport&) = delete;
  ~ProcessGroupTransport() override = default;

  void wait(Ticket t) final {
    expect_no_abort();  // a later interrupt finds the post and ends its wait
    Post& p = posts_[static_cast<std::size_t>(t)];
    const auto begun = std::chrono::steady_clock::now();
    std::string why;
    bool done = false;
    try {
      done = finish(p);
    } catch (const std::exception& e) {
      why = e.what();
    }
    {
      std::lock_guard lock(mutex_);
      if (done && p.on_device) under_way_.push_back({p.work, p.peer, p.way});
      p.work.reset();
      free_.push_back(t);
    }
    if (done) return;
    expect_no_abort();
    // c10d's exceptions are of one type, whether a peer is gone or silent: the clock tells.
    if (std::chrono::steady_clock::now() - begun >= timeout_) throw_silent(p.peer);
    throw_lost(p.peer, why);
  }
  std::chrono::milliseconds limit() const final { return timeout_; }
  void settle() final {
    if (!moves_device_memory()) return;
    const auto end = std::chrono::steady_clock::now() + timeout_;
    for (;;) {
      forget_what_is_over();
      expect_no_abort();  // a message that an interrupt ended looks complete
      if (under_way_.empty()) return;
      if (std::chrono::steady_clock::now() > end) throw_silent(under_way_.front().peer);
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  }
  void abort(const Failure& reason) noexcept final {
    try {
      monitor_->give(reason, silence_);
    } catch (...) {
    }
  }
  Failure aborted() const final { return monitor_->reason(); }
  /// Throws if a rank has aborted or the store is lost.
  void expect_no_abort() const {
    monitor_->reason().raise_if_any();
    monitor_->lost().raise_if_any();
  }
  bool is_over() const { return !monitor_->lost().empty() || !monitor_->reason().empty(); }
  bool store_is_lost() const { return !monitor_->lost().empty(); }

 protected:
  /// A group, the peer's rank in it, and whether its tensors are in device memory.
  struct Way {
    c10d::Backend* group = nullptr;
    int peer = 0;
    bool of_device = false;
  };
  struct Post {
    c10::intrusive_ptr<c10d::Work> work;
    int peer = 0;
    std::byte* data = nullptr;
    std::size_t size = 0;
    at::Tensor tensor;
    bool sends = false, on_device = false;
    Way way;
  };
  virtual Way way(const Message&, int peer) = 0;
  /// A flat byte tensor for a post, over its memory if possible.
  virtual at::Tensor tensor(const Post&) = 0;
  /// Fills the tensor if it is a copy.
  virtual void before_send(const Post&) {}
  /// Waits until the bytes have arrived or left; for device memory the current stream waits. False if interrupted.
  virtual bool finish(Post&) = 0;
  /// Ends the wait for a message; called on the watch's thread.
  virtual void end(const Way&, c10d::Work& work) {
    try {
      work.abort();
    } catch (const std::exception&) {
    }
  }
  /// Must be called first in the derived class's destructor: after it nothing touches a buffer.
  void close() {
    monitor_.reset();
    posts_.clear();
    under_way_.clear();
  }

 private:
  using Work = c10::intrusive_ptr<c10d::Work>;
  /// A message that only streams wait for, not the host.
  struct UnderWay {
    Work work;
    int peer;
    Way way;
  };

  Ticket post_send(int to, const Message& m, std::span<const std::byte> bytes, StreamFence* order) final {
    return post(to, m, const_cast<std::byte*>(bytes.data()), bytes.size(), true, order);
  }
  Ticket post_receive(int from, const Message& m, std::span<std::byte> bytes, StreamFence* order) final {
    return post(from, m, bytes.data(), bytes.size(), false, order);
  }
  Ticket post(int peer, const Message& m, std::byte* data, std::size_t size, bool sends, StreamFence* order) {
    expect_no_abort();
    if (order && !moves_device_memory()) throw Error("pcomp: this link takes no device memory");
    const Way to = way(m, peer);
    const Ticket t = place(data, size, sends, order != nullptr, to);
    Post& p = posts_[static_cast<std::size_t>(t)];
    p.peer = peer;
    if (order) forget_what_is_over();
    if (sends) before_send(p);
    tensors_.assign(1, p.tensor);
    Work work;
    try {
      const int tag = calls_->tag(m.boundary, numbers_);
      work = sends ? to.group->send(tensors_, to.peer, tag) : to.group->recv(tensors_, to.peer, tag);
    } catch (const std::exception& e) {
      expect_no_abort();
      throw_lost(peer, e.what());
    }
    std::lock_guard lock(mutex_);
    p.work = std::move(work);
    return t;
  }

  /// A free post, if possible one that had this buffer before, to reuse its tensor.
  Ticket place(std::byte* data, std::size_t size, bool sends, bool on_device, const Way& way) {
    auto found = std::find_if(free_.begin(), free_.end(), [&](Ticket t) {
      const Post& p = posts_[static_cast<std::size_t>(t)];
      return p.data == data && p.size == size && p.sends == sends && p.on_device == on_device &&
             p.way.group == way.group;
    });
    if (found == free_.end()) {
      constexpr std::size_t most = 256;
      if (free_.empty() || posts_.size() < most) {
        std::lock_guard lock(mutex_);
        free_.push_back(static_cast<Ticket>(posts_.size()));
        posts_.emplace_back();
      }
      found = free_.end() - 1;
      Post& p = posts_[static_cast<std::size_t>(*found)];
      p.data = data, p.size = size, p.sends = sends, p.on_device = on_device, p.way = way;
      p.tensor = tensor(p);
    }
    const Ticket t = *found;
    free_.erase(found);
    return t;
  }

  void interrupt() {
    std::lock_guard lock(mutex_);
    for (Post& p : posts_)
      if (p.work) end(p.way, *p.work);
    for (UnderWay& u : under_way_) end(u.way, *u.work);
  }

  /// Drops the finished messages in `under_way_`. Each is queried once: it may fail between two queries.
  void forget_what_is_over() {
    std::lock_guard lock(mutex_);
    std::exception_ptr error;
    int peer = 0;
    std::erase_if(under_way_, [&](const UnderWay& u) {
      if (!u.work->isCompleted()) return false;
      if (!error) error = u.work->exception(), peer = u.peer;
      return true;
    });
    if (error) throw_again(error, peer);
  }
  [[noreturn]] void throw_again(const std::exception_ptr& error, int peer) {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& e) {
      throw_lost(peer, e.what());
    }
  }
  [[noreturn]] void throw_silent(int peer) {
    silence_ = true;
    throw Timeout("waited " + std::to_string(timeout_.count()) + " ms for rank " + std::to_string(peer) +
                      ", the time limit",
                  peer);
  }
  /// `why` may begin with a place in a source file in brackets.
  [[noreturn]] void throw_lost(int peer, const std::string& why) {
    silence_ = false;
    const std::size_t bracket = why.find("] ");
    throw PeerLost(
        "rank " + std::to_string(peer) + " is lost: " +
            detail::Rendezvous::first_line(why.substr(bracket == std::string::npos ? 0 : bracket + 2)),
        peer);
  }

  std::chrono::milliseconds timeout_;
  std::shared_ptr<Calls> calls_;
  int numbers_;
  std::mutex mutex_;  ///< guards the lists and every `work`
  std::deque<Post> posts_;
  std::vector<UnderWay> under_way_;
  std::vector<Ticket> free_;
  std::vector<at::Tensor> tensors_;
  bool silence_ = false;  ///< the last failure was a timeout
  std::optional<detail::FailureMonitor> monitor_;
};

}  // namespace pcomp::transport
