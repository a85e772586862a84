#pragma once
#include <array>
#include <functional>
#include <span>
#include <vector>

#include "../transport/transport.hpp"

namespace pcomp::detail {

/// The two buffers of one edge and direction: one is on the link while the other is read or written.
///
/// Law: the storage grows to the largest payload and stays, so a step after the first allocates nothing here.
class EdgeBuffers {
 public:
  static constexpr std::size_t depth = 2;

 protected:
  struct Slot {
    std::vector<std::byte> storage;
    std::span<std::byte> bytes;
    Transport::Ticket ticket = 0;
    bool pending = false;
  };
  Slot& slot(std::size_t n) { return slots_[n % depth]; }
  static std::span<std::byte> sized(Slot& s, std::size_t size) {
    if (s.storage.size() < size) s.storage.resize(size);
    return s.bytes = std::span(s.storage).first(size);
  }
  static void finish(Transport& link, Slot& s) {
    if (!s.pending) return;
    s.pending = false;
    link.wait(s.ticket);
  }
  void forget() {
    for (Slot& s : slots_) s.pending = false;
  }

 private:
  std::array<Slot, depth> slots_;
};

/// Receives of one edge and direction, posted two ahead in the order of the row.
class Inbox : EdgeBuffers {
 public:
  struct Expected {
    int micro;
    std::size_t size;
  };
  void begin(Transport& link, int from, int edge, bool gradient) {
    forget();
    link_ = &link;
    from_ = from, edge_ = edge, gradient_ = gradient;
    expected_.clear();
    posted_ = taken_ = 0;
  }
  void expect(int micro, std::size_t size) {
    expected_.push_back({micro, size});
    if (posted_ < depth) post();
  }
  /// The next payload, which stays until `release`.
  std::span<const std::byte> take() {
    Slot& s = slot(taken_);
    finish(*link_, s);
    return s.bytes;
  }
  void release() {
    ++taken_;
    if (posted_ < expected_.size()) post();
  }

 private:
  void post() {
    const Expected e = expected_[posted_];
    Slot& s = slot(posted_++);
    s.ticket = link_->receive(from_, {edge_, e.micro, gradient_}, sized(s, e.size));
    s.pending = true;
  }

  Transport* link_ = nullptr;
  int from_ = 0, edge_ = 0;
  bool gradient_ = false;
  std::vector<Expected> expected_;
  std::size_t posted_ = 0, taken_ = 0;
};

/// Sends of one edge and direction: a buffer is written again once its send is over.
class Outbox : EdgeBuffers {
 public:
  void begin(Transport& link, int to, int edge, bool gradient) {
    forget();
    link_ = &link;
    to_ = to, edge_ = edge, gradient_ = gradient;
  }
  std::span<std::byte> buffer(std::size_t size) {
    Slot& s = slot(next_);
    finish(*link_, s);
    return sized(s, size);
  }
  void send(int micro) {
    Slot& s = slot(next_++);
    s.ticket = link_->send(to_, {edge_, micro, gradient_}, s.bytes);
    s.pending = true;
  }
  void flush() {
    for (std::size_t i = 0; i < depth; ++i) finish(*link_, slot(next_ + i));
  }

 private:
  Transport* link_ = nullptr;
  int to_ = 0, edge_ = 0;
  bool gradient_ = false;
  std::size_t next_ = 0;
};

}  // namespace pcomp::detail
