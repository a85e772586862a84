#include <pcomp/pcomp.hpp>
#include <thread>

#include "catch.hpp"
#include "net.hpp"

using namespace pcomp;

namespace {

bool has(const std::string& text, const std::string& part) {
  INFO(text);
  return text.find(part) != std::string::npos;
}

/// When armed, throws in the forward or the backward pass.
struct Bomb {
  enum When { never, forward_pass, backward_pass };
  std::shared_ptr<When> when = std::make_shared<When>(never);
  std::shared_ptr<int> countdown = std::make_shared<int>(0);
  torch::Tensor forward(const torch::Tensor& x) const {
    if (!at::GradMode::is_enabled()) return x * 1;
    if (*when == forward_pass && (*countdown)-- == 0) throw std::runtime_error("the fuse is out");
    torch::Tensor y = x * 1;
    if (y.requires_grad())
      y.register_hook([w = when, n = countdown](const torch::Tensor& g) {
        if (*w == backward_pass && (*n)-- == 0) throw std::runtime_error("the fuse is out");
        return g;
      });
    return y;
  }
};

/// Stage 0: something to train.
struct First : torch::nn::Module {
  First(Bomb b, torch::nn::Linear l) : bomb(std::move(b)), linear(register_module("linear", l)) {}
  torch::Tensor forward(const torch::Tensor& x) { return bomb.forward(linear(x)); }
  Bomb bomb;
  torch::nn::Linear linear;
};

struct Fixture {
  std::vector<Bomb> bombs{4};
  torch::nn::Linear linear{torch::nn::Linear(6, 6)};
  torch::Tensor x = torch::randn({8, 6}), y = torch::randint(6, {8});

  template <class P = OneFOneB>
  Engine engine(const schedule::RankMap& where, P policy = {},
                std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
    std::vector<runtime::StageSpec> stages;
    stages.push_back(
        runtime::stage_spec([b = bombs[0], l = linear] { return std::make_shared<First>(b, l); }));
    for (std::size_t s = 1; s < 4; ++s) stages.push_back(runtime::stage_spec([b = bombs[s]] { return b; }));
    World world = net::one_thread_each();
    world.timeout = timeout;
    return Engine(world, std::move(stages),
                  std::vector<const kernel::WireKernels*>(3, &kernel::wire_kernels(Quant<8>)),
                  make_schedule(policy, 4, 4, where));
  }
};

}  // namespace

TEST_CASE("A stage that throws ends the step on every rank with one error, and the next step works") {
  for (const schedule::RankMap& where :
       {schedule::RankMap(), schedule::RankMap{0, 1, 2, 0}, schedule::RankMap{0, 0, 0, 0}})
    for (int stage = 0; stage < 4; ++stage)
      for (Bomb::When when : {Bomb::forward_pass, Bomb::backward_pass})
        for (int micro : {0, 2, 3}) {
          Fixture f;
          Engine engine = f.engine(where);
          const float fine = engine.step(f.x, f.y, cross_entropy).item<float>();
          Bomb& bomb = f.bombs[static_cast<std::size_t>(stage)];
          *bomb.when = when;
          *bomb.countdown = micro;
          const std::string text = thrown([&] { engine.step(f.x, f.y, cross_entropy); });
          CHECK(has(text, "stage " + std::to_string(stage) + ", micro-batch " + std::to_string(micro)));
          CHECK(has(text,
                    when == Bomb::forward_pass ? "Forward: the fuse is out" : "Backward: the fuse is out"));
          CHECK(has(text, "pcomp: rank "));
          *bomb.when = Bomb::never;
          CHECK(engine.step(f.x, f.y, cross_entropy).item<float>() == fine);
        }
}

TEST_CASE("Under a split backward an error names the half, and the next step works") {
  for (const schedule::RankMap& where : {schedule::RankMap(), schedule::RankMap{0, 1, 2, 0}})
    for (int stage = 0; stage < 4; ++stage) {
      Fixture f;
      Engine engine = f.engine(where, ZeroBubble{});
      const float fine = engine.step(f.x, f.y, cross_entropy).item<float>();
      Bomb& bomb = f.bombs[static_cast<std::size_t>(stage)];
      *bomb.when = Bomb::backward_pass;
      *bomb.countdown = 2;
      const std::string text = thrown([&] { engine.step(f.x, f.y, cross_entropy); });
      CHECK(has(text, "stage " + std::to_string(stage) + ", micro-batch 2, " +
                          (stage == 0 ? "BackwardWeights" : "Backward") + ": the fuse is out"));
      *bomb.when = Bomb::never;
      CHECK(engine.step(f.x, f.y, cross_entropy).item<float>() == fine);
    }
}

