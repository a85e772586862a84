#include <ATen/autocast_mode.h>

#include <pcomp/core.hpp>
#include <pcomp/runtime/report.hpp>

#include "../kernels/kernels.hpp"
#include "catch.hpp"
#include "net.hpp"

using namespace pcomp;

namespace {

struct Data {
  torch::Tensor x, y;
  Data(std::int64_t n, std::int64_t height, std::int64_t width, std::uint64_t seed,
       at::MemoryFormat format = at::MemoryFormat::Contiguous) {
    torch::manual_seed(seed);
    x = torch::randn({n, 3, height, width}).contiguous(format);
    y = torch::randint(10, {n});
  }
};

/// Two steps with an optimiser step in between, so that weights, statistics and gradients all have a chance to differ.
template <class Net>
torch::Tensor two_steps(Net&& step, const std::vector<torch::Tensor>& parameters, at::MemoryFormat format) {
  const Data a(10, 9, 7, 5, format), b(11, 9, 7, 6, format);
  torch::optim::SGD sgd(parameters, torch::optim::SGDOptions(0.05).momentum(0.9));
  const torch::Tensor first = step(a.x, a.y);
  sgd.step();
  sgd.zero_grad();
  return torch::stack({first, step(b.x, b.y)});
}

void check_equal(const std::vector<const kernel::WireKernels*>& wires, const schedule::ScheduleTable& table,
                 at::MemoryFormat format = at::MemoryFormat::Contiguous) {
  at::set_num_threads(1);
  net::Sequential plain(wires);
  std::vector<torch::Tensor> parameters;
  for (const auto& p : plain.parts)
    if (p.module)
      for (const torch::Tensor& t : p.module->parameters()) parameters.push_back(t);
  const torch::Tensor expected =
      two_steps([&](const torch::Tensor& x,
                    const torch::Tensor& y) { return plain.step(x, y, table.microbatches, cross_entropy); },
                parameters, format);

  Engine engine(net::one_thread_each(), net::stages(), wires, table);
  const torch::Tensor came = two_steps(
      [&](const torch::Tensor& x, const torch::Tensor& y) { return engine.step(x, y, cross_entropy); },
      engine.parameters(), format);
  INFO(table.policy << ' ' << table.microbatches << " micro-batches");
  CHECK(torch::equal(came, expected));
  CHECK(net::differing(net::state(engine), plain.state()) == 0);
  for (const runtime::BoundaryReport& b : engine.report().boundaries) {
    CHECK(b.forward.messages == 2 * table.microbatches);
    CHECK(b.gradient.messages == 2 * table.microbatches);
    CHECK(b.forward.bytes == b.forward.predicted);
    CHECK(b.gradient.bytes == b.gradient.predicted);
  }
}

}  // namespace

TEST_CASE("A pipeline equals the sequential loop to the last bit, for every wire") {
  for (const kernel::WireKernels* w : all_kernels()) {
    if (w->name.view().find("Downsample<64>") != std::string_view::npos) continue;
    INFO(w->name.view());
    const bool pools = w->name.view().find("Downsample") != std::string_view::npos;
    const auto* flat =
        pools ? &kernel::wire_kernels(Quant<8>) : w;  // the last boundary has no height and width
    check_equal({w, w, w, flat}, make_schedule(OneFOneB{}, 5, 4));
  }
}

