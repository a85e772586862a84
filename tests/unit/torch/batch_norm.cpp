#include <pcomp/core.hpp>
#include <pcomp/nn/deferred_batch_norm.hpp>

#include "catch.hpp"
#include "net.hpp"

using namespace pcomp;

namespace {

struct ConvNorm : torch::nn::Module {
  explicit ConvNorm(bool deferred) {
    torch::manual_seed(1);
    conv = register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 6, 3).padding(1)));
    if (deferred)
      own = register_module("norm", training::DeferredBatchNorm2d(6));
    else
      usual = register_module("norm", torch::nn::BatchNorm2d(6));
  }
  at::Tensor forward(const at::Tensor& x) {
    if (fails && x.is_contiguous() && x.size(0) == 2) throw std::runtime_error("out of order");
    return own ? own(conv(x)) : usual(conv(x));
  }
  const at::Tensor& mean() const { return own ? own->running_mean : usual->running_mean; }
  const at::Tensor& variance() const { return own ? own->running_var : usual->running_var; }
  torch::nn::Conv2d conv{nullptr};
  torch::nn::BatchNorm2d usual{nullptr};
  training::DeferredBatchNorm2d own{nullptr};
  bool fails = false;
};

std::vector<runtime::StageSpec> stages(bool deferred) {
  const auto head = [] {
    torch::manual_seed(2);
    return torch::nn::Sequential(torch::nn::AdaptiveAvgPool2d(1), torch::nn::Flatten(),
                                 torch::nn::Linear(6, 10));
  };
  return {runtime::stage_spec([deferred] { return std::make_shared<ConvNorm>(deferred); }),
          runtime::stage_spec(head)};
}

struct Pipe {
  Pipe(bool deferred, int microbatches)
      : engine(net::one_thread_each(), stages(deferred), {&kernel::wire_kernels(Quant<8>)},
               make_schedule(OneFOneB{}, 2, microbatches)) {}
  ConvNorm& first() { return dynamic_cast<ConvNorm&>(*engine.module(0)); }
  at::Tensor step(int seed) {
    torch::manual_seed(static_cast<std::uint64_t>(seed));
    const at::Tensor x = torch::randn({10, 3, 9, 7}) * torch::arange(1, 11).reshape({10, 1, 1, 1});
    return engine.step(x, torch::randint(10, {10}), cross_entropy);
  }
  Engine engine;
};

}  // namespace

TEST_CASE(
    "Deferred running statistics are those of the full batch, outputs and gradients are the usual ones") {
  Pipe full(false, 1), usual(false, 4), deferred(true, 4);  // 10 samples in 4 micro-batches: 3, 3, 2, 2
  for (int i = 0; i < 3; ++i) {
    full.step(i);
    CHECK(torch::equal(usual.step(i), deferred.step(i)));
  }
  CHECK(torch::allclose(deferred.first().mean(), full.first().mean(), 1e-5, 1e-7));
  CHECK(torch::allclose(deferred.first().variance(), full.first().variance(), 1e-5, 1e-7));
  CHECK_FALSE(torch::allclose(usual.first().variance(), full.first().variance(), 1e-2));
  CHECK(deferred.first().own->num_batches_tracked.item<int>() == 3);
  const auto gradients = [](Pipe& p) {
    std::vector<at::Tensor> all;
    for (const at::Tensor& t : p.engine.parameters()) all.push_back(t.grad());
    return all;
  };
  CHECK(net::differing(gradients(usual), gradients(deferred)) == 0);

  deferred.engine.eval();
  full.engine.eval();
  const at::Tensor x = torch::randn({4, 3, 9, 7});
  deferred.engine.infer(x);
  CHECK(deferred.first().own->num_batches_tracked.item<int>() == 3);
}

TEST_CASE("A batch that failed leaves no trace in deferred statistics") {
  Pipe a(true, 4), b(true, 4);
  a.step(1);
  b.step(1);
  a.first().fails = true;
  CHECK_THROWS_AS(a.step(2), Error);
  a.first().fails = false;
  CHECK(torch::equal(a.first().mean(), b.first().mean()));
  a.step(3);
  b.step(3);
  CHECK(torch::equal(a.first().mean(), b.first().mean()));
  CHECK(torch::equal(a.first().variance(), b.first().variance()));
  CHECK_THROWS_AS(training::DeferredBatchNorm2d(torch::nn::BatchNorm2dOptions(4).track_running_stats(false)),
                  Error);
}

TEST_CASE("Inference in training mode leaves no trace in deferred statistics, nor does one that failed") {
  Pipe a(true, 4), b(true, 4);
  const at::Tensor x = torch::randn({10, 3, 9, 7}) + 7;
  b.engine.infer(x);
  b.first().fails = true;
  CHECK_THROWS_AS(b.engine.infer(x), Error);
  b.first().fails = false;
  a.step(1);
  b.step(1);
  CHECK(torch::equal(a.first().mean(), b.first().mean()));
  CHECK(torch::equal(a.first().variance(), b.first().variance()));
}

TEST_CASE("Wires can be changed between steps, and bytes are counted as they were") {
  at::set_num_threads(1);
  Pipe p(false, 2);
  p.step(1);
  const std::int64_t thin = p.engine.report().boundaries[0].forward.bytes;
  p.engine.rewire({&kernel::wire_kernels(Raw)});
  p.step(2);
  const runtime::Report r = p.engine.report();
  CHECK(r.boundaries[0].forward.bytes == thin + 10 * 6 * 9 * 7 * 4);
  CHECK(r.boundaries[0].forward.bytes == r.boundaries[0].forward.predicted);
  CHECK(r.boundaries[0].gradient.bytes == r.boundaries[0].gradient.predicted);
  CHECK(r.boundaries[0].wire == "Raw");
  CHECK_THROWS_AS(p.engine.rewire({}), Error);

  Pipe always(false, 2);
  always.engine.rewire({&kernel::wire_kernels(Raw)});
  always.engine.rewire({&kernel::wire_kernels(Quant<8>)});
  Pipe never(false, 2);
  CHECK(torch::equal(always.step(1), never.step(1)));
}
