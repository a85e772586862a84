#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <functional>

#include "../transport/transport.hpp"

namespace pcomp::detail {

/// The order of one GPU's streams, through c10: includes and links nothing of CUDA.
class DeviceOrder final : public StreamOrder {
 public:
  explicit DeviceOrder(at::Device device)
      : device_(device), streams_(device.type()), copies_(streams_.getStreamFromGlobalPool(device)) {}

  Mark mark() override { return record(streams_.getStream(device_)); }
  void await(const Mark& m) override { event(m).block(streams_.getStream(device_)); }
  bool passed(const Mark& m) override { return event(m).query(); }
  void drain() override { streams_.synchronizeDevice(device_.index()); }
  Mark copy(Place to, Place from, std::size_t size, const Mark& first, const Mark& second) override {
    const c10::StreamGuard guard(copies_);
    for (const Mark& m : {first, second})
      if (m) event(m).block(copies_);
    const auto n = static_cast<std::int64_t>(size);
    at::from_blob(to.data, {n}, bytes_at(to)).copy_(at::from_blob(from.data, {n}, bytes_at(from)), true);
    return record(copies_);
  }

 private:
  static c10::Event& event(const Mark& m) { return *static_cast<c10::Event*>(m.get()); }
  static Mark record(const c10::Stream& stream) {
    const auto e = std::make_shared<c10::Event>(stream.device_type());
    e->record(stream);
    return e;
  }
  static at::TensorOptions bytes_at(const Place& p) {
    return at::TensorOptions(at::kByte).device(p.order ? static_cast<DeviceOrder*>(p.order)->device_
                                                       : at::Device(at::kCPU));
  }

  at::Device device_;
  c10::impl::VirtualGuardImpl streams_;
  c10::Stream copies_;
};

/// Makes the order of a device, or null for one without streams; tests substitute an emulated device.
using OrderMaker = std::function<std::shared_ptr<StreamOrder>(at::Device)>;
inline OrderMaker& order_maker() {
  static OrderMaker make = [](at::Device d) -> std::shared_ptr<StreamOrder> {
    return d.is_cuda() ? std::make_shared<DeviceOrder>(d) : nullptr;
  };
  return make;
}

}  // namespace pcomp::detail
