// The table "Training": one case a row. With -DPCOMP_BASE it compiles against the headers from before, where it fails.
#include <ATen/autocast_mode.h>
#include <caffe2/serialize/inline_container.h>
#include <torch/torch.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <pcomp/autograd/boundary.hpp>
#include <pcomp/checkpoint/checkpoint.hpp>
#include <pcomp/core.hpp>
#include <pcomp/kernel/wire_kernels.hpp>
#include <pcomp/runtime/pipeline.hpp>
#include <pcomp/runtime/process_setup.hpp>

#include "../../unit/torch/catch.hpp"

namespace trust_training {

using namespace pcomp;
namespace nn = torch::nn;

namespace {

bool has(const std::string& text, const std::string& part) {
  UNSCOPED_INFO(text);
  return text.find(part) != std::string::npos;
}
World one() {
  World world = World::threads();
  world.threads_per_rank = 1;
  return world;
}
runtime::StageSpec linear(int in, int out) {
  return runtime::stage_spec([=] { return nn::Linear(in, out); });
}
/// A stage that is a module of its own: parameters of a linear layer, and what it does with them.
struct Own : nn::Module {
  using Forward = std::function<at::Tensor(Own&, const at::Tensor&)>;
  Own(int in, int out, Forward f) : forward_(std::move(f)) {
    layer = register_module("layer", nn::Linear(in, out));
  }
  at::Tensor forward(const at::Tensor& x) { return forward_(*this, x); }
  nn::Linear layer{nullptr};
  Forward forward_;
};
runtime::StageSpec own(int in, int out, Own::Forward f, bool trains = true) {
  return runtime::stage_spec([=] {
    auto m = std::make_shared<Own>(in, out, f);
    if (!trains)
      for (at::Tensor& p : m->parameters()) p.requires_grad_(false);
    return m;
  });
}
template <class F>
runtime::StageSpec function(F f) {
  return runtime::stage_spec([f] { return f; });
}
const kernel::WireKernels* raw() { return &kernel::wire_kernels(Raw); }
const kernel::WireKernels* lossy() { return &kernel::wire_kernels(Quant<8>); }

/// Parts of a batch as the README says: sizes that differ by at most one, larger ones first.
std::vector<std::pair<std::int64_t, std::int64_t>> parts(std::int64_t n, int microbatches) {
  std::vector<std::pair<std::int64_t, std::int64_t>> all;
  std::int64_t first = 0;
  for (int m = 0; m < microbatches; ++m) {
    const std::int64_t size = n / microbatches + (m < n % microbatches ? 1 : 0);
    all.emplace_back(first, size);
    first += size;
  }
  return all;
}
std::vector<at::Tensor> grads(const std::vector<at::Tensor>& parameters) {
  std::vector<at::Tensor> all;
  for (const at::Tensor& p : parameters) all.push_back(p.grad().defined() ? p.grad().clone() : at::Tensor());
  return all;
}
void no_grads(const std::vector<at::Tensor>& parameters) {
  for (at::Tensor p : parameters) p.mutable_grad() = at::Tensor();
}
bool same(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a[i].defined() != b[i].defined() || (a[i].defined() && !torch::equal(a[i], b[i]))) return false;
  return true;
}
bool close(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!torch::allclose(a[i], b[i], 1e-4, 1e-6)) return false;
  return true;
}
void copy_weights(const std::vector<at::Tensor>& from, const std::vector<at::Tensor>& to) {
  const torch::NoGradGuard no_grad;
  REQUIRE(from.size() == to.size());
  for (std::size_t i = 0; i < from.size(); ++i) at::Tensor(to[i]).copy_(from[i]);
}
/// Every policy, on three stages.
template <class F>
void each_schedule(int microbatches, const schedule::RankMap& where, F&& f) {
  f(make_schedule(GPipe{}, 3, microbatches, where));
  f(make_schedule(OneFOneB{}, 3, microbatches, where));
  f(make_schedule(ZeroBubble{}, 3, microbatches, where));
}

}  // namespace

