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
struct DeviceBytes {
  std::span<std::byte> bytes;
  at::Device device = at::kCPU;
};

inline at::Tensor tensor_over(const DeviceBytes& p) {
  return at::from_blob(p.bytes.data(), {static_cast<std::int64_t>(p.bytes.size())},
                       at::TensorOptions(at::kByte).device(p.device));
}

/// Of the same number of bytes.
inline void copy_bytes(const DeviceBytes& from, const DeviceBytes& to) {
  if (from.bytes.empty()) return;
  if (from.device.is_cpu() && to.device.is_cpu())
    std::memcpy(to.bytes.data(), from.bytes.data(), from.bytes.size());
  else
    tensor_over(to).copy_(tensor_over(from));
}
inline void zero(const DeviceBytes& some) {
  if (some.device.is_cpu())
    std::memset(some.bytes.data(), 0, some.bytes.size());
  else
    tensor_over(some).zero_();
}

/// Storage for payloads on one device, the host at first.
///
/// Law: grows to the largest payload and stays there, so a step after the first allocates nothing here. On a GPU it
///   belongs to the stream that was current when it grew.
class PayloadBuffer {
 public:
  DeviceBytes sized(std::size_t size, at::Device device) {
    if (!storage_.defined() || storage_.device() != device || bytes_in(storage_).size() < size)
      storage_ = byte_tensor(size, device);
    return {bytes_in(storage_).first(size), device};
  }
  /// A copy of `from` on `device`.
  void assign(const DeviceBytes& from, at::Device device) {
    held_ = sized(from.bytes.size(), device);
    copy_bytes(from, held_);
  }
  const DeviceBytes& held() const { return held_; }
  std::int64_t capacity() const {
    return storage_.defined() ? static_cast<std::int64_t>(storage_.nbytes()) : 0;
  }
  std::span<const std::byte> bytes() const { return held_.bytes; }

 private:
  at::Tensor storage_;
  DeviceBytes held_;
};

/// What one boundary and direction connects: a link to another rank, and the device of its stage on this rank.
struct BoundaryEnd {
  transport::Transport* link = nullptr;
  int peer = 0, boundary = 0;
  bool gradient = false;
  at::Device device = at::kCPU;
  transport::StreamFence* order = nullptr;  ///< of the device; null if payloads pass through the host

  /// Payloads stay on the device if the link can move them from there, else in host memory.
  at::Device memory() const { return order ? device : at::Device(at::kCPU); }
  transport::Message message(int micro) const { return {boundary, micro, gradient}; }
};

/// The two buffers of one boundary and direction: one is in flight while the other is read or written.
class BoundaryBuffers {
 public:
  static constexpr std::size_t depth = 2;
  std::int64_t capacity() const {
    std::int64_t sum = 0;
    for (const Slot& s : slots_) sum += s.storage.capacity();
    return sum;
  }

 protected:
  struct Slot {
    PayloadBuffer storage;
    DeviceBytes payload;
    transport::Transport::Ticket ticket = 0;
    bool pending = false;
  };
  Slot& slot(std::size_t n) { return slots_[n % depth]; }
  static DeviceBytes sized(Slot& s, std::size_t size, const BoundaryEnd& end) {
    return s.payload = s.storage.sized(size, end.memory());
  }
  static void finish(transport::Transport& link, Slot& s) {
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

/// Receives of one boundary and direction, posted up to two ahead, in row order.
class Inbox : BoundaryBuffers {
 public:
  using BoundaryBuffers::capacity;
  struct Expected {
    int micro;
    std::size_t size;
  };
  void begin(const BoundaryEnd& end) {
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
  DeviceBytes take() {
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

  BoundaryEnd end_;
  std::vector<Expected> expected_;
  std::size_t posted_ = 0, taken_ = 0;
};

/// Sends of one boundary and direction: a buffer is reused once its send is complete.
class Outbox : BoundaryBuffers {
 public:
  using BoundaryBuffers::capacity;
  void begin(const BoundaryEnd& end) {
    forget();
    end_ = end;
  }
  DeviceBytes buffer(std::size_t size) {
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
  BoundaryEnd end_;
  std::size_t next_ = 0;
};

}  // namespace pcomp::detail
