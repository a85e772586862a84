// A pipeline whose payloads stay in device memory: the device is emulated, and the links' copies on it are late.
#include <pcomp/core.hpp>
#include <pcomp/runtime/device_streams.hpp>
#include <pcomp/runtime/engine.hpp>
#include <pcomp/schedule/policies/one_f_one_b.hpp>
#include <pcomp/schedule/policies/zero_bubble.hpp>

#include "../kernels/kernels.hpp"
#include "../transport/emulated_device.hpp"
#include "catch.hpp"
#include "net.hpp"

using namespace pcomp;

namespace {

/// A device whose kernels are finished when their call returns, as the CPU's are; only copies take longer.
class EagerDevice final : public EmulatedDevice {
 public:
  explicit EagerDevice(bool careless)
      : EmulatedDevice(careless, std::chrono::milliseconds(2)), careless_(careless) {}
  void await(const Mark& m) override {
    while (!careless_ && !passed(m)) std::this_thread::yield();
  }

 private:
  bool careless_;
};

/// While this exists, the CPU is such a device for every pipeline that is built.
class Emulate {
 public:
  explicit Emulate(bool careless) : device_(std::make_shared<EagerDevice>(careless)) {
    pcomp::detail::order_maker() = [d = device_](at::Device) { return d; };
  }
  Emulate(const Emulate&) = delete;
  Emulate& operator=(const Emulate&) = delete;
  ~Emulate() { pcomp::detail::order_maker() = before_; }
  void drain() { device_->drain(); }

 private:
  pcomp::detail::OrderMaker before_ = pcomp::detail::order_maker();
  std::shared_ptr<EagerDevice> device_;
};

/// The losses and gradients of two steps, and the outputs of an inference after them.
std::vector<torch::Tensor> outcome(const schedule::ScheduleTable& table,
                                   const std::vector<const kernel::WireKernels*>& wires,
                                   Emulate* device = nullptr) {
  Engine engine(net::one_thread_each(), net::stages(), wires, table);
  torch::manual_seed(5);
  const torch::Tensor x = torch::randn({10, 3, 9, 7}), y = torch::randint(10, {10});
  std::vector<torch::Tensor> all;
  const torch::Tensor sample_ids = torch::arange(10, at::kLong);
  for (int step = 0; step < 2; ++step) all.push_back(engine.step(x, y, cross_entropy, sample_ids));
  for (const torch::Tensor& p : engine.parameters()) all.push_back(p.grad().clone());
  engine.eval();
  all.push_back(engine.infer(x));
  if (device) device->drain();  // a careless one may still be writing
  return all;
}

bool equal(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const torch::Tensor& s, const torch::Tensor& t) { return torch::equal(s, t); });
}

}  // namespace

TEST_CASE("payloads that stay in device memory make the same pipeline") {
  const std::vector<const kernel::WireKernels*> wires{
      &kernel::wire_kernels(Downsample<2> | TopK<Ratio<1, 10>> | Quant<8>),
      &kernel::wire_kernels(ErrorFeedback | TopK<Ratio<1, 10>> | Quant<8>),
      &kernel::wire_kernels(Delta<> | Quant<4>), &kernel::wire_kernels(Raw)};
  for (const auto& table : {make_schedule(OneFOneB{}, 5, 5), make_schedule(ZeroBubble{}, 5, 5),
                            make_schedule(OneFOneB{}, 5, 5, schedule::RankMap{0, 1, 1, 2, 0})}) {
    INFO(table.policy << ' ' << table.ranks << " ranks");
    const auto expected = outcome(table, wires);
    Emulate device(false);
    CHECK(equal(outcome(table, wires, &device), expected));
  }
}

TEST_CASE("the test of device memory sees messages that nobody waits for") {
  const std::vector<const kernel::WireKernels*> wires(4, &kernel::wire_kernels(Quant<8>));
  const schedule::ScheduleTable table = make_schedule(OneFOneB{}, 5, 5);
  const auto expected = outcome(table, wires);
  Emulate careless(true);
  CHECK(!equal(outcome(table, wires, &careless), expected));
}