TEST_CASE("A pipeline equals the sequential loop for channels-last tensors, which stay so") {
  const std::vector<const kernel::WireKernels*> wires{
      &kernel::wire_kernels(Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>),
      &kernel::wire_kernels(Wire<Quant<4>, Quant<8>>{}), &kernel::wire_kernels(Raw),
      &kernel::wire_kernels(BFloat16)};
  for (const schedule::RankMap& placement : {schedule::RankMap(), schedule::RankMap{0, 1, 2, 3, 0}})
    check_equal(wires, make_schedule(OneFOneB{}, 5, 4, placement), at::MemoryFormat::ChannelsLast);

  bool lies = false;
  auto stages = net::stages();
  stages[1] = runtime::stage_spec([&lies] {
    return [&lies](const torch::Tensor& x) {
      if (x.size(0) > 1) lies = x.is_contiguous(at::MemoryFormat::ChannelsLast);
      return x.relu().repeat({1, 2, 1, 1}).narrow(1, 0, 8);
    };
  });
  Engine engine(net::one_thread_each(), stages, wires, make_schedule(OneFOneB{}, 5, 4));
  const Data a(8, 9, 7, 5, at::MemoryFormat::ChannelsLast);
  engine.step(a.x, a.y, cross_entropy);
  CHECK(lies);
}

TEST_CASE("A pipeline equals the sequential loop under every schedule and placement") {
  const std::vector<const kernel::WireKernels*> wires{
      &kernel::wire_kernels(Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>),
      &kernel::wire_kernels(Wire<Quant<4>, Quant<8>>{}), &kernel::wire_kernels(Raw),
      &kernel::wire_kernels(BFloat16)};
  const std::vector<schedule::RankMap> placements{schedule::RankMap(),
                                                  schedule::RankMap{0, 1, 2, 3, 0},
                                                  round_robin(2),
                                                  schedule::RankMap{0, 0, 1, 1, 0},
                                                  schedule::RankMap{0, 0, 0, 0, 0},
                                                  schedule::RankMap{2, 1, 0, 1, 2}};
  for (std::size_t p = 0; p < placements.size(); ++p)
    for (int microbatches : {1, 3, 4, 8}) {
      INFO("placement " << p << ", micro-batches " << microbatches);
      check_equal(wires, make_schedule(GPipe{}, 5, microbatches, placements[p]));
      check_equal(wires, make_schedule(OneFOneB{}, 5, microbatches, placements[p]));
      check_equal(wires, make_schedule(ZeroBubble{}, 5, microbatches, placements[p]));
    }
}

namespace {

/// Computes every gradient, whichever are asked for, as a custom Function does.
struct Scale : torch::autograd::Function<Scale> {
  static torch::Tensor forward(torch::autograd::AutogradContext* ctx, const torch::Tensor& x,
                               const torch::Tensor& w) {
    ctx->save_for_backward({x, w});
    return x * w;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list g) {
    const auto saved = ctx->get_saved_variables();
    return {g[0] * saved[1], (g[0] * saved[0]).sum(0)};
  }
};

/// What is hard to split: a weight that is used three times, another that is computed, an in-place operation on the
/// input and one on a view, a skip connection, a parameter that is added, a tensor hook that changes its gradient, a
/// retained gradient, a parameter that is never used.
struct Knot : torch::nn::Module {
  explicit Knot(std::uint64_t seed, int* hook_calls) : calls(hook_calls) {
    torch::manual_seed(seed);
    w = register_parameter("w", torch::randn({6, 6}) / 3);
    g = register_parameter("g", torch::rand({6}) + 0.5);
    idle = register_parameter("idle", torch::randn({3}));
    norm = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({6})));
  }
  torch::Tensor forward(torch::Tensor x) {
    if (x.requires_grad()) x.mul_(1.25);  // not the batch itself
    const torch::Tensor computed = w * (g / w.norm());
    torch::Tensor h = torch::tanh(torch::linear(x, w));
    if (h.requires_grad()) {
      h.register_hook([c = calls](const torch::Tensor& d) {
        ++*c;
        return d * 0.5;
      });
      h.retain_grad();
    }
    h = Scale::apply(torch::linear(h, computed) + x, g);
    h.narrow(1, 0, 2).mul_(g.narrow(0, 0, 2));
    h = torch::linear(norm(h), computed) + torch::linear(h, w);
    kept = h;
    return torch::linear(h, w.t()) + x + g;
  }
  torch::Tensor w, g, idle, kept;
  torch::nn::LayerNorm norm{nullptr};
  int* calls;
};

}  // namespace