TEST_CASE("One module in two stages is listed once and stepped once by the summed gradient", "[trust]") {
  at::set_num_threads(1);
  torch::manual_seed(1);
  const nn::Embedding shared(10, 8);
  const nn::Linear middle(8, 8);
  struct First : nn::Module {
    explicit First(nn::Embedding s) { e = register_module("e", s); }
    at::Tensor forward(const at::Tensor& x) { return e(x); }
    nn::Embedding e{nullptr};
  };
  struct Last : nn::Module {
    explicit Last(nn::Embedding s) { e = register_module("e", s); }
    at::Tensor forward(const at::Tensor& x) { return torch::linear(x, e->weight); }
    nn::Embedding e{nullptr};
  };
  const at::Tensor x = torch::randint(10, {8}), y = torch::randint(10, {8});
  const std::vector<at::Tensor> all{shared->weight, middle->weight, middle->bias};

  for (int microbatches : {1, 4, 8}) {
    no_grads(all);
    for (auto [first, n] : parts(8, microbatches)) {
      const at::Tensor o =
          torch::linear(nn::Linear(middle)(nn::Embedding(shared)(x.narrow(0, first, n))), shared->weight);
      (at::cross_entropy_loss(o, y.narrow(0, first, n)) * (static_cast<double>(n) / 8)).backward();
    }
    const auto expected = grads(all);
    for (const schedule::RankMap& where : {schedule::RankMap{0, 1, 2}, schedule::RankMap{0, 1, 0},
                                           schedule::RankMap{0, 0, 0}, schedule::RankMap{1, 0, 1}})
      each_schedule(microbatches, where, [&](const schedule::ScheduleTable& table) {
        INFO(table.policy << ' ' << microbatches);
        for (const bool tied : {false, true}) {  // the last stage registers the module, or uses it without
          Engine pipe(
              one(),
              {runtime::stage_spec([&] { return std::make_shared<First>(shared); }),
               runtime::stage_spec([&] { return middle; }),
               tied ? function([w = shared](const at::Tensor& h) { return torch::linear(h, w->weight); })
                    : runtime::stage_spec([&] { return std::make_shared<Last>(shared); })},
              {raw(), raw()}, table);
          REQUIRE(pipe.parameters().size() == 3);
          for (int again = 0; again < 2; ++again) {
            no_grads(all);
            pipe.step(x, y, cross_entropy);
            CHECK(same(grads(all), expected));
          }
          std::vector<at::Tensor> before;
          for (const at::Tensor& p : all) before.push_back(p.detach().clone());
          torch::optim::SGD sgd(pipe.parameters(), 1.0);
          sgd.step();
          CHECK(torch::equal(shared->weight.detach(), before[0] - shared->weight.grad()));
          copy_weights(before, all);
        }
      });
  }
}

TEST_CASE("A loss without a graph is an Error that names the last stage", "[trust]") {
  const at::Tensor x = torch::randn({8, 16}), y = torch::randint(4, {8});
  const at::Tensor mine = torch::zeros({}).requires_grad_();
  const std::vector<training::Loss> losses{
      [](const at::Tensor& o, const at::Tensor& t) { return at::cross_entropy_loss(o.detach(), t); },
      [](const at::Tensor& o, const at::Tensor& t) {
        const torch::NoGradGuard no_grad;
        return at::cross_entropy_loss(o, t);
      },
      [](const at::Tensor& o, const at::Tensor& t) { return (o.argmax(1) != t).sum().to(at::kFloat); },
      [mine](const at::Tensor& o, const at::Tensor&) { return o.detach().sum() * 0 + mine; }};
  for (std::size_t i = 0; i < losses.size(); ++i)
    for (int stages : {1, 2}) {
      INFO(i << ' ' << stages);
      std::vector<runtime::StageSpec> specs{linear(16, 16), linear(16, 16)};
      specs.resize(static_cast<std::size_t>(stages - 1));
      specs.push_back(linear(16, 4));
      const std::vector<const kernel::WireKernels*> wires(static_cast<std::size_t>(stages - 1), raw());
      for (const bool split : {false, true}) {
        Engine pipe(one(), specs, wires,
                    split ? make_schedule(ZeroBubble{}, stages, 2) : make_schedule(GPipe{}, stages, 2));
        const std::string text = thrown([&] { pipe.step(x, y, losses[i]); });
        CHECK(has(text, "stage " + std::to_string(stages - 1) + ", micro-batch 0, Forward"));
        CHECK(has(text, "the loss does not depend on the output"));
        CHECK(thrown([&] { pipe.step(x, y, cross_entropy); }) == "nothing");
      }
    }
  // Where nothing is to be trained, a loss has no graph.
  Engine frozen(one(),
                {own(
                    16, 4, [](Own& m, const at::Tensor& h) { return m.layer(h); }, false)},
                {}, make_schedule(GPipe{}, 1, 2));
  CHECK(thrown([&] { frozen.step(x, y, cross_entropy); }) == "nothing");
}

namespace {
/// Hides its weight from autograd.
struct Hidden : torch::autograd::Function<Hidden> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x,
                            const nn::Linear* layer) {
    ctx->save_for_backward({x});
    const torch::NoGradGuard no_grad;
    return torch::linear(x, (*layer)->weight, (*layer)->bias);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list) {
    return {at::ones_like(ctx->get_saved_variables()[0]), at::Tensor()};
  }
};
}  // namespace

