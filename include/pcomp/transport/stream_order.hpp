#pragma once
#include <cstddef>
#include <memory>

namespace pcomp {

/// The order of work on a device's streams: what a link needs in order to move device memory without waiting for it.
///
/// Law: a mark stands for what the calling thread's current stream has been given so far. What that stream, or another
///   thread's, is given after `await` starts when the mark is passed. The host waits in `drain` alone.
/// Shapes: calls come from several threads at once.
/// Errors: what the device reports, as an exception.
/// Example: tests/run/transport
class StreamOrder {
 public:
  using Mark = std::shared_ptr<void>;
  /// Where bytes lie: in memory of the device that the order belongs to, or the host's without one.
  struct Place {
    std::byte* data = nullptr;
    StreamOrder* order = nullptr;
  };

  virtual ~StreamOrder() = default;
  virtual Mark mark() = 0;
  virtual void await(const Mark&) = 0;
  /// Whether the mark is passed.
  virtual bool passed(const Mark&) = 0;
  /// Returns when the device has done all that it was given.
  virtual void drain() = 0;
  /// Copies on a stream of its own, behind two marks, either of which may be null; one of the places is of this device.
  virtual Mark copy(Place to, Place from, std::size_t size, const Mark& first, const Mark& second) = 0;
};

}  // namespace pcomp