TEST_CASE("A split backward equals a whole one where it is hard to split") {
  at::set_num_threads(1);
  struct Result {
    std::vector<torch::Tensor> all;
    int calls = 0;
  };
  const auto run = [](const schedule::ScheduleTable& table) {
    Result r;
    std::vector<runtime::StageSpec> stages;
    for (std::uint64_t s = 0; s < 3; ++s)
      stages.push_back(runtime::stage_spec([s, &r] { return std::make_shared<Knot>(s, &r.calls); }));
    Engine engine(net::one_thread_each(), std::move(stages),
                  std::vector<const kernel::WireKernels*>(2, &kernel::wire_kernels(Quant<8>)), table);
    torch::manual_seed(9);
    for (int i = 0; i < 2; ++i)
      r.all.push_back(engine.step(torch::randn({13, 6}), torch::randint(6, {13}), cross_entropy));
    for (const torch::Tensor& p : engine.parameters()) r.all.push_back(p.grad());
    return r;
  };
  // Hooks run on the ranks' threads; there is one rank, so that counting them is not a race.
  const Result whole = run(make_schedule(OneFOneB{}, 3, 4, {0, 0, 0}));
  const Result split = run(make_schedule(ZeroBubble{}, 3, 4, {0, 0, 0}));
  CHECK(net::differing(whole.all, split.all) == 0);
  CHECK(whole.calls == 2 * 4 * 3);
  CHECK(split.calls == whole.calls);
}

namespace {
/// Runs every forward of stage 0 long before its consumer: more payloads than there are buffers are ready before their
/// places in the row, and the receiver wants something else first.
struct Eager {
  static constexpr const char* name = "eager";
  static constexpr bool backward = true;
  static constexpr std::int64_t tick(Op op, int stage, int micro, schedule::PipelineDims) {
    if (op == Op::Backward) return 10000 + 10 * micro - stage;
    return stage == 0 ? micro : 100 + 10 * micro + stage;
  }
};
}  // namespace

TEST_CASE("A payload that is ready before its place waits for it rather than for a buffer") {
  check_equal(std::vector<const kernel::WireKernels*>(4, &kernel::wire_kernels(Quant<8>)),
              make_schedule(Eager{}, 5, 8, {0, 1, 0, 1, 0}));
}

TEST_CASE("Rows of one's own send in their order, whatever is computed first") {
  at::set_num_threads(1);
  std::vector<std::vector<Action>> rows(2);
  for (const Action& a : {Action{Op::Forward, 0, 0}, {Op::Forward, 0, 1}, {Op::Send, 0, 1}, {Op::Send, 0, 0}})
    rows[0].push_back(a);
  for (int micro : {1, 0}) {
    rows[1].push_back({Op::Recv, 1, micro});
    for (int stage : {1, 2, 3, 4}) rows[1].push_back({Op::Forward, stage, micro});
  }
  for (int micro : {0, 1}) {
    for (int stage : {4, 3, 2, 1}) rows[1].push_back({Op::Backward, stage, micro});
    rows[1].push_back({Op::SendGrad, 1, micro});
    rows[0].push_back({Op::RecvGrad, 0, micro});
    rows[0].push_back({Op::Backward, 0, micro});
  }
  const schedule::ScheduleTable mine("mine", {5, 2}, {true, false}, {0, 1, 1, 1, 1}, rows);
  const auto run = [](const schedule::ScheduleTable& table) {
    Engine engine(net::one_thread_each(), net::stages(),
                  std::vector<const kernel::WireKernels*>(4, &kernel::wire_kernels(Quant<8>)), table);
    const Data data(10, 9, 7, 5, at::MemoryFormat::Contiguous);
    std::vector<torch::Tensor> all{engine.step(data.x, data.y, cross_entropy)};
    for (const torch::Tensor& p : engine.parameters()) all.push_back(p.grad());
    return all;
  };
  CHECK(net::differing(run(mine), run(make_schedule(GPipe{}, 5, 2, {0, 1, 1, 1, 1}))) == 0);
}