TEST_CASE("A stage whose output does not depend on its parameters is an Error that names it", "[trust]") {
  const at::Tensor x = torch::randn({8, 16}), y = torch::randint(4, {8});
  const auto guarded = [](Own& m, const at::Tensor& h) {
    const torch::NoGradGuard no_grad;
    return m.layer(h);
  };
  const auto hidden = [](Own& m, const at::Tensor& h) { return Hidden::apply(h, &m.layer); };
  const auto detached = [](Own& m, const at::Tensor& h) { return m.layer(h).detach(); };
  const auto error = [&](int at, const Own::Forward& f, bool trains = true) {
    std::vector<runtime::StageSpec> stages{linear(16, 16), linear(16, 16), linear(16, 4)};
    stages[static_cast<std::size_t>(at)] = own(16, at == 2 ? 4 : 16, f, trains);
    Engine pipe(one(), stages, {raw(), raw()}, make_schedule(OneFOneB{}, 3, 4));
    return thrown([&] { pipe.step(x, y, cross_entropy); });
  };
  for (int at : {0, 1, 2})
    for (const Own::Forward& f : std::vector<Own::Forward>{guarded, hidden, detached}) {
      const std::string text = error(at, f);
      CHECK(has(text, "stage " + std::to_string(at)));
      CHECK(has(text, "none of the stage's 2 parameters"));
    }
  CHECK(has(error(1, guarded, false), "what comes before it would be trained with zeros"));
  CHECK(error(0, guarded, false) == "nothing");  // all its parameters are frozen, and nothing is before it

  // A function, parameters that are partly used, and those that only some micro-batches use.
  const auto calls = std::make_shared<int>(0);
  Engine fine(one(),
              {own(16, 16, [](Own& m, const at::Tensor& h) { return torch::linear(h, m.layer->weight); }),
               function([](const at::Tensor& h) { return torch::relu(h); }),
               own(16, 16,
                   [calls](Own& m, const at::Tensor& h) {
                     return at::GradMode::is_enabled() && ++*calls % 2 ? h * 1 : m.layer(h);
                   }),
               linear(16, 4)},
              {raw(), raw(), raw()}, make_schedule(GPipe{}, 4, 4));
  CHECK(thrown([&] { fine.step(x, y, cross_entropy); }) == "nothing");
  // Stages that are frozen by hand pass nothing on, and need not.
  Engine feature(one(),
                 {own(16, 16, guarded, false), function([](const at::Tensor& h) { return h.detach() * 2; }),
                  linear(16, 4)},
                 {raw(), raw()}, make_schedule(GPipe{}, 3, 2));
  CHECK(thrown([&] { feature.step(x, y, cross_entropy); }) == "nothing");
}

TEST_CASE("A lambda around a module is an Error: its parameters belong to no stage", "[trust]") {
  const at::Tensor x = torch::randn({8, 16}), y = torch::randint(4, {8});
  const auto wrapped = [](int in, int out) {
    return runtime::stage_spec([=] {
      nn::Linear l(in, out);
      return [l](const at::Tensor& h) mutable { return l->forward(h); };
    });
  };
  for (int at : {0, 1}) {
    std::vector<runtime::StageSpec> stages{linear(16, 16), linear(16, 4)};
    stages[static_cast<std::size_t>(at)] = wrapped(16, at ? 4 : 16);
    Engine pipe(one(), stages, {raw()}, make_schedule(GPipe{}, 2, 2));
    const std::string text = thrown([&] { pipe.step(x, y, cross_entropy); });
    CHECK(has(text, "stage " + std::to_string(at)));
    CHECK(has(text, std::string("a leaf of shape ") + (at ? "4x16" : "16x16") +
                        " (and 1 more) that no stage owns"));
  }
  // A parameter that the module forgot to register.
  struct Forgot : nn::Module {
    at::Tensor by = torch::ones({16}).requires_grad_();
    at::Tensor forward(const at::Tensor& h) { return h * by; }
  };
  Engine pipe(one(), {runtime::stage_spec([] { return std::make_shared<Forgot>(); }), linear(16, 4)}, {raw()},
              make_schedule(GPipe{}, 2, 2));
  CHECK(has(thrown([&] { pipe.step(x, y, cross_entropy); }), "a leaf of shape 16 that no stage owns"));
}

