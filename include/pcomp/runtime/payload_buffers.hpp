#pragma once
#include <ATen/ops/from_blob.h>

#include <array>
#include <cstring>
#include <functional>
#include <span>
#include <vector>

#include "../autograd/tensor.hpp"
#include "../transport/transport.hpp"

namespace pcomp::detail {

/// Bytes, and the device they are on.
struct Placed {
  std::span<std::byte> bytes;
  at::Device device = at::kCPU;
};

inline at::Tensor tensor_over(const Placed& p) {
  return at::from_blob(p.bytes.data(), {static_cast<std::int64_t>(p.bytes.size())},
                       at::TensorOptions(at::kByte).device(p.device));
}

/// Storage for payloads on one device, the host at first.
///
/// Law: grows to the largest payload and stays there, so a step after the first allocates nothing here. On a GPU it
///   belongs to the stream that was current when it grew.
class ByteStore {
 public:
  Placed sized(std::size_t size, at::Device device) {
    if (!storage_.defined() || storage_.device() != device || bytes_in(storage_).size() < size)
      storage_ = byte_tensor(size, device);
    return {bytes_in(storage_).first(size), device};
  }
  /// A copy of `from` on `device`.
  void assign(const Placed& from, at::Device device) {
    held_ = sized(from.bytes.size(), device);
    if (from.bytes.empty()) return;
    if (from.device.is_cpu() && device.is_cpu())
      std::memcpy(held_.bytes.data(), from.bytes.data(), from.bytes.size());
    else
      tensor_over(held_).copy_(tensor_over(from));
  }
  std::span<const std::byte> bytes() const { return held_.bytes; }

 private:
  at::Tensor storage_;
  Placed held_;
};

/// What one edge and direction connects: a link to another rank, and the device of its stage on this rank.
struct EdgeEnd {
  Transport* link = nullptr;
  int peer = 0, edge = 0;
  bool gradient = false;
  at::Device device = at::kCPU;
  StreamOrder* order = nullptr;  ///< of the device; null if payloads pass through the host

  /// Payloads stay on the device if the link can move them from there, else in host memory.
  at::Device memory() const { return order ? device : at::Device(at::kCPU); }
  Message message(int micro) const { return {edge, micro, gradient}; }
};

/// The two buffers of one edge and direction: one is in flight while the other is read or written.
class EdgeBuffers {
 public:
  static constexpr std::size_t depth = 2;

 protected:
  struct Slot {
    ByteStore storage;
    Placed payload;
    Transport::Ticket ticket = 0;
    bool pending = false;
  };
  Slot& slot(std::size_t n) { return slots_[n % depth]; }
  static Placed sized(Slot& s, std::size_t size, const EdgeEnd& end) {
    return s.payload = s.storage.sized(size, end.memory());
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

/// Receives of one edge and direction, posted up to two ahead, in row order.
class Inbox : EdgeBuffers {
 public:
  struct Expected {
    int micro;
    std::size_t size;
  };
  void begin(const EdgeEnd& end) {
    forget();
    end_ = end;
    expected_.clear();
    posted_ = taken_ = 0;
  }
  void expect(int micro, std::size_t size) { expected_.push_back({micro, size}); }
  /// Posts receives while there is a buffer and `may(micro)` allows it.
  template <class May>
  void listen(May may) {
    while (posted_ < expected_.size() && posted_ < taken_ + depth && may(expected_[posted_].micro)) post();
  }
  /// The next payload, valid until `release`.
  Placed take() {
    if (posted_ == taken_) post();
    Slot& s = slot(taken_);
    finish(*end_.link, s);
    return s.payload;
  }
  void release() { ++taken_; }

 private:
  void post() {
    const Expected e = expected_[posted_];
    Slot& s = slot(posted_++);
    s.ticket = end_.link->receive(end_.peer, end_.message(e.micro), sized(s, e.size, end_).bytes, end_.order);
    s.pending = true;
  }

  EdgeEnd end_;
  std::vector<Expected> expected_;
  std::size_t posted_ = 0, taken_ = 0;
};

/// Sends of one edge and direction: a buffer is reused once its send is complete.
class Outbox : EdgeBuffers {
 public:
  void begin(const EdgeEnd& end) {
    forget();
    end_ = end;
  }
  Placed buffer(std::size_t size) {
    Slot& s = slot(next_);
    finish(*end_.link, s);
    return sized(s, size, end_);
  }
  void send(int micro) {
    Slot& s = slot(next_++);
    s.ticket = end_.link->send(end_.peer, end_.message(micro), s.payload.bytes, end_.order);
    s.pending = true;
  }
  void flush() {
    for (std::size_t i = 0; i < depth; ++i) finish(*end_.link, slot(next_ + i));
  }

 private:
  EdgeEnd end_;
  std::size_t next_ = 0;
};

}  // namespace pcomp::detail