TEST_CASE("Frozen stages only run forward, and the others train as in the loop") {
  at::set_num_threads(1);
  const std::vector<const kernel::WireKernels*> wires{
      &kernel::wire_kernels(EF21 | Quant<4>), &kernel::wire_kernels(Wire<Quant<4>, Quant<8>>{}),
      &kernel::wire_kernels(Raw), &kernel::wire_kernels(TopK<Ratio<1, 4>> | Quant<8>)};
  const Data data(10, 9, 7, 5);
  for (const schedule::ScheduleTable& table :
       {make_schedule(GPipe{}, 5, 4), make_schedule(OneFOneB{}, 5, 4, {0, 1, 2, 3, 0}),
        make_schedule(ZeroBubble{}, 5, 3, {0, 0, 1, 1, 0}),
        make_schedule(Interleaved{}, 5, 4, round_robin(2)),
        make_schedule(OneFOneB{}, 5, 4, {0, 0, 0, 0, 0})}) {
    INFO(table.policy << ", ranks " << table.ranks);
    net::Sequential plain(wires);
    Engine engine(net::one_thread_each(), net::stages(), wires, table);
    std::vector<std::int64_t> gradients(4), forward(4);
    for (int frozen : {2, 4, 0, 1}) {
      INFO(frozen << " frozen");
      engine.freeze(frozen);
      CHECK(engine.schedule().frozen() == frozen);
      for (int s = 0; s < 5; ++s)
        if (const auto& m = plain.parts[static_cast<std::size_t>(s)].module)
          for (torch::Tensor p : m->parameters()) p.requires_grad_(s >= frozen);
      for (int i = 0; i < 2; ++i)
        CHECK(torch::equal(engine.step(data.x, data.y, cross_entropy),
                           plain.step(data.x, data.y, table.microbatches, cross_entropy)));
      CHECK(net::differing(net::state(engine), plain.state()) == 0);
      for (std::size_t e = 0; e < 4; ++e) {
        forward[e] += 2 * table.microbatches;
        gradients[e] += static_cast<int>(e) >= frozen ? 2 * table.microbatches : 0;
        const runtime::BoundaryReport b = engine.report().boundaries[e];
        CHECK(b.forward.messages == forward[e]);
        CHECK(b.gradient.messages == gradients[e]);
        CHECK(b.gradient.bytes == b.gradient.predicted);
      }
    }
    CHECK_THROWS_AS(engine.freeze(5), Error);
  }
}

TEST_CASE("A step can be recorded, operation by operation") {
  Engine engine(net::one_thread_each(), net::stages(),
                std::vector<const kernel::WireKernels*>(4, &kernel::wire_kernels(Raw)),
                make_schedule(ZeroBubble{}, 5, 4, {0, 1, 1, 0, 1}));
  const Data data(8, 9, 7, 1);
  engine.step(data.x, data.y, cross_entropy);
  CHECK(engine.trace().ranks.empty());
  engine.record();
  engine.step(data.x, data.y, cross_entropy);
  const schedule::Trace& trace = engine.trace();
  REQUIRE(trace.ranks.size() == 2);
  for (int r = 0; r < 2; ++r) {
    std::vector<Action> computed, planned;
    double last = 0;
    for (const schedule::Interval& i : trace.ranks[static_cast<std::size_t>(r)]) {
      CHECK(i.begin >= last);
      CHECK(i.end >= i.begin);
      last = i.end;
      if (schedule::is_compute(i.op)) computed.push_back({i.op, i.stage, i.micro});
    }
    for (const Action& a : engine.schedule().row(r))
      if (schedule::is_compute(a.op)) planned.push_back(a);
    CHECK((computed == planned));
  }
  CHECK(trace.draw().find("zero bubble (ZB-H1), 5 stages on 2 ranks, 4 micro-batches, measured") == 0);
  CHECK(runtime::total_trace(engine).draw() == trace.draw());

  const runtime::Report report = engine.report();
  std::int64_t crossed = 0;
  for (const runtime::BoundaryReport& b : report.boundaries)
    if (b.from_rank != b.to_rank) crossed += b.forward.bytes + b.gradient.bytes;
  for (const runtime::RankReport& r : report.ranks) {
    CHECK(r.compute > 0);
    CHECK(r.encode > 0);
    CHECK(r.decode > 0);
    CHECK(r.busy() + r.wait + r.send <= r.steps);
  }
  CHECK(report.bytes(0) + report.bytes(1) == crossed);
  for (const runtime::StageReport& s : report.stages) CHECK(s.microbatches == 2 * 4);
  CHECK(report.step.seconds > 0);
}