TEST_CASE("Targets with ignore_index: the same loss and gradients however the batch is divided", "[trust]") {
  at::set_num_threads(1);
  struct Result {
    double loss;
    std::vector<at::Tensor> grads;
  };
  const auto run = [](const schedule::ScheduleTable& table, const at::Tensor& x, const at::Tensor& y,
                      const training::Loss& loss, bool classes_second = false) {
    torch::manual_seed(3);
    Engine pipe(one(),
                {linear(16, 16), linear(16, 16),
                 own(16, 4,
                     [=](Own& m, const at::Tensor& h) {
                       return classes_second ? m.layer(h).transpose(1, 2) : m.layer(h);
                     })},
                {raw(), raw()}, table);
    const double l = pipe.step(x, y, loss).item<double>();
    return Result{l, grads(pipe.parameters())};
  };
  torch::manual_seed(5);
  const at::Tensor x = torch::randn({8, 16}), words = torch::randn({8, 5, 16});
  at::Tensor y = torch::randint(4, {8}), tags = torch::randint(4, {8, 5});
  y.slice(0, 5, 8).fill_(-100);
  tags.slice(0, 2, 3).fill_(-100), tags.slice(0, 5, 8).slice(1, 1, 5).fill_(-100);
  at::Tensor padded = y.clone();
  padded.slice(0, 4, 8).fill_(-100);

  for (const at::Tensor& target : {y, padded, tags}) {
    const bool sequence = target.dim() == 2;
    const at::Tensor& in = sequence ? words : x;
    const Result whole = run(make_schedule(GPipe{}, 3, 1), in, target, cross_entropy, sequence);
    REQUIRE(std::isfinite(whole.loss));
    for (int microbatches : {2, 4, 8})
      each_schedule(microbatches, {}, [&](const schedule::ScheduleTable& table) {
        INFO(table.policy << ' ' << microbatches);
        const Result came = run(table, in, target, cross_entropy, sequence);
        CHECK(came.loss == Approx(whole.loss).epsilon(1e-5));
        CHECK(close(came.grads, whole.grads));
#ifndef PCOMP_BASE
        if (sequence) {  // classes last
          const Result last = run(table, in, target, cross_entropy, false);
          CHECK(last.loss == Approx(whole.loss).epsilon(1e-5));
          CHECK(close(last.grads, whole.grads));
        }
#endif
      });
  }
  // Nothing counts: 0, and no NaN.
  const Result none = run(make_schedule(OneFOneB{}, 3, 4), x, at::full({8}, -100, at::kLong), cross_entropy);
  CHECK(none.loss == 0);
  for (const at::Tensor& g : none.grads) CHECK((!g.defined() || g.abs().sum().item<double>() == 0));
#ifndef PCOMP_BASE
  const training::LossSum mine{
      [](const at::Tensor& o, const at::Tensor& t) {
        return (o.gather(1, t.clamp_min(0).unsqueeze(1)).squeeze(1) * (t >= 0)).sum();
      },
      [](const at::Tensor& t) { return (t >= 0).sum(); }};
  const Result all = run(make_schedule(GPipe{}, 3, 1), x, padded, mine);
  for (int microbatches : {2, 8}) {
    const Result came = run(make_schedule(ZeroBubble{}, 3, microbatches), x, padded, mine);
    CHECK(came.loss == Approx(all.loss).epsilon(1e-5));
    CHECK(close(came.grads, all.grads));
  }
  CHECK(has(thrown([&] {
              run(make_schedule(GPipe{}, 3, 2), x, y,
                  training::LossSum{mine.sum, [](const at::Tensor&) { return -1.0; }});
            }),
            "a weight is a finite number of at least 0"));
  // A sum and its weight, as a pair or a tuple.
  const auto pair = [&](const at::Tensor& o, const at::Tensor& t) {
    return std::pair(mine.sum(o, t), (t >= 0).sum());
  };
  const auto tuple = [&](const at::Tensor& o, const at::Tensor& t) {
    return std::tuple(mine.sum(o, t), (t >= 0).sum().item<double>());
  };
  for (int microbatches : {1, 2, 8})
    for (const training::Loss& returned : {training::Loss(pair), training::Loss(tuple)}) {
      const Result came = run(make_schedule(OneFOneB{}, 3, microbatches), x, padded, returned);
      CHECK(came.loss == Approx(all.loss).epsilon(1e-5));
      CHECK(close(came.grads, all.grads));
    }
  CHECK(run(make_schedule(GPipe{}, 3, 4), x, at::full({8}, -100, at::kLong), pair).loss == 0);
  const auto squares = [](const at::Tensor& o, const at::Tensor&) {  // without targets
    return std::pair(o.pow(2).sum(), o.numel());
  };
  const Result unlabelled = run(make_schedule(GPipe{}, 3, 1), x, {}, squares);
  for (int microbatches : {3, 8}) {
    const Result came = run(make_schedule(GPipe{}, 3, microbatches), x, {}, squares);
    CHECK(came.loss == Approx(unlabelled.loss).epsilon(1e-5));
    CHECK(close(came.grads, unlabelled.grads));
  }
  CHECK(has(thrown([&] {
              run(make_schedule(GPipe{}, 3, 2), x, y, [&](const at::Tensor& o, const at::Tensor& t) {
                return std::pair(mine.sum(o, t), o.detach().ne(0).sum());
              });
            }),
            "a weight comes from the targets alone"));
  CHECK(has(thrown([] {
              (void)cross_entropy(torch::randn({2, 5, 5}), torch::zeros({2, 5}, at::kLong));
            }),
            "CrossEntropy{.class_dim = 1} or -1"));
  const at::Tensor square = torch::randn({2, 5, 5}), at5 = torch::randint(5, {2, 5});
  CHECK(
      torch::equal(training::CrossEntropy{.class_dim = 1}(square, at5), at::cross_entropy_loss(square, at5)));
  CHECK(torch::equal(training::CrossEntropy{.class_dim = -1}(square, at5),
                     at::cross_entropy_loss(square.flatten(0, 1), at5.flatten())));
#endif
  // A plain loss is the mean over samples, as it was.
  const training::Loss plain = [](const at::Tensor& o, const at::Tensor& t) { return (o.sum(1) * t).mean(); };
  const at::Tensor t = torch::randn({8});
  CHECK(run(make_schedule(GPipe{}, 3, 4), x, t, plain).loss ==
        Approx(run(make_schedule(GPipe{}, 3, 1), x, t, plain).loss).epsilon(1e-4));
}

TEST_CASE("Own autocast around step: rank threads keep no casts of old weights", "[trust]") {
  at::set_num_threads(1);
  const at::Tensor x = torch::randn({16, 16}), y = torch::randint(4, {16});
  const training::Loss loss = [](const at::Tensor& o, const at::Tensor& t) {
    return at::cross_entropy_loss(o.to(at::kFloat), t);
  };
  for (const bool cache : {true, false}) {
    torch::manual_seed(3);
    Engine pipe(one(), {linear(16, 32), linear(32, 4)}, {raw()}, make_schedule(GPipe{}, 2, 2));
    nn::Linear a(16, 32), b(32, 4);
    std::vector<at::Tensor> plain;
    for (const auto& l : {a, b})
      for (const at::Tensor& p : l->parameters()) plain.push_back(p);
    copy_weights(pipe.parameters(), plain);
    torch::optim::SGD one_sgd(pipe.parameters(), 0.5), other(plain, 0.5);
    at::autocast::set_autocast_enabled(at::kCPU, true);  // and left on, with casts that nobody clears
    at::autocast::set_autocast_cache_enabled(cache);
    std::vector<double> came, expected;
    for (int i = 0; i < 4; ++i) {
      one_sgd.zero_grad();
      came.push_back(pipe.step(x, y, loss).item<double>());
      one_sgd.step();
      if (i == 1) (void)pipe.infer(x);
    }
    at::autocast::clear_cache();
    for (int i = 0; i < 4; ++i) {
      other.zero_grad();
      at::Tensor sum = torch::zeros({});
      for (auto [first, n] : parts(16, 2)) {
        const at::Tensor l = loss(b(a(x.narrow(0, first, n))), y.narrow(0, first, n)) * 0.5;
        l.backward();
        sum = sum + l.detach();
      }
      at::autocast::clear_cache();
      other.step();
      expected.push_back(sum.item<double>());
    }
    at::autocast::set_autocast_enabled(at::kCPU, false);
    at::autocast::set_autocast_cache_enabled(true);
    CHECK(came == expected);
    CHECK(same(pipe.parameters(), plain));
  }
}