TEST_CASE("A loss that throws, or is no number, names the micro-batch") {
  Fixture f;
  Engine engine = f.engine({});
  CHECK(has(thrown([&] {
              engine.step(f.x, f.y, [](const torch::Tensor&, const torch::Tensor&) -> torch::Tensor {
                throw std::domain_error("no");
              });
            }),
            "rank 3, stage 3, micro-batch 0, Forward: no"));
  CHECK(has(
      thrown([&] { engine.step(f.x, f.y, [](const torch::Tensor& o, const torch::Tensor&) { return o; }); }),
      "the loss must be one number, not a tensor of shape 2x6"));
  CHECK(has(thrown([&] {
              engine.step(f.x, f.y,
                          [](const torch::Tensor&, const torch::Tensor&) { return torch::Tensor(); });
            }),
            "the loss must be one number, not an undefined tensor"));
}

TEST_CASE("A step or an inference that failed counts as none in the report") {
  int fuse = -1;
  const auto same = runtime::stage_spec([&fuse] {
    return [&fuse](const torch::Tensor& x) {
      if (fuse >= 0 && fuse-- == 0) throw std::runtime_error("out of order");
      return x * 1;
    };
  });
  Fixture f;
  Engine engine(net::one_thread_each(), {runtime::stage_spec([l = f.linear] { return l; }), same},
                {&kernel::wire_kernels(Quant<8>)}, make_schedule(GPipe{}, 2, 4));
  engine.step(f.x, f.y, cross_entropy);
  engine.infer(f.x);
  const runtime::Report before = engine.report();
  for (bool trains : {true, false}) {
    fuse = 2;
    CHECK(has(thrown([&] { trains ? engine.step(f.x, f.y, cross_entropy) : engine.infer(f.x); }),
              "stage 1, micro-batch 2, Forward: out of order"));
    const runtime::Report after = engine.report();
    for (std::size_t r = 0; r < 2; ++r) {
      CHECK(after.ranks[r].busy() == before.ranks[r].busy());
      CHECK(after.stages[r].microbatches == before.stages[r].microbatches);
    }
  }
  engine.step(f.x, f.y, cross_entropy);
  engine.infer(f.x);
  const runtime::BoundaryReport b = engine.report().boundaries[0];
  for (const runtime::Traffic& t : {b.forward, b.gradient, b.inference}) {
    CHECK(t.messages == 2 * 4);
    CHECK(t.bytes == t.predicted);
  }
}

TEST_CASE("Batches that cannot be split are refused before anything runs") {
  Fixture f;
  Engine engine = f.engine({});
  CHECK(has(thrown([] { (void)training::split(3, 4); }),
            "a batch of 3 samples cannot be split into 4 micro-batches"));
  CHECK(has(thrown([&] { engine.step(f.x, f.y.narrow(0, 0, 7), cross_entropy); }),
            "the batch has 8 samples, but the targets are 7"));
  CHECK(has(thrown([&] { engine.step(torch::Tensor(), f.y, cross_entropy); }), "undefined tensor"));
  CHECK(has(thrown([&] {
              engine.step(torch::randn({0, 6}), f.y, cross_entropy);
            }),
            "at least 1 sample, not 0x6"));
  CHECK(has(thrown([&] { engine.infer(torch::randn({4, 5})); }), "stage 0 cannot take one sample"));
}

TEST_CASE("A stage that hangs longer than the time limit is an error on its neighbours") {
  Fixture f;
  std::vector<runtime::StageSpec> stages{runtime::stage_spec([l = f.linear] { return l; }),
                                         runtime::stage_spec([] {
                                           return [](const torch::Tensor& x) {
                                             if (at::GradMode::is_enabled())
                                               std::this_thread::sleep_for(std::chrono::milliseconds(400));
                                             return x * 1;
                                           };
                                         })};
  World world = net::one_thread_each();
  world.timeout = std::chrono::milliseconds(50);
  Engine engine(world, std::move(stages), {&kernel::wire_kernels(Raw)}, make_schedule(GPipe{}, 2, 2));
  const std::string text = thrown([&] { engine.step(f.x, f.y, cross_entropy); });
  CHECK(has(text, "rank 0, stage 0"));
  CHECK(has(text, "waited 50 ms for its peer over boundary 0, the time limit"));
}