TEST_CASE("A pipeline equals the sequential loop under Megatron's interleaving") {
  const std::vector<const kernel::WireKernels*> wires(4, &kernel::wire_kernels(Quant<8>));
  for (int ranks : {1, 2, 3})
    for (int microbatches : {1, 2, 4, 7})
      check_equal(wires, make_schedule(Interleaved{}, 5, microbatches, round_robin(ranks)));
}

TEST_CASE(
    "Inference equals the sequential loop in evaluation mode, also for fewer samples than micro-batches") {
  at::set_num_threads(1);
  const std::vector<const kernel::WireKernels*> wires(4, &kernel::wire_kernels(TopK<Ratio<1, 4>> | Quant<8>));
  net::Sequential plain(wires);
  for (auto& p : plain.parts)
    if (p.module) p.module->eval();
  Engine engine(net::one_thread_each(), net::stages(), wires, make_schedule(OneFOneB{}, 5, 4));
  engine.eval();
  const torch::NoGradGuard no_grad;
  for (std::int64_t n : {1, 3, 4, 9}) {
    const Data data(n, 8, 8, 3);
    std::vector<torch::Tensor> outputs;
    for (const auto& part : training::split(n, static_cast<int>(std::min<std::int64_t>(n, 4))))
      outputs.push_back(plain.forward(data.x.narrow(0, part.first, part.count)));
    const torch::Tensor came = engine.infer(data.x);
    CHECK(torch::equal(came, torch::cat(outputs)));
    CHECK_FALSE(came.requires_grad());
  }
}

TEST_CASE("Learning the shapes leaves modes, statistics and random numbers alone") {
  const std::vector<const kernel::WireKernels*> wires(4, &kernel::wire_kernels(Raw));
  Engine engine(net::one_thread_each(), net::stages(), wires, make_schedule(GPipe{}, 5, 2));
  auto& body = dynamic_cast<net::Body&>(*engine.module(1));
  body.norm->eval();
  const torch::Tensor mean = body.norm->running_mean.clone();
  const Data data(4, 8, 8, 3);
  torch::manual_seed(11);
  const torch::Tensor expected = torch::rand({4});
  torch::manual_seed(11);
  engine.step(data.x, data.y, cross_entropy);
  CHECK(torch::equal(torch::rand({4}), expected));
  CHECK_FALSE(body.norm->is_training());
  CHECK(body.conv->is_training());
  CHECK(torch::equal(body.norm->running_mean, mean));

  Engine noisy(net::one_thread_each(), {runtime::stage_spec([] {
                 return [](const torch::Tensor& x) { return x + torch::rand({1, 6}); };
               })},
               {}, make_schedule(GPipe{}, 1, 1));
  torch::manual_seed(12);
  const torch::Tensor drawn = torch::rand({1, 6});
  torch::manual_seed(12);
  CHECK(torch::equal(noisy.infer(torch::zeros({2, 6})), drawn.expand({2, 6})));
}

