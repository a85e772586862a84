#pragma once
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <vector>

#include "links.hpp"

namespace pcomp {

/// The links between ranks that are threads of one process.
///
/// Law: a rendezvous, as on a network: a send ends when its receive has the bytes. One mailbox per edge and
///   direction, each first in first out; nothing is allocated once every mailbox has been as full as it gets.
/// Bytes: copied once, from the sender's buffer into the receiver's.
/// Errors: as `Transport`; `timeout` is the limit of one wait.
/// Example: docs/architecture.md
class Threads final : public Links {
 public:
  Threads(int ranks, int edges, std::chrono::milliseconds timeout)
      : boxes_(2 * static_cast<std::size_t>(edges)), timeout_(timeout) {
    for (int r = 0; r < ranks; ++r) {
      here_.push_back(r);
      ends_.emplace_back(*this, r);
    }
  }

  /// One rank's end; it must not outlive this object.
  class End final : public Transport {
   public:
    End(Threads& links, int rank) : links_(&links), rank_(rank) {}
    Ticket send(int to, const Message& m, std::span<const std::byte> bytes) override {
      return links_->post(&Mailbox::sends, rank_, to, m, const_cast<std::byte*>(bytes.data()), bytes.size());
    }
    Ticket receive(int from, const Message& m, std::span<std::byte> bytes) override {
      return links_->post(&Mailbox::receives, rank_, from, m, bytes.data(), bytes.size());
    }
    void wait(Ticket t) override { links_->wait(t, rank_); }
    void abort(const std::string& reason) noexcept override { links_->abort(reason); }
    std::string aborted() const override { return links_->aborted(); }

   private:
    Threads* links_;
    int rank_;
  };

  const std::vector<int>& here() const override { return here_; }
  const std::vector<int>& elsewhere() const override { return elsewhere_; }
  Transport& link(int rank) override { return ends_.at(static_cast<std::size_t>(rank)); }
  std::vector<std::string> exchange(const std::string&, const std::string& text) override { return {text}; }

  /// Forgets every post and an abort. No rank may be inside a call.
  void begin() override {
    for (Mailbox& box : boxes_) {
      box.sends.clear();
      box.receives.clear();
      box.posted_sends = box.posted_receives = box.done = 0;
    }
    std::lock_guard lock(reason_mutex_);
    reason_.clear();
  }

 private:
  struct Post {
    Message message;
    std::byte* data;
    std::size_t size;
    int rank, peer;
  };
  /// Matches are made in order, so how many were made says which tickets are done.
  struct Mailbox {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<Post> sends, receives;
    std::int64_t posted_sends = 0, posted_receives = 0, done = 0;
  };

  Transport::Ticket post(std::vector<Post> Mailbox::*queue, int rank, int peer, const Message& m,
                         std::byte* data, std::size_t size) {
    const auto index = 2 * static_cast<std::size_t>(m.edge) + (m.gradient ? 1u : 0u);
    if (m.edge < 0 || index >= boxes_.size())
      throw Error("pcomp: there are " + std::to_string(boxes_.size() / 2) + " boundaries, no boundary " +
                  std::to_string(m.edge));
    Mailbox& box = boxes_[index];
    std::lock_guard lock(box.mutex);
    (box.*queue).push_back({m, data, size, rank, peer});
    const std::int64_t n = queue == &Mailbox::sends ? box.posted_sends++ : box.posted_receives++;
    if (!box.sends.empty() && !box.receives.empty()) deliver(box);
    return n * static_cast<std::int64_t>(boxes_.size()) + static_cast<std::int64_t>(index);
  }

  static void deliver(Mailbox& box) {
    const Post s = box.sends.front(), r = box.receives.front();
    if (!(s.message == r.message) || s.peer != r.rank || r.peer != s.rank || s.size != r.size)
      throw Error("pcomp: rank " + std::to_string(s.rank) + " sends " + std::to_string(s.size) +
                  " bytes to rank " + std::to_string(s.peer) + ", " + to_string(s.message) + "; rank " +
                  std::to_string(r.rank) + " expects " + std::to_string(r.size) + " bytes from rank " +
                  std::to_string(r.peer) + ", " + to_string(r.message));
    if (s.size) std::memcpy(r.data, s.data, s.size);
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
    if (box.done > n) return;
    if (woken) throw Error(aborted());
    const auto edge = std::to_string((t % count) / 2);
    throw Error("pcomp: rank " + std::to_string(rank) + " waited " + std::to_string(timeout_.count()) +
                " ms for its peer over boundary " + edge + ", the time limit");
  }

  void abort(const std::string& reason) noexcept {
    {
      std::lock_guard lock(reason_mutex_);
      if (reason_.empty()) reason_ = reason;
    }
    for (Mailbox& box : boxes_) {
      std::lock_guard lock(box.mutex);
      box.changed.notify_all();
    }
  }

  std::string aborted() const {
    std::lock_guard lock(reason_mutex_);
    return reason_;
  }

  std::vector<int> here_, elsewhere_;
  std::deque<End> ends_;
  std::deque<Mailbox> boxes_;
  std::chrono::milliseconds timeout_;
  mutable std::mutex reason_mutex_;
  std::string reason_;
};

}  // namespace pcomp