TEST_CASE("Two Engines get different weights, whatever the placement, and the same after one seed",
          "[trust]") {
  const auto weights = [](const schedule::RankMap& where) {
    Engine a(one(), {linear(8, 8), linear(8, 8)}, {raw()}, make_schedule(GPipe{}, 2, 1, where));
    return a.parameters();
  };
  torch::manual_seed(1);
  const auto a = weights({0, 1}), b = weights({0, 1});
  CHECK_FALSE(torch::equal(a[0], b[0]));
  CHECK_FALSE(torch::equal(a[2], b[2]));
  CHECK_FALSE(torch::equal(a[0], a[2]));
  const at::Tensor after = torch::randn({4});
  torch::manual_seed(1);
  CHECK(same(weights({0, 0}), a));
  CHECK(same(weights({1, 0}), b));
  CHECK(torch::equal(torch::randn({4}), after));
}

TEST_CASE("OMP_NUM_THREADS wins over the default threads of a rank", "[trust]") {
  const auto threads = [](int set) {
    World world = World::threads();
    world.threads_per_rank = set;
    const auto seen = std::make_shared<int>(0);
    Engine pipe(world, {function([seen](const at::Tensor& x) {
                  *seen = at::get_num_threads();
                  return x * 1;
                })},
                {}, make_schedule(GPipe{}, 1, 1));
    (void)pipe.infer(torch::randn({2, 2}));
    return *seen;
  };
  const char* before = std::getenv("OMP_NUM_THREADS");
  const std::string kept = before ? before : "";
  setenv("OMP_NUM_THREADS", "1", 1);
  CHECK(threads(0) == 1);
  CHECK(threads(2) == 2);  // the program's own word
  setenv("OMP_NUM_THREADS", "3,2", 1);
  CHECK(threads(0) == 3);
  setenv("OMP_NUM_THREADS", "none", 1);
  CHECK(threads(0) >= 1);
  before ? setenv("OMP_NUM_THREADS", kept.c_str(), 1) : unsetenv("OMP_NUM_THREADS");
#ifndef PCOMP_BASE
  // A container's limit, from files as version 1 and 2 of control groups have them.
  const auto root = std::filesystem::temp_directory_path() / ("pcomp-cgroup-" + std::to_string(getpid()));
  const auto write = [&](const std::string& file, const std::string& text) {
    std::filesystem::create_directories((root / file).parent_path());
    std::ofstream(root / file) << text;
  };
  CHECK(std::isinf(pcomp::detail::cpu_quota(root)));
  write("proc/self/cgroup", "0::/job/task\n");
  write("sys/fs/cgroup/cpu.max", "max 100000\n");
  CHECK(std::isinf(pcomp::detail::cpu_quota(root)));
  write("sys/fs/cgroup/job/task/cpu.max", "max 100000\n");
  write("sys/fs/cgroup/job/cpu.max", "250000 100000\n");
  CHECK(pcomp::detail::cpu_quota(root) == 2.5);
  write("sys/fs/cgroup/job/task/cpu.max", "150000 100000\n");
  CHECK(pcomp::detail::cpu_quota(root) == 1.5);
  std::filesystem::remove_all(root);
  write("proc/self/cgroup", "4:memory:/a\n3:cpu,cpuacct:/docker/x\n2:cpuset:/\n");
  write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  CHECK(std::isinf(pcomp::detail::cpu_quota(root)));
  write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n");
  CHECK(pcomp::detail::cpu_quota(root) == 0.5);
  std::filesystem::remove_all(root);
  unsetenv("OMP_NUM_THREADS");
  CHECK(pcomp::detail::default_threads(2, 5.5) == 2);
  CHECK(pcomp::detail::default_threads(4, 0.5) == 1);
  if (before) setenv("OMP_NUM_THREADS", kept.c_str(), 1);
#endif
}

