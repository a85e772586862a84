#pragma once
#include <map>
#include <optional>

#include "device_order.hpp"

namespace pcomp::detail {

/// One rank's own stream on every GPU that its stages compute on, so that ranks that are threads overlap on one GPU.
///
/// Law: the rank's work between `enter` and `leave` starts after what was enqueued on the caller's current streams
///   before `fork`; what they get after `join` starts after it. None of these waits. Without a GPU nothing is done.
class RankStreams {
 public:
  /// On the rank's thread: a stage computes on `d` from now on, after what this thread has enqueued there.
  StreamOrder* add(at::Device d) {
    auto [found, is_new] = devices_.try_emplace(d);
    Device& device = found->second;
    if (!is_new) return device.order.get();
    device.order = order_maker()(d);
    if (!device.order) return nullptr;
    const StreamOrder::Mark built = device.order->mark();
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
    std::shared_ptr<StreamOrder> order;
    std::optional<c10::Stream> own;
    StreamOrder::Mark called, left;
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
