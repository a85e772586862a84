#pragma once
#include <cstddef>
#include <memory>

namespace pcomp {

/// Orders work on a device's streams, so that a link can move device memory without waiting for it.
///
/// Law: a mark stands for the work enqueued so far on the calling thread's current stream. What that thread or another
///   enqueues on its current stream after `await` starts once the mark is passed. The host waits only in `drain`.
/// Shapes: calls come from several threads at once.
/// Errors: what the device reports, as an exception.
/// Example: tests/run/transport
class StreamOrder {
 public:
  using Mark = std::shared_ptr<void>;
  /// Where bytes are: in the memory of the order's device, or in host memory if there is no order.
  struct Place {
    std::byte* data = nullptr;
    StreamOrder* order = nullptr;
  };

  virtual ~StreamOrder() = default;
  virtual Mark mark() = 0;
  virtual void await(const Mark&) = 0;
  /// Whether the mark is passed.
  virtual bool passed(const Mark&) = 0;
  /// Returns when the device has finished all work enqueued on it.
  virtual void drain() = 0;
  /// Copies on a separate stream, after two marks, either of which may be null; one place must be on this device.
  virtual Mark copy(Place to, Place from, std::size_t size, const Mark& first, const Mark& second) = 0;
};

}  // namespace pcomp