TEST_CASE("x from another graph: its gradient reaches that graph once a step", "[trust]") {
  at::set_num_threads(1);
  torch::manual_seed(2);
  nn::Linear front(16, 16);
  const at::Tensor x = torch::randn({10, 16}), y = torch::randint(4, {10});
  const std::vector<runtime::StageSpec> specs{
      own(16, 16,
          [](Own& m, at::Tensor h) {
            h.mul_(1.5);  // in place, on what the encoder keeps for its backward pass
            return m.layer(h);
          }),
      function([](const at::Tensor& h) { return torch::tanh(h); }), linear(16, 4)};
  for (int microbatches : {1, 3, 4})
    each_schedule(microbatches, {}, [&](const schedule::ScheduleTable& table) {
      INFO(table.policy << ' ' << microbatches);
      torch::manual_seed(4);
      Engine pipe(one(), specs, {lossy(), lossy()}, table);
      const auto parameters = pipe.parameters();
      // The same pipeline on a leaf, and the encoder by hand.
      const auto step = [&](const at::Tensor& in) { return pipe.step(in, y, cross_entropy).item<double>(); };
      nn::Linear first(16, 16), last(16, 4);
      copy_weights({parameters[0], parameters[1], parameters[2], parameters[3]},
                   {first->weight, first->bias, last->weight, last->bias});
      no_grads(front->parameters());
      const at::Tensor encoded = torch::relu(front(x)), leaf = encoded.detach().clone().requires_grad_();
      double expected = 0;
      for (auto [at, n] : parts(10, microbatches)) {
        at::Tensor h = boundary<Quant<8>>(first(leaf.narrow(0, at, n) * 1.5));
        h = boundary<Quant<8>>(torch::tanh(h));
        const at::Tensor l =
            at::cross_entropy_loss(last(h), y.narrow(0, at, n)) * (static_cast<double>(n) / 10);
        l.backward();
        expected += l.item<double>();
      }
      encoded.backward(leaf.grad());
      const auto by_hand = grads(front->parameters());
      no_grads(front->parameters());
      CHECK(step(torch::relu(front(x))) == Approx(expected).epsilon(1e-6));
      CHECK(same(grads(front->parameters()), by_hand));
      CHECK(same(grads(parameters), grads({first->weight, first->bias, last->weight, last->bias})));
      const at::Tensor own_leaf = encoded.detach().clone().requires_grad_();
      step(own_leaf);
      CHECK(torch::equal(own_leaf.grad(), leaf.grad()));
      CHECK(torch::equal(own_leaf.detach(), encoded.detach()));
      (void)pipe.infer(torch::relu(front(x)));
    });
  Engine frozen(one(), specs, {raw(), raw()}, make_schedule(GPipe{}, 3, 2));
  frozen.freeze(1);
  CHECK(has(thrown([&] { frozen.step(front(x), y, cross_entropy); }), "x requires a gradient"));
  CHECK(thrown([&] { frozen.step(front(x).detach(), y, cross_entropy); }) == "nothing");
}

TEST_CASE("A last batch whose micro-batches are too small: the Error says so, and what to do", "[trust]") {
  at::set_num_threads(1);
  struct Norm : nn::Module {
    Norm() { norm = register_module("norm", nn::BatchNorm1d(16)); }
    at::Tensor forward(const at::Tensor& x) { return norm(x); }
    nn::BatchNorm1d norm{nullptr};
  };
  const std::vector<runtime::StageSpec> specs{
      linear(16, 16), runtime::stage_spec([] { return std::make_shared<Norm>(); }), linear(16, 4)};
  const at::Tensor x = torch::randn({8, 16}), y = torch::randint(4, {8});
  Engine pipe(one(), specs, {raw(), raw()}, make_schedule(OneFOneB{}, 3, 4));
  pipe.step(x, y, cross_entropy);
  const std::string text = thrown([&] { pipe.step(x.narrow(0, 0, 5), y.narrow(0, 0, 5), cross_entropy); });
  CHECK(has(text, "stage 1, micro-batch 1, Forward"));
  CHECK(has(text, "more than 1 value per channel"));
  CHECK(has(text, "the batch of 5 samples is fine, but not its 4 micro-batches"));
  CHECK(has(text, "at least 8 samples"));
#ifndef PCOMP_BASE
  // The way out that it names, and fewer samples than micro-batches: both equal the loop over those parts.
  const auto check = [&](const schedule::ScheduleTable& table, int samples, int smallest, int microbatches) {
    INFO(table.policy << ' ' << samples);
    torch::manual_seed(6);
    Engine p(one(), specs, {lossy(), lossy()}, table);
    if (smallest == 1) p.eval();
    p.smallest_microbatch(smallest);
    nn::Linear a(16, 16), c(16, 4);
    Norm b;
    if (smallest == 1) b.eval();
    std::vector<at::Tensor> plain;
    for (nn::Module* m : std::initializer_list<nn::Module*>{a.get(), &b, c.get()})
      for (const at::Tensor& t : m->parameters()) plain.push_back(t);
    copy_weights(p.parameters(), plain);
    at::Tensor sum;
    for (auto [at, n] : parts(samples, microbatches)) {
      const at::Tensor h = boundary<Quant<8>>(b.forward(boundary<Quant<8>>(a(x.narrow(0, at, n)))));
      const at::Tensor l =
          at::cross_entropy_loss(c(h), y.narrow(0, at, n)) * (static_cast<double>(n) / samples);
      l.backward();
      sum = sum.defined() ? sum + l.detach() : l.detach();
    }
    const at::Tensor came = p.step(x.narrow(0, 0, samples), y.narrow(0, 0, samples), cross_entropy);
    CHECK(torch::equal(came, sum));
    CHECK(same(grads(p.parameters()), grads(plain)));
    CHECK(p.report().boundaries[0].forward.messages == microbatches);
    p.step(x, y, cross_entropy);  // and the whole schedule again
    CHECK(p.report().boundaries[0].forward.messages == microbatches + table.microbatches);
  };
  each_schedule(4, {}, [&](const schedule::ScheduleTable& table) {
    check(table, 5, 2, 2);
    check(table, 7, 2, 3);
    check(table, 3, 1, 3);
    check(table, 1, 1, 1);
  });
  check(make_schedule(Interleaved{}, 3, 4, round_robin(3)), 3, 1, 3);
  check(make_schedule(Interleaved{}, 3, 4, round_robin(2)), 3, 1, 3);
  for (int microbatches : {1, 2, 3}) {
    const schedule::ScheduleTable less = make_schedule(GPipe{}, 3, 4).first(microbatches);
    CHECK(less.deadlock_free);
    CHECK(less.microbatches == microbatches);
    for (int r = 0; r < 3; ++r)
      CHECK(less.row(r).size() == make_schedule(GPipe{}, 3, microbatches).row(r).size());
  }
  CHECK(has(thrown([] { (void)make_schedule(GPipe{}, 3, 4).first(5); }), "has no first 5"));
  CHECK(has(thrown([&] { pipe.smallest_microbatch(0); }), "at least 1 sample"));
#else
  CHECK(thrown([&] { pipe.step(x.narrow(0, 0, 3), y.narrow(0, 0, 3), cross_entropy); }) == "nothing");
#endif
}

