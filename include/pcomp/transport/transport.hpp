#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "../core/error.hpp"
#include "stream_order.hpp"

namespace pcomp {

/// Which message: the payload of one micro-batch over the boundary between stage `edge` and the next.
struct Message {
  int edge = 0;
  int micro = 0;
  bool gradient = false;
  friend bool operator==(const Message&, const Message&) = default;
};

/// "the gradient of micro-batch 3 over boundary 0".
inline std::string to_string(const Message& m) {
  return std::string(m.gradient ? "the gradient" : "the activation") + " of micro-batch " +
         std::to_string(m.micro) + " over boundary " + std::to_string(m.edge);
}

/// One rank's end of the links to the others: asynchronous send and receive of bytes.
///
/// Law: on one edge and direction messages arrive in the order in which they were sent. A send may be a
///   rendezvous, one that ends only when its receive is posted, so receives are posted early. Nothing but the
///   bytes of the payload travels. Bytes in device memory, those with an `order`, are read or written behind what the
///   caller's current stream was given before the post; what it is given after the wait finds them there or free. The
///   host does not wait for them.
/// Bytes: the two sizes must be equal; both sides know them beforehand.
/// Shapes: the bytes belong to the transport from the post until its wait returns.
/// Errors: a wait throws `Error` when its time limit passes, sizes or order differ, or a rank has aborted;
///   after that only abort and destruction are of use.
/// Example: docs/architecture.md
class Transport {
 public:
  /// A post that is to be waited for, once.
  using Ticket = std::int64_t;

  virtual ~Transport() = default;
  Ticket send(int to, const Message& m, std::span<const std::byte> bytes, StreamOrder* order = nullptr) {
    return post_send(to, m, bytes, order);
  }
  Ticket receive(int from, const Message& m, std::span<std::byte> bytes, StreamOrder* order = nullptr) {
    return post_receive(from, m, bytes, order);
  }
  virtual void wait(Ticket) = 0;
  /// Whether posts may be of device memory.
  virtual bool moves_device_memory() const { return false; }
  /// Returns when no device memory is under way any more; within the time limit of one wait.
  virtual void settle() {}
  /// The time limit of one wait.
  virtual std::chrono::milliseconds limit() const { return std::chrono::minutes(10); }
  /// Ends every wait of every rank with this reason; the first one holds.
  virtual void abort(const std::string& reason) noexcept = 0;
  /// The reason of an abort, or nothing.
  virtual std::string aborted() const = 0;

 private:
  virtual Ticket post_send(int to, const Message&, std::span<const std::byte>, StreamOrder*) = 0;
  virtual Ticket post_receive(int from, const Message&, std::span<std::byte>, StreamOrder*) = 0;
};

}  // namespace pcomp
