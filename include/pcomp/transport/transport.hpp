#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "../base/error.hpp"

namespace pcomp::transport {

/// Orders work on a device's streams, so that a link can move device memory without waiting for it.
///
/// Law: a mark stands for the work enqueued so far on the calling thread's current stream. What that thread or another
///   enqueues on its current stream after `await` starts once the mark is passed. The host waits only in `drain`.
/// Shapes: calls come from several threads at once.
/// Errors: what the device reports, as an exception.
/// Example: tests/run/transport
class StreamFence {
 public:
  using Mark = std::shared_ptr<void>;
  /// Where bytes are: in the memory of the order's device, or in host memory if there is no order.
  struct Place {
    std::byte* data = nullptr;
    StreamFence* order = nullptr;
  };

  virtual ~StreamFence() = default;
  virtual Mark mark() = 0;
  virtual void await(const Mark&) = 0;
  /// Whether the mark is passed.
  virtual bool passed(const Mark&) = 0;
  /// Returns when the device has finished all work enqueued on it.
  virtual void drain() = 0;
  /// Copies on a separate stream, after two marks, either of which may be null; one place must be on this device.
  virtual Mark copy(Place to, Place from, std::size_t size, const Mark& first, const Mark& second) = 0;
};

/// Identifies a message: the payload of one micro-batch over the boundary between stage `boundary` and the next.
struct Message {
  int boundary = 0;
  int micro = 0;
  bool gradient = false;
  friend bool operator==(const Message&, const Message&) = default;
};

/// "the gradient of micro-batch 3 over boundary 0".
inline std::string to_string(const Message& m) {
  return std::string(m.gradient ? "the gradient" : "the activation") + " of micro-batch " +
         std::to_string(m.micro) + " over boundary " + std::to_string(m.boundary);
}

/// One rank's end of the links to the others: asynchronous send and receive of bytes.
///
/// Law: on one boundary and direction, messages arrive in the order in which they were sent. A send may be a rendezvous,
///   which completes only when its receive is posted, so receives are posted early. Only the bytes of the payload
///   travel. Bytes in device memory (those with an `order`) are read or written after the work enqueued on the
///   caller's current stream before the post; work enqueued there after the wait finds them received or free for
///   reuse. The host does not wait for them.
/// Bytes: both sides must give the same size, which they know beforehand.
/// Shapes: the bytes belong to the transport from the post until its wait returns.
/// Errors: a wait throws `Error` when its time limit passes, sizes or order differ, or a rank has aborted; after
///   that, only `abort` and destruction are of use.
/// Example: docs/architecture.md
class Transport {
 public:
  /// A post, to be waited for exactly once.
  using Ticket = std::int64_t;

  virtual ~Transport() = default;
  Ticket send(int to, const Message& m, std::span<const std::byte> bytes, StreamFence* order = nullptr) {
    return post_send(to, m, bytes, order);
  }
  Ticket receive(int from, const Message& m, std::span<std::byte> bytes, StreamFence* order = nullptr) {
    return post_receive(from, m, bytes, order);
  }
  virtual void wait(Ticket) = 0;
  /// Whether posts may refer to device memory.
  virtual bool moves_device_memory() const { return false; }
  /// Waits until no device memory is in flight, at most the time limit of one wait.
  virtual void settle() {}
  /// The time limit of one wait.
  virtual std::chrono::milliseconds limit() const { return std::chrono::minutes(10); }
  /// Ends every wait of every rank with this reason; the first reason wins.
  virtual void abort(const std::string& reason) noexcept = 0;
  /// The reason for the abort, or nothing.
  virtual std::string aborted() const = 0;

 private:
  virtual Ticket post_send(int to, const Message&, std::span<const std::byte>, StreamFence*) = 0;
  virtual Ticket post_receive(int from, const Message&, std::span<std::byte>, StreamFence*) = 0;
};

}  // namespace pcomp::transport