TEST_CASE("A stage that cannot take a single sample is learnt from a micro-batch", "[trust]") {
  const at::Tensor x = torch::randn({8, 16}), y = torch::randint(4, {8});
  const std::vector<runtime::StageSpec> odd{function([](const at::Tensor& h) {
                                              return h.view({4, -1});
                                            }),
                                            function([](const at::Tensor& h) {
                                              TORCH_CHECK(h.size(0) > 1, "batch statistics of one sample");
                                              return (h - h.mean(0)) / (h.std(0) + 1);
                                            }),
                                            function([](const at::Tensor& h) {
                                              return h.view({2, -1, h.size(1)}).flip(0).reshape_as(h);
                                            })};
  for (std::size_t i = 0; i < odd.size(); ++i)
    for (int at : {0, 1, 2}) {
      INFO(i << ' ' << at);
      std::vector<runtime::StageSpec> specs{linear(16, 16), linear(16, 16), linear(16, 4)};
      specs.insert(specs.begin() + at, odd[i]);
      Engine pipe(one(), specs, {raw(), raw(), raw()}, make_schedule(OneFOneB{}, 4, 2));
      CHECK(thrown([&] { pipe.step(x, y, cross_entropy); }) == "nothing");
      std::vector<std::int64_t> sizes;
      CHECK(thrown([&] { sizes = pipe.infer(x).sizes().vec(); }) == "nothing");
      CHECK(sizes == std::vector<std::int64_t>{8, 4});
    }
  Engine never(one(), {linear(5, 16), linear(16, 4)}, {raw()}, make_schedule(GPipe{}, 2, 2));
  CHECK(has(thrown([&] { never.step(x, y, cross_entropy); }), "stage 0 cannot take one sample"));
}

