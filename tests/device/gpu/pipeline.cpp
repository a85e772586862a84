// A pipeline with stages on the GPU gives the loss, outputs and gradients of the same pipeline on the CPU.
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/torch.h>

#include <filesystem>
#include <pcomp/checkpoint/checkpoint.hpp>
#include <pcomp/kernel/wire_kernels.hpp>
#include <pcomp/schedule/policies/one_f_one_b.hpp>
#include <pcomp/schedule/policies/zero_bubble.hpp>

#include "../../unit/torch/catch.hpp"
#include "wires.hpp"

using namespace pcomp;

namespace {

/// A factor for each channel: the same bits on every device, except for the sum in its gradient.
struct Scale : torch::nn::Module {
  explicit Scale(float by) { factor = register_parameter("factor", torch::full({6, 1, 1}, by)); }
  at::Tensor forward(const at::Tensor& x) { return x * factor; }
  at::Tensor factor;
};

std::vector<runtime::StageSpec> stages(const std::vector<at::Device>& devices) {
  std::vector<runtime::StageSpec> all;
  for (std::size_t s = 0; s < devices.size(); ++s)
    all.push_back(runtime::stage_spec([by = 0.75f + static_cast<float>(s), device = devices[s]] {
      auto m = std::make_shared<Scale>(by);
      m->to(device);
      return m;
    }));
  return all;
}

}  // namespace

TEST_CASE("a pipeline on the GPU, or partly there, is the pipeline on the CPU", "[gpu]") {
  const std::vector<const kernel::WireKernels*> wires{
      &kernel::wire_kernels(thin), &kernel::wire_kernels(Quant<8>), &kernel::wire_kernels(sample)};
  torch::manual_seed(1);
  const at::Tensor x = torch::randn({8, 6, 16, 16}), y = torch::randn({8, 6, 16, 16});
  const training::Loss loss = [](const at::Tensor& out, const at::Tensor& target) {
    return (out * target).mean();
  };
  const at::Device cpu = at::kCPU, gpu(at::kCUDA, 0);
  for (const schedule::RankMap& where : {schedule::RankMap(), schedule::RankMap{0, 1, 1, 0}})
    for (const bool split : {false, true}) {
      const auto table = [&] {
        return split ? make_schedule(ZeroBubble{}, 4, 4, where) : make_schedule(OneFOneB{}, 4, 4, where);
      };
      Engine plain(World::threads(), stages({cpu, cpu, cpu, cpu}), wires, table());
      const at::Tensor expected = plain.step(x, y, loss), outputs = plain.infer(x);
      for (const auto& devices : {std::vector{gpu, gpu, gpu, gpu}, std::vector{cpu, gpu, gpu, cpu}}) {
        Engine engine(World::threads(), stages(devices), wires, table());
        CHECK(at::allclose(engine.step(x, y, loss).cpu(), expected, 1e-4, 1e-6));
        CHECK(at::equal(engine.infer(x).cpu(), outputs));
        for (std::size_t s = 0; s < 4; ++s)
          CHECK(at::allclose(engine.parameters()[s].grad().cpu(), plain.parameters()[s].grad(), 1e-3, 1e-5));
      }
    }
}

TEST_CASE("ranks on one GPU, each with its stream, train as on the CPU, whichever stream the caller has",
          "[gpu]") {
  const std::vector<const kernel::WireKernels*> wires{
      &kernel::wire_kernels(thin), &kernel::wire_kernels(Quant<8>), &kernel::wire_kernels(sample)};
  torch::manual_seed(1);
  const at::Tensor x = torch::randn({16, 6, 64, 64}), y = torch::randn({16, 6, 64, 64});
  const training::Loss loss = [](const at::Tensor& out, const at::Tensor& target) {
    return (out * target).mean();
  };
  const auto train = [&](at::Device device) {
    Engine engine(World::threads(), stages({device, device, device, device}), wires,
                  make_schedule(OneFOneB{}, 4, 8));
    torch::optim::SGD sgd(engine.parameters(), 0.5);
    const at::Tensor here = x.to(device), target = y.to(device);
    std::vector<at::Tensor> losses;
    for (int step = 0; step < 20; ++step) {
      sgd.zero_grad();
      losses.push_back(engine.step(here, target, loss));
      sgd.step();
    }
    losses.push_back(engine.infer(here).sum());
    return at::stack(losses).cpu();
  };
  const at::Tensor expected = train(at::kCPU);
  CHECK(at::allclose(train(at::Device(at::kCUDA, 0)), expected, 1e-3, 1e-5));
  const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
  CHECK(at::allclose(train(at::Device(at::kCUDA, 0)), expected, 1e-3, 1e-5));
}

TEST_CASE("a run that was saved on the one device goes on on the other", "[gpu]") {
  const std::vector<const kernel::WireKernels*> wires{
      &kernel::wire_kernels(thin), &kernel::wire_kernels(Quant<8>), &kernel::wire_kernels(sample)};
  torch::manual_seed(1);
  const at::Tensor x = torch::randn({8, 6, 16, 16}), y = torch::randn({8, 6, 16, 16});
  const training::Loss loss = [](const at::Tensor& out, const at::Tensor& target) {
    return (out * target).mean();
  };
  struct Job {
    Job(at::Device device, const std::vector<const kernel::WireKernels*>& all)
        : engine(World::threads(), stages({device, device, device, device}), all,
                 make_schedule(OneFOneB{}, 4, 4)),
          sgd(engine.parameters(), torch::optim::SGDOptions(0.5).momentum(0.9)) {}
    Engine engine;
    torch::optim::SGD sgd;
  };
  const auto step = [&](Job& job) {
    job.sgd.zero_grad();
    const at::Tensor l = job.engine.step(x, y, loss).cpu();
    job.sgd.step();
    return l;
  };
  std::string name = (std::filesystem::temp_directory_path() / "pcomp-XXXXXX").string();
  REQUIRE(mkdtemp(name.data()));
  const at::Device cpu = at::kCPU, gpu(at::kCUDA, 0);
  for (const auto& [from, to] : {std::pair(gpu, cpu), std::pair(cpu, gpu)}) {
    const checkpoint::CheckpointFolder folder(std::filesystem::path(name) / from.str());
    Job first(from, wires), second(to, wires);
    step(first), step(first);
    save_checkpoint(folder, checkpoint::Manifest(), first.engine, first.sgd, {});
    load_checkpoint(folder, folder.manifest(), second.engine, second.sgd);
    for (int i = 0; i < 2; ++i) CHECK(at::allclose(step(second), step(first), 1e-4, 1e-6));
    for (const at::Tensor& p : second.engine.parameters()) CHECK(p.device() == to);
  }
  std::filesystem::remove_all(name);
}
