#pragma once
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "communicator.hpp"

namespace pcomp::transport {

/// The links between ranks that are threads of one process.
///
/// Law: a rendezvous, as on a network: a send completes when its receive has the bytes. One FIFO mailbox per boundary and
///   direction; nothing is allocated once every mailbox has been as full as it gets.
/// Bytes: copied once, from the sender's buffer into the receiver's; if either is in device memory, on a separate
///   stream of that device, ordered after the earlier and before the later work on both ranks' streams.
/// Errors: as `Transport`; `timeout` is the limit of one wait. A device may still copy what was posted before an error:
///   the buffers stay until its `drain()` returns, for which the engine waits before it passes an error on.
/// Example: docs/architecture.md
class ThreadTransport final : public Communicator {
 public:
  ThreadTransport(int ranks, int boundaries, std::chrono::milliseconds timeout)
      : boxes_(2 * static_cast<std::size_t>(boundaries)), timeout_(timeout) {
    for (int r = 0; r < ranks; ++r) {
      here_.push_back(r);
      ends_.emplace_back(*this, r);
    }
  }

  /// One rank's end; it must not outlive this object.
  class End final : public Transport {
   public:
    End(ThreadTransport& links, int rank) : communicator_(&links), rank_(rank) {}
    void wait(Ticket t) override { communicator_->wait(t, rank_); }
    bool moves_device_memory() const override { return true; }
    std::chrono::milliseconds limit() const override { return communicator_->timeout_; }
    void abort(const Failure& reason) noexcept override { communicator_->abort(reason); }
    Failure aborted() const override { return communicator_->aborted(); }

   private:
    Ticket post_send(int to, const Message& m, std::span<const std::byte> bytes,
                     StreamFence* order) override {
      return communicator_->post(&Mailbox::sends, rank_, to, m, {const_cast<std::byte*>(bytes.data()), order},
                                 bytes.size());
    }
    Ticket post_receive(int from, const Message& m, std::span<std::byte> bytes, StreamFence* order) override {
      return communicator_->post(&Mailbox::receives, rank_, from, m, {bytes.data(), order}, bytes.size());
    }

    ThreadTransport* communicator_;
    int rank_;
  };

  const std::vector<int>& here() const override { return here_; }
  const std::vector<int>& elsewhere() const override { return elsewhere_; }
  Transport& link(int rank) override { return ends_.at(static_cast<std::size_t>(rank)); }
  std::vector<std::string> exchange(const std::string&, const std::string& text) override { return {text}; }

  /// Clears every post and any abort. No rank may be inside a call.
  void begin() override {
    for (Mailbox& box : boxes_) {
      box.sends.clear();
      box.receives.clear();
      box.copies.clear();
      box.posted_sends = box.posted_receives = box.done = 0;
    }
    std::lock_guard lock(reason_mutex_);
    reason_ = {};
  }

 private:
  struct Post {
    Message message;
    StreamFence::Place place;
    std::size_t size;
    int rank, peer;
    StreamFence::Mark ready;  ///< on a device: passed once the bytes may be read or written
  };
  /// The device's copy for one match, kept until both ranks have waited for it.
  struct Copy {
    std::int64_t number;
    StreamFence* device;
    StreamFence::Mark made;
    int sender;
    StreamFence *of_sender, *of_receiver;
    int waits = 2;
  };
  /// Posts are matched in order, so the number of matches says which tickets are done.
  struct Mailbox {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<Post> sends, receives;
    std::vector<Copy> copies;
    std::int64_t posted_sends = 0, posted_receives = 0, done = 0;
  };

  Transport::Ticket post(std::vector<Post> Mailbox::*queue, int rank, int peer, const Message& m,
                         StreamFence::Place place, std::size_t size) {
    const auto index = 2 * static_cast<std::size_t>(m.boundary) + (m.gradient ? 1u : 0u);
    if (m.boundary < 0 || index >= boxes_.size())
      throw Error("pcomp: there are " + std::to_string(boxes_.size() / 2) + " boundaries, no boundary " +
                  std::to_string(m.boundary));
    Mailbox& box = boxes_[index];
    StreamFence::Mark ready = place.order ? place.order->mark() : nullptr;
    std::lock_guard lock(box.mutex);
    (box.*queue).push_back({m, place, size, rank, peer, std::move(ready)});
    const std::int64_t n = queue == &Mailbox::sends ? box.posted_sends++ : box.posted_receives++;
    if (!box.sends.empty() && !box.receives.empty()) deliver(box);
    return n * static_cast<std::int64_t>(boxes_.size()) + static_cast<std::int64_t>(index);
  }