namespace {

struct InPlace : torch::nn::Module {
  InPlace() {
    torch::manual_seed(3);
    linear = register_module("linear", torch::nn::Linear(6, 6));
  }
  torch::Tensor forward(torch::Tensor x) {
    x.sub_(0.5).mul_(2).unsqueeze_(1);
    return linear(x).squeeze(1);
  }
  torch::nn::Linear linear{nullptr};
};

/// A loss that changes the targets too.
torch::Tensor shifted_error(const torch::Tensor& o, torch::Tensor target) {
  return torch::mse_loss(o, target.add_(1));
}

struct Autocast {
  Autocast() { set(true); }
  Autocast(const Autocast&) = delete;
  ~Autocast() { set(false); }
  static void set(bool on) {
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::set_autocast_cache_enabled(!on);
    at::autocast::set_autocast_enabled(at::kCPU, on);
  }
};

torch::Tensor float_cross_entropy(const torch::Tensor& o, const torch::Tensor& y) {
  return cross_entropy(o.to(at::kFloat), y);
}

}  // namespace

TEST_CASE("A stage that works in place on the batch equals the loop, and changes it once") {
  at::set_num_threads(1);
  for (const schedule::ScheduleTable& table :
       {make_schedule(GPipe{}, 2, 4), make_schedule(OneFOneB{}, 2, 4), make_schedule(ZeroBubble{}, 2, 4)}) {
    InPlace a, b;
    const auto stage = runtime::stage_spec([] { return std::make_shared<InPlace>(); });
    Engine engine(net::one_thread_each(), {stage, stage}, {&kernel::wire_kernels(Raw)}, table);
    torch::manual_seed(5);
    for (std::int64_t n : {11, 8, 11}) {
      const torch::Tensor x = torch::randn({n, 6}), y = torch::randn({n, 6});
      torch::Tensor mine = x.clone(), targets = y.clone(), sum = torch::zeros({});
      for (const training::SampleRange& m : training::split(n, 4)) {
        const torch::Tensor l =
            shifted_error(b.forward(boundary<Raw>(a.forward(mine.narrow(0, m.first, m.count)))),
                          targets.narrow(0, m.first, m.count)) *
            m.weight;
        l.backward();
        sum = sum + l.detach();
      }
      CHECK(torch::equal(engine.step(x, y, shifted_error), sum));
      CHECK(torch::equal(x, mine));
      CHECK(torch::equal(y, targets));
    }
    std::vector<torch::Tensor> expected;
    net::Sequential::collect(a, expected), net::Sequential::collect(b, expected);
    CHECK(net::differing(net::state(engine), expected) == 0);
    const torch::Tensor x = torch::randn({9, 6});
    CHECK(torch::equal(engine.infer(x.clone()), engine.infer(x.clone())));
  }
}

TEST_CASE("A pipeline equals the sequential loop under the autocast of each call") {
  at::set_num_threads(1);
  const std::vector<const kernel::WireKernels*> wires(4, &kernel::wire_kernels(Raw));
  net::Sequential plain(wires);
  Engine engine(net::one_thread_each(), net::stages(), wires, make_schedule(OneFOneB{}, 5, 1));
  const Data data(4, 9, 7, 3);
  for (bool on : {false, true, false, true}) {
    std::optional<Autocast> autocast;
    if (on) autocast.emplace();
    const torch::Tensor loss = plain.step(data.x, data.y, 1, float_cross_entropy);
    CHECK(torch::equal(engine.step(data.x, data.y, float_cross_entropy), loss));
    CHECK(net::differing(net::state(engine), plain.state()) == 0);
    const torch::NoGradGuard none;
    const torch::Tensor output = plain.forward(data.x);
    CHECK(torch::equal(engine.infer(data.x), output));
    CHECK(output.scalar_type() == (on ? at::kBFloat16 : at::kFloat));
  }
}