TEST_CASE("Wires and stages that do not fit the schedule are refused") {
  Fixture f;
  const auto stage = runtime::stage_spec([] { return [](const torch::Tensor& x) { return x; }; });
  const World world = net::one_thread_each();
  CHECK(has(thrown([&] { Engine(world, {stage}, {}, make_schedule(GPipe{}, 2, 2)); }),
            "2 stages needs as many stages and one wire fewer, not 1 stages and 0 wires"));
  CHECK(has(thrown([&] { Engine(world, {stage}, {}, make_schedule(ForwardOnly{}, 1, 2)); }),
            "training needs a schedule with backward passes"));
  std::vector<std::vector<Action>> rows(2);  // rank 0 sends everything before it receives anything
  for (int m = 0; m < 8; ++m) {
    rows[0].push_back({Op::Forward, 0, m});
    rows[0].push_back({Op::Send, 0, m});
    rows[1].push_back({Op::Recv, 1, m});
    rows[1].push_back({Op::Forward, 1, m});
    rows[1].push_back({Op::Backward, 1, m});
    rows[1].push_back({Op::SendGrad, 1, m});
  }
  for (int m = 0; m < 8; ++m)
    rows[0].push_back({Op::RecvGrad, 0, m}), rows[0].push_back({Op::Backward, 0, m});
  const schedule::ScheduleTable mine("mine", {2, 8}, {true, false}, {0, 1}, rows, 4);
  CHECK(has(thrown([&] {
              Engine(world, {stage, stage}, {&kernel::wire_kernels(Raw)}, mine);
            }),
            "this schedule needs more than 2 messages in flight on a boundary"));
  CHECK(has(thrown([&] {
              Engine(
                  world,
                  {runtime::stage_spec([]() -> torch::nn::Linear { throw std::runtime_error("no memory"); })},
                  {}, make_schedule(GPipe{}, 1, 1));
            }),
            "no memory"));
}

TEST_CASE("A stage that changes the batch dimension or the dtype to something no wire takes is named") {
  Fixture f;
  const auto same = runtime::stage_spec([] { return [](const torch::Tensor& x) { return x; }; });
  const auto flat = runtime::stage_spec([] {
    return [](const torch::Tensor& x) { return x.reshape({-1, 1}); };
  });
  const auto whole =
      runtime::stage_spec([] { return [](const torch::Tensor& x) { return x.to(at::kInt); }; });
  const World world = net::one_thread_each();
  Engine a(world, {flat, same}, {&kernel::wire_kernels(Raw)}, make_schedule(GPipe{}, 2, 2));
  CHECK(has(thrown([&] { a.infer(f.x); }),
            "stage 0 made 6x1 of one sample: the first dimension must stay the batch"));
  Engine b(world, {whole, same}, {&kernel::wire_kernels(Raw)}, make_schedule(GPipe{}, 2, 2));
  CHECK(has(thrown([&] { b.infer(f.x); }), "a boundary takes float, bfloat16 or half, not Int"));
  CHECK(has(thrown([&] { b.infer(f.x); }), "pcomp: boundary 0, behind stage 0: a boundary takes"));
  const auto type = std::make_shared<at::ScalarType>(at::kFloat);
  const auto cast =
      runtime::stage_spec([type] { return [type](const torch::Tensor& x) { return x.to(*type); }; });
  Engine d(world, {same, cast, same}, {&kernel::wire_kernels(Raw), &kernel::wire_kernels(Raw)},
           make_schedule(GPipe{}, 3, 2));
  d.infer(f.x);
  *type = at::kBFloat16;
  CHECK(has(
      thrown([&] { d.infer(f.x); }),
      "stage 1, micro-batch 0, Forward: the output is BFloat16, but one sample of this shape gave Float"));
  *type = at::kFloat;
  d.infer(f.x);
  Engine c(world, {same, same}, {&kernel::wire_kernels(Downsample<2>)}, make_schedule(GPipe{}, 2, 2));
  CHECK(has(thrown([&] { c.infer(torch::randn({4})); }), "Downsample"));
}

TEST_CASE("A stage is given its input where its parameters are, a device that no boundary reads is refused") {
  struct Scale : torch::nn::Module {
    explicit Scale(at::Device where) { by = register_parameter("by", torch::ones({6}, where)); }
    torch::Tensor forward(const torch::Tensor& x) { return x * by; }
    torch::Tensor by;
  };
  const auto scale = [](at::Device where) {
    return runtime::stage_spec([where] { return std::make_shared<Scale>(where); });
  };
  CHECK(scale(at::kCPU).build().device == at::kCPU);
  CHECK(scale(at::kMeta).build().device == at::kMeta);
  Engine engine(net::one_thread_each(), {scale(at::kMeta), scale(at::kCPU)}, {&kernel::wire_kernels(Raw)},
                make_schedule(GPipe{}, 2, 2));
  CHECK(has(thrown([&] {
              engine.infer(torch::randn({4, 6}));
            }),
            "a boundary takes a dense CPU or CUDA tensor, not"));
}