  static void deliver(Mailbox& box) {
    const Post s = box.sends.front(), r = box.receives.front();
    if (!(s.message == r.message) || s.peer != r.rank || r.peer != s.rank || s.size != r.size)
      throw Mismatch("pcomp: rank " + std::to_string(s.rank) + " sends " + std::to_string(s.size) +
                     " bytes to rank " + std::to_string(s.peer) + ", " + to_string(s.message) + "; rank " +
                     std::to_string(r.rank) + " expects " + std::to_string(r.size) + " bytes from rank " +
                     std::to_string(r.peer) + ", " + to_string(r.message));
    if (StreamFence* device = r.place.order ? r.place.order : s.place.order; device && s.size)
      box.copies.push_back({box.done, device, device->copy(r.place, s.place, s.size, s.ready, r.ready),
                            s.rank, s.place.order, r.place.order});
    else if (s.size)
      std::memcpy(r.place.data, s.place.data, s.size);
    box.sends.erase(box.sends.begin());
    box.receives.erase(box.receives.begin());
    ++box.done;
    box.changed.notify_all();
  }

  void wait(Transport::Ticket t, int rank) {
    const auto count = static_cast<Transport::Ticket>(boxes_.size());
    Mailbox& box = boxes_[static_cast<std::size_t>(t % count)];
    const std::int64_t n = t / count;
    std::unique_lock lock(box.mutex);
    const bool woken =
        box.changed.wait_for(lock, timeout_, [&] { return box.done > n || !aborted().empty(); });
    if (box.done > n) return wait_for_copy(box, n, rank, lock);
    if (woken) aborted().raise();
    throw Timeout("pcomp: rank " + std::to_string(rank) + " waited " + std::to_string(timeout_.count()) +
                      " ms for its peer over boundary " + std::to_string(t % count / 2) + ", the time limit",
                  peer_of(box, rank));
  }

  /// For whom a rank waits in vain: its posts are still in the mailbox.
  static int peer_of(const Mailbox& box, int rank) {
    for (const auto* posts : {&box.sends, &box.receives})
      for (const Post& p : *posts)
        if (p.rank == rank) return p.peer;
    return -1;
  }

  /// Waits for a copy that the device has yet to make: on the rank's stream or, for host memory, on the host.
  void wait_for_copy(Mailbox& box, std::int64_t n, int rank, std::unique_lock<std::mutex>& lock) {
    const auto found =
        std::find_if(box.copies.begin(), box.copies.end(), [&](const Copy& c) { return c.number == n; });
    if (found == box.copies.end()) return;
    const Copy copy = *found;
    if (--found->waits == 0) box.copies.erase(found);
    lock.unlock();
    if (StreamFence* own = rank == copy.sender ? copy.of_sender : copy.of_receiver)
      return own->await(copy.made);
    const auto end = std::chrono::steady_clock::now() + timeout_;
    while (!copy.device->passed(copy.made)) {
      aborted().raise_if_any();
      if (std::chrono::steady_clock::now() > end)
        throw Timeout("pcomp: rank " + std::to_string(rank) + " waited " + std::to_string(timeout_.count()) +
                      " ms for a GPU to copy a message, the time limit");
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  }

  void abort(const Failure& reason) noexcept {
    {
      std::lock_guard lock(reason_mutex_);
      if (reason_.empty()) reason_ = reason;
    }
    for (Mailbox& box : boxes_) {
      std::lock_guard lock(box.mutex);
      box.changed.notify_all();
    }
  }

  Failure aborted() const {
    std::lock_guard lock(reason_mutex_);
    return reason_;
  }

  std::vector<int> here_, elsewhere_;
  std::deque<End> ends_;
  std::deque<Mailbox> boxes_;
  std::chrono::milliseconds timeout_;
  mutable std::mutex reason_mutex_;
  Failure reason_;
};

}  // namespace pcomp::transport
