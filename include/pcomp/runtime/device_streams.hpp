#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <functional>
#include <map>
#include <optional>

#include "../transport/transport.hpp"
#include "../transport/world.hpp"

namespace pcomp::detail {

/// With a process per rank: makes the rank's GPU current on this thread, so that at::kCUDA without a number means it.
inline void set_local_device(const World& world) {
  if (!world.launch() || !c10::impl::hasDeviceGuardImpl(at::kCUDA)) return;
  const c10::impl::VirtualGuardImpl cuda(at::kCUDA);
  if (const int devices = cuda.deviceCount(); devices > 0)
    cuda.setDevice(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(world.launch()->device(devices))));
}

/// The order of one GPU's streams, through c10: includes and links nothing of CUDA.
class DeviceOrder final : public transport::StreamFence {
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
using OrderMaker = std::function<std::shared_ptr<transport::StreamFence>(at::Device)>;
inline OrderMaker& order_maker() {
  static OrderMaker make = [](at::Device d) -> std::shared_ptr<transport::StreamFence> {
    return d.is_cuda() ? std::make_shared<DeviceOrder>(d) : nullptr;
  };
  return make;
}

/// One rank's own stream on every GPU that its stages compute on, so that ranks that are threads overlap on one GPU.
///
/// Law: the rank's work between `enter` and `leave` starts after what was enqueued on the caller's current streams
///   before `fork`; what they get after `join` starts after it. None of these waits. Without a GPU nothing is done.
class RankStreams {
 public:
  /// On the rank's thread: a stage computes on `d` from now on, after what this thread has enqueued there.
  transport::StreamFence* add(at::Device d) {
    auto [found, is_new] = devices_.try_emplace(d);
    Device& device = found->second;
    if (!is_new) return device.order.get();
    device.order = order_maker()(d);
    if (!device.order) return nullptr;
    const transport::StreamFence::Mark built = device.order->mark();
    if (!d.is_cpu()) {
      device.own = c10::impl::VirtualGuardImpl(d.type()).getStreamFromGlobalPool(d);
      enter();
    }
    device.order->await(built);
    return device.order.get();
  }
  void fork() {
    for_each([](Device& d) { d.called = d.order->mark(); });
  }
  void enter() {
    for (auto& [where, device] : devices_)
      if (device.own) c10::impl::VirtualGuardImpl(where.type()).exchangeStream(*device.own);
    for_each([](Device& d) {
      if (d.called) d.order->await(d.called);
    });
  }
  void leave() {
    for_each([](Device& d) { d.left = d.order->mark(); });
  }
  void join() {
    for_each([](Device& d) {
      if (d.left) d.order->await(d.left);
    });
  }
  /// After a failed step: waits until nothing reads or writes a buffer any more.
  void drain() {
    for_each([](Device& d) { d.order->drain(); });
  }

 private:
  struct Device {
    std::shared_ptr<transport::StreamFence> order;
    std::optional<c10::Stream> own;
    transport::StreamFence::Mark called, left;
  };
  template <class F>
  void for_each(F f) {
    for (auto& entry : devices_)
      if (entry.second.order) f(entry.second);
  }
  struct ByName {
    bool operator()(at::Device a, at::Device b) const {
      return std::pair(a.type(), a.index()) < std::pair(b.type(), b.index());
    }
  };

  std::map<at::Device, Device, ByName> devices_;
};

}  // namespace pcomp::detail