namespace {
struct Folder {
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "pcomp-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()));
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

template <class Optimiser, class Options>
void check_resumed(const Options& options) {
  at::set_num_threads(1);
  const Folder base;
  const checkpoint::CheckpointFolder folder(base.path);
  const at::Tensor x = torch::randn({8, 16}), y = torch::randint(4, {8});
  const auto make = [&] {
    return Engine(one(), {linear(16, 16), linear(16, 4)}, {raw()}, make_schedule(GPipe{}, 2, 2));
  };
  const auto train = [&](Engine& e, Optimiser& o, int steps) {
    for (; steps > 0; --steps) o.zero_grad(), e.step(x, y, cross_entropy), o.step();
  };
  Engine whole = make(), resumed = make();
  Optimiser a(whole.parameters(), options), b(resumed.parameters(), options);
  train(whole, a, 2);
  checkpoint::Manifest m;
  save_checkpoint(folder, m, whole, a, {});
  train(whole, a, 2);
  train(resumed, b, 1);
  load_checkpoint(folder, folder.manifest(), resumed, b);
  train(resumed, b, 2);
  CHECK(same(resumed.parameters(), whole.parameters()));
  torch::optim::SGD other(resumed.parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
  CHECK(has(thrown([&] { load_checkpoint(folder, folder.manifest(), resumed, other); }),
            "of another optimiser"));
}
}  // namespace

TEST_CASE("RMSprop and Adagrad are saved and resumed, an optimiser of one's own is an Error before",
          "[trust]") {
  using namespace torch::optim;
  check_resumed<RMSprop>(RMSpropOptions(1e-3));
  check_resumed<RMSprop>(RMSpropOptions(1e-3).momentum(0.9).centered(true));
  check_resumed<Adagrad>(AdagradOptions(1e-2).lr_decay(0.1).initial_accumulator_value(0.5));
#ifndef PCOMP_BASE
  struct Mine : SGD {
    using SGD::SGD;
  };
  const std::vector<at::Tensor> p{torch::zeros({2}).requires_grad_()};
  CHECK(has(thrown([&] { checkpoint::expect_saveable(Mine(p, SGDOptions(0.1))); }),
            "not of another optimiser"));
  CHECK(has(thrown([&] { checkpoint::expect_saveable(LBFGS(p)); }), "not of another optimiser"));
  for (const auto& known : std::vector<std::shared_ptr<Optimizer>>{
           std::make_shared<SGD>(p, SGDOptions(0.1)), std::make_shared<Adam>(p), std::make_shared<AdamW>(p),
           std::make_shared<RMSprop>(p), std::make_shared<Adagrad>(p)})
    CHECK(thrown([&] { checkpoint::expect_saveable(*known); }) == "nothing");
#endif
}

namespace {
/// A file as Python's torch.save writes it, around this pickle.
std::string python_file(const std::string& pickle, const std::vector<at::Tensor>& storages) {
  std::string bytes;
  caffe2::serialize::PyTorchStreamWriter writer([&](const void* data, std::size_t n) {
    bytes.append(static_cast<const char*>(data), n);
    return n;
  });
  for (std::size_t i = 0; i < storages.size(); ++i)
    writer.writeRecord("data/" + std::to_string(i), storages[i].const_data_ptr(), storages[i].nbytes());
  writer.writeRecord("data.pkl", pickle.data(), pickle.size());
  writer.writeEndOfFile();
  return bytes;
}
}  // namespace

TEST_CASE("A file of torch.save(net.state_dict()) is read", "[trust]") {
  using namespace std::string_literals;
  // pickle.dumps of protocol 2, with torch.save's persistent ids, of what nn.Module.state_dict() returns
  const std::string pickle =
      "\x80\x02"
      "ccollections\nOrderedDict\nq\x00)Rq\x01(X\x08\x00\x00\x00"
      "0.weightq\x02"
      "ctorch._utils\n_rebuild_tensor_v2\nq\x03((X\x07\x00\x00\x00storageq\x04"
      "ctorch\nFloatStorage\nq\x05X\x01\x00\x00\x00"
      "0q\x06X\x03\x00\x00\x00"
      "cpuq\x07K\x06tq\x08QK\x00K\x02K\x03\x86q\tK\x03K\x01\x86q\n\x89h\x00)Rq\x0btq\x0cRq\rX\x06\x00\x00\x00"
      "0.biasq\x0eh\x03((h\x04h\x05X\x01\x00\x00\x00"
      "1q\x0fh\x07K\x02tq\x10QK\x00K\x02\x85q\x11K\x01\x85q\x12\x89h\x00)Rq\x13tq\x14Rq\x15X\x15\x00\x00\x00"
      "1.num_batches_trackedq\x16h\x03((h\x04"
      "ctorch\nLongStorage\nq\x17X\x01\x00\x00\x00"
      "2q\x18h\x07K\x01tq\x19QK\x00))\x89h\x00)Rq\x1atq\x1bRq\x1cu}q\x1dX\t\x00\x00\x00_metadataq\x1eh\x00)"
      "Rq\x1f(X"
      "\x00\x00\x00\x00q }q!X\x07\x00\x00\x00versionq\"K\x01sh\x06}q#h\"K\x01sh\x0f}q$h\"K\x02susb."s;
  const at::Tensor weight = torch::randn({2, 3}), bias = torch::randn({2}),
                   count = torch::scalar_tensor(7, at::kLong);
  const std::string file = python_file(pickle, {weight, bias, count});
  checkpoint::NamedTensors all;
  CHECK(thrown([&] { all = checkpoint::unpack_tensors(file, "here"); }) == "nothing");
  REQUIRE(all.size() == 3);
  CHECK((all[0].first == "0.weight" && torch::equal(all[0].second, weight)));
  CHECK((all[1].first == "0.bias" && torch::equal(all[1].second, bias)));
  CHECK((all[2].first == "1.num_batches_tracked" && torch::equal(all[2].second, count)));
  // An OrderedDict without versions, and what is no dict of tensors.
  const std::string single =
      "\x80\x02"
      "ccollections\nOrderedDict\nq\x00)Rq\x01X\x01\x00\x00\x00wq\x02"
      "ctorch._utils\n_rebuild_tensor_v2\nq\x03((X\x07\x00\x00\x00storageq\x04"
      "ctorch\nFloatStorage\nq\x05X\x01\x00\x00\x00"
      "0q\x06X\x03\x00\x00\x00"
      "cpuq\x07K\x06tq\x08QK\x00K\x02K\x03\x86q\tK\x03K\x01\x86q\n\x89h\x00)Rq\x0btq\x0cRq\rs."s;
  CHECK(thrown([&] { all = checkpoint::unpack_tensors(python_file(single, {weight}), "here"); }) ==
        "nothing");
  REQUIRE(all.size() == 1);
  CHECK(torch::equal(all[0].second, weight));
  CHECK(has(thrown([&] { (void)checkpoint::unpack_tensors(python_file("\x80\x02K\x03."s, {}), "here"); }),
            "save torch.save(net.state_dict(), file)"));
  for (const std::string& bad : {std::string("no tensors"), file.substr(0, file.size() / 2), std::string()})
    CHECK(has(thrown([&] { (void)checkpoint::unpack_tensors(bad, "here"); }),
              "pcomp: here: this is no file of named tensors"));
}

}  // namespace trust_training
