#pragma once
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "../base/error.hpp"

namespace pcomp::transport {

/// Orders work on a device's streams, so that a link can move device memory without waiting for it.
///
/// Law: a mark stands for the work enqueued so far on the calling thread's current stream. What that thread or another
///   enqueues on its current stream after `await` starts once the mark is passed. The host waits only in `drain`.
/// Shapes: calls come from several threads at once.
/// Errors: what the device reports, as an exception.
/// Example: tests/unit/transport
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

/// Why a run ended: what one rank tells the others, and what all then throw.
///
/// Example: docs/several-machines.md
struct Failure {
  enum class Kind : char { Other = 'E', PeerLost = 'L', Timeout = 'T', Mismatch = 'M' };

  std::string text;  ///< empty: nothing failed
  Kind kind = Kind::Other;
  int rank = -1, stage = -1, microbatch = -1;  ///< as in the exceptions of these kinds

  Failure() = default;
  Failure(std::string why, Kind of = Kind::Other, int about = -1)
      : text(std::move(why)), kind(of), rank(about) {}
  Failure(const char* why) : text(why) {}
  /// What an exception says.
  static Failure of(const std::exception& e) {
    Failure f(e.what());
    const auto at = [&](Kind kind, const auto& error) {
      f.kind = kind, f.rank = error.rank, f.stage = error.stage, f.microbatch = error.microbatch;
    };
    if (const auto* lost = dynamic_cast<const PeerLost*>(&e))
      at(Kind::PeerLost, *lost);
    else if (const auto* silent = dynamic_cast<const Timeout*>(&e))
      at(Kind::Timeout, *silent);
    else if (dynamic_cast<const Mismatch*>(&e))
      f.kind = Kind::Mismatch;
    return f;
  }

  bool empty() const { return text.empty(); }
  [[noreturn]] void raise() const {
    if (kind == Kind::PeerLost) throw PeerLost(text, rank, stage, microbatch);
    if (kind == Kind::Timeout) throw Timeout(text, rank, stage, microbatch);
    if (kind == Kind::Mismatch) throw Mismatch(text);
    throw Error(text);
  }
  void raise_if_any() const {
    if (!empty()) raise();
  }

  /// As one string: "T2,3,1,pcomp: ...".
  std::string packed() const {
    return static_cast<char>(kind) + std::to_string(rank) + ',' + std::to_string(stage) + ',' +
           std::to_string(microbatch) + ',' + text;
  }
  /// The inverse; what is no packed failure becomes the text of one.
  static Failure unpacked(std::string_view all) {
    Failure f;
    const std::string_view whole = all;
    if (!all.empty() && std::string_view("ELTM").find(all[0]) != std::string_view::npos) {
      f.kind = static_cast<Kind>(all[0]);
      all.remove_prefix(1);
      bool good = true;
      for (int* n : {&f.rank, &f.stage, &f.microbatch}) {
        const auto [end, error] = std::from_chars(all.data(), all.data() + all.size(), *n);
        good = good && error == std::errc() && end != all.data() + all.size() && *end == ',';
        if (good) all.remove_prefix(static_cast<std::size_t>(end - all.data()) + 1);
      }
      if (good) return f.text = all, f;
    }
    return Failure(std::string(whole));
  }
};

/// One rank's end of the links to the others: asynchronous send and receive of bytes.
///
/// Law: on one boundary and direction, messages arrive in the order in which they were sent. A send may be a rendezvous,
///   which completes only when its receive is posted, so receives are posted early. Only the bytes of the payload
///   travel. Bytes in device memory (those with an `order`) are read or written after the work enqueued on the
///   caller's current stream before the post; work enqueued there after the wait finds them received or free for
///   reuse. The host does not wait for them.
/// Bytes: both sides must give the same size, which they know beforehand.
/// Shapes: the bytes belong to the transport from the post until its wait returns.
/// Errors: a wait throws `Timeout` when its time limit passes, `PeerLost` if the peer is gone, `Mismatch` if sizes or
///   order differ, and what a rank has aborted with; after that, only `abort` and destruction are of use.
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
  virtual void abort(const Failure& reason) noexcept = 0;
  /// The reason for the abort, if there was one.
  virtual Failure aborted() const = 0;

 private:
  virtual Ticket post_send(int to, const Message&, std::span<const std::byte>, StreamFence*) = 0;
  virtual Ticket post_receive(int from, const Message&, std::span<std::byte>, StreamFence*) = 0;
};

}  // namespace pcomp::transport
