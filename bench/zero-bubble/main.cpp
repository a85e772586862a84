// Does a split backward pay off? Two ranks, four micro-batches, one thread each: 1F1B, zero bubble and one device.
#include <torch/torch.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <pcomp/core.hpp>
#include <pcomp/kernel/wire_kernels.hpp>
#include <pcomp/plan/simulate.hpp>
#include <pcomp/runtime/pipeline.hpp>
#include <pcomp/schedule/policies/one_f_one_b.hpp>
#include <pcomp/schedule/policies/zero_bubble.hpp>
#include <pcomp/viz/svg.hpp>
#include <thread>

using namespace pcomp;

namespace {

struct Case {
  const char* name;
  std::vector<runtime::StageSpec> stages;
  at::Tensor x, y;
};

/// `count` blocks of convolution, batch normalisation and ReLU of equal cost; the last stage ends in a classifier.
runtime::StageSpec conv_blocks(int count, bool last) {
  return runtime::stage_spec([=] {
    torch::nn::Sequential net;
    for (int i = 0; i < count; ++i) {
      net->push_back(torch::nn::Conv2d(torch::nn::Conv2dOptions(32, 32, 3).padding(1).bias(false)));
      net->push_back(torch::nn::BatchNorm2d(32));
      net->push_back(torch::nn::ReLU());
    }
    if (last) {
      net->push_back(torch::nn::AdaptiveAvgPool2d(1));
      net->push_back(torch::nn::Flatten());
      net->push_back(torch::nn::Linear(32, 10));
    }
    return net;
  });
}

runtime::StageSpec linear_blocks(int count, bool last) {
  return runtime::stage_spec([=] {
    torch::nn::Sequential net;
    for (int i = 0; i < count; ++i) {
      net->push_back(torch::nn::Linear(512, 512));
      net->push_back(torch::nn::ReLU());
    }
    if (last) net->push_back(torch::nn::Linear(512, 10));
    return net;
  });
}

/// A stage that waits where another would compute, 8 ms for each of forward, gradient of the input and gradient of
/// the weight: on any machine, like two devices that share nothing.
struct Wait : torch::autograd::Function<Wait> {
  static void device() { std::this_thread::sleep_for(std::chrono::milliseconds(8)); }
  static at::Tensor forward(torch::autograd::AutogradContext*, const at::Tensor& x, const at::Tensor&) {
    device();
    return x.clone();
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list g) {
    for (std::size_t i : {0, 1})
      if (ctx->needs_input_grad(i)) device();
    return {g[0], ctx->needs_input_grad(1) ? g[0].sum(0) : at::Tensor()};
  }
};
struct WaitingStage : torch::nn::Module {
  WaitingStage() { w = register_parameter("w", torch::ones({10})); }
  at::Tensor forward(const at::Tensor& x) { return at::GradMode::is_enabled() ? Wait::apply(x, w) : x; }
  at::Tensor w;
};
runtime::StageSpec waiting() {
  return runtime::stage_spec([] { return std::make_shared<WaitingStage>(); });
}

template <class F>
double median(int times, F&& f) {
  std::vector<double> all;
  for (int i = 0; i < times; ++i) {
    const auto start = std::chrono::steady_clock::now();
    f();
    all.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}

double share(const schedule::Trace& trace, Op op) {
  double sum = 0;
  for (const auto& lane : trace.ranks)
    for (const schedule::Interval& i : lane)
      if (i.op == op) sum += i.end - i.begin;
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  const int steps = argc > 1 ? std::atoi(argv[1]) : 15;
  const std::string pictures = argc > 2 ? argv[2] : "";
  World world = World::threads();
  world.threads_per_rank = 1;
  torch::manual_seed(1);
  std::vector<Case> cases;
  cases.push_back(
      {"waiting", {waiting(), waiting()}, torch::randn({8, 10}).requires_grad_(), torch::randint(10, {8})});
  cases.push_back({"conv",
                   {conv_blocks(4, false), conv_blocks(4, true)},
                   torch::randn({32, 32, 32, 32}),
                   torch::randint(10, {32})});
  cases.push_back({"linear",
                   {linear_blocks(8, false), linear_blocks(8, true)},
                   torch::randn({2048, 512}),
                   torch::randint(10, {2048})});
  std::printf("two stages, four micro-batches, one thread a rank, raw float wire; median of %d steps\n",
              steps);
  std::printf("%-8s %-12s %10s %12s   forward  backward   weights (ms of both ranks)\n", "stages", "schedule",
              "ms a step", "of 1 device");
  for (const Case& c : cases) {
    const std::vector<const kernel::WireKernels*> wires{&kernel::wire_kernels(Raw)};
    const std::pair<const char*, schedule::ScheduleTable> plans[] = {
        {"1 device", make_schedule(OneFOneB{}, 2, 4, {0, 0})},
        {"1 dev. split", make_schedule(ZeroBubble{}, 2, 4, {0, 0})},
        {"1F1B", make_schedule(OneFOneB{}, 2, 4)},
        {"ZB-H1", make_schedule(ZeroBubble{}, 2, 4)}};
    // The schedules take turns, so that a change in the machine's speed affects all of them.
    std::vector<std::unique_ptr<Engine>> engines;
    std::vector<std::vector<double>> seconds(4);
    for (const auto& plan : plans) {
      engines.push_back(std::make_unique<Engine>(world, c.stages, wires, plan.second));
      engines.back()->record();
      for (int i = 0; i < 3; ++i) engines.back()->step(c.x, c.y, cross_entropy);
    }
    for (int i = 0; i < steps; ++i)
      for (std::size_t p = 0; p < 4; ++p)
        seconds[p].push_back(median(1, [&] { engines[p]->step(c.x, c.y, cross_entropy); }));
    for (auto& s : seconds) std::sort(s.begin(), s.end());
    const auto middle = static_cast<std::size_t>(steps / 2);
    for (std::size_t p = 0; p < 4; ++p) {
      const schedule::Trace& t = engines[p]->trace();
      std::printf("%-8s %-12s %10.2f %11.1f%%  %8.1f  %8.1f  %8.1f\n", c.name, plans[p].first,
                  1e3 * seconds[p][middle], 100 * seconds[p][middle] / seconds[0][middle],
                  1e3 * share(t, Op::Forward), 1e3 * share(t, Op::Backward),
                  1e3 * share(t, Op::BackwardWeights));
      if (!pictures.empty() && p > 1)
        std::ofstream(pictures + "/measured-" + c.name + (p == 2 ? "-1f1b.svg" : "-zero-bubble.svg"))
            << t.draw(viz::SvgChart{.seconds = engines[2]->trace().end()});
    }
  }
}
