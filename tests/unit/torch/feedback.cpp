#include <pcomp/core.hpp>

#include "catch.hpp"
#include "net.hpp"

using namespace pcomp;

namespace {

using Wires = std::vector<const kernel::WireKernels*>;

std::string what_it_throws(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing";
}

/// Every kind of feedback, both ways, with selections, rotation, stochastic rounding and storage in bfloat16.
const std::vector<Wires>& wire_sets() {
  static const std::vector<Wires> all{
      {&kernel::wire_kernels(ErrorFeedback | TopK<Ratio<1, 4>> | Quant<8>),
       &kernel::wire_kernels(Wire<EF21 | Quant<4>, ErrorFeedback | Quant<4>>{}),
       &kernel::wire_kernels(Wire<Delta<> | Quant<2>, Quant<4, PerGroup<128>, Stochastic>>{}),
       &kernel::wire_kernels(Wire<Quant<4>, EF21 | Quant<4>>{})},
      {&kernel::wire_kernels(Wire<TopK<Ratio<1, 4>> | Quant<4>, ErrorFeedback | Quant<2>>{}),
       &kernel::wire_kernels(Delta<Quant<8>, BFloat16> | TopK<Ratio<1, 4>> | Quant<4>),
       &kernel::wire_kernels(
           Wire<Delta<> | Downsample<2> | Hadamard<64> | Quant<4>, ErrorFeedback | Quant<4>>{}),
       &kernel::wire_kernels(Wire<Quant<8>, Delta<> | Quant<4>>{})}};
  return all;
}

struct Batch {
  at::Tensor x, y, sample_ids;
};
/// Three passes in batches of 10 and 11: the first over 21 samples in order, the others in random order over 21 out
/// of 22, the same samples and a new one.
std::vector<Batch> batches() {
  torch::manual_seed(5);
  const at::Tensor x = torch::randn({22, 3, 9, 7}), y = torch::randint(10, {22});
  std::vector<Batch> all;
  for (int pass = 0; pass < 3; ++pass) {
    const at::Tensor order = pass == 0 ? torch::arange(21) : torch::randperm(22).slice(0, 0, 21);
    for (const auto& [from, to] : {std::pair{0, 10}, std::pair{10, 21}}) {
      const at::Tensor sample_ids = order.slice(0, from, to).contiguous();
      all.push_back({x.index_select(0, sample_ids), y.index_select(0, sample_ids), sample_ids});
    }
  }
  return all;
}

template <class Step>
std::vector<at::Tensor> losses(const std::vector<at::Tensor>& parameters, Step&& step) {
  torch::optim::SGD sgd(parameters, torch::optim::SGDOptions(0.05).momentum(0.9));
  std::vector<at::Tensor> all;
  for (const Batch& b : batches()) {
    sgd.zero_grad();
    all.push_back(step(b));
    sgd.step();
  }
  return all;
}

struct Expected {
  std::vector<at::Tensor> losses, state;
  std::int64_t bytes = 0;
};
Expected sequential(const Wires& wires, int microbatches) {
  net::Sequential plain(wires);
  std::vector<at::Tensor> parameters;
  for (const auto& p : plain.parts)
    if (p.module)
      for (const at::Tensor& t : p.module->parameters()) parameters.push_back(t);
  Expected e;
  e.losses = losses(parameters, [&](const Batch& b) {
    return plain.step(b.x, b.y, microbatches, cross_entropy, b.sample_ids);
  });
  e.state = plain.state();
  for (const Boundary& b : plain.boundaries) e.bytes += b.bytes();
  return e;
}

at::Tensor sum_of(Boundary& b, const at::Tensor& x, int times) {
  at::Tensor sum = torch::zeros_like(x);
  for (int i = 0; i < times; ++i) sum += b(x).detach();
  return sum;
}

}  // namespace

TEST_CASE("Feedback in a pipeline equals the sequential loop to the last bit, wherever stages are") {
  at::set_num_threads(1);
  for (const Wires& wires : wire_sets()) {
    const Expected expected = sequential(wires, 4);
    for (const schedule::RankMap& where : {schedule::RankMap{0, 1, 2, 3, 4}, schedule::RankMap{0, 1, 2, 3, 0},
                                           schedule::RankMap{0, 0, 1, 1, 0}})
      for (const auto& table : {make_schedule(GPipe{}, 5, 4, where), make_schedule(OneFOneB{}, 5, 4, where),
                                make_schedule(ZeroBubble{}, 5, 4, where)}) {
        Engine engine(net::one_thread_each(), net::stages(), wires, table);
        bool evaluates = false;
        const auto came = losses(engine.parameters(), [&](const Batch& b) {
          // Evaluation between steps changes nothing.
          if ((evaluates = !evaluates)) {
            engine.eval();
            engine.infer(b.x + 1);
            engine.train();
          }
          return engine.step(b.x, b.y, cross_entropy, b.sample_ids);
        });
        INFO(table.policy);
        CHECK(net::differing(came, expected.losses) == 0);
        CHECK(net::differing(net::state(engine), expected.state) == 0);
        std::int64_t kept = 0;
        for (const runtime::BoundaryReport& b : engine.report().boundaries) {
          CHECK(b.forward.bytes == b.forward.predicted);
          CHECK(b.gradient.bytes == b.gradient.predicted);
          CHECK(b.inference.bytes == b.inference.predicted);
          kept += b.state;
        }
        if (table.ranks == 5) CHECK(kept > expected.bytes);  // each end keeps an estimate
        if (table.ranks == 2) CHECK(kept < 2 * expected.bytes);
      }
  }
}

TEST_CASE("Memory is what state_bytes says") {
  const auto wire = Wire<Delta<Raw, BFloat16> | Quant<4>, ErrorFeedback | Quant<4>>{};
  const auto estimate = EF21 | Quant<4>;
  const Wires wires{&kernel::wire_kernels(wire), &kernel::wire_kernels(estimate), &kernel::wire_kernels(Raw),
                    &kernel::wire_kernels(Raw)};
  for (const bool apart : {true, false}) {
    Engine engine(net::one_thread_each(), net::stages(), wires,
                  make_schedule(GPipe{}, 5, 4,
                                apart ? schedule::RankMap{0, 1, 2, 3, 4} : schedule::RankMap{0, 0, 0, 0, 0}));
    for (const Batch& b : batches()) engine.step(b.x, b.y, cross_entropy, b.sample_ids);
    const runtime::Report r = engine.report();
    CHECK(r.boundaries[0].state ==
          static_cast<std::int64_t>(codec::state_bytes(wire, Shape<1, 6, 9, 7>{}, 11, 22, !apart)));
    CHECK(r.boundaries[1].state ==
          static_cast<std::int64_t>(codec::state_bytes(estimate, Shape<1, 8, 5, 4>{}, 11, 22, !apart)));
    CHECK(r.boundaries[2].state == 0);
    std::ostringstream text;
    r.print_traffic(text);
    CHECK(text.str().find("boundary 0 keeps " + std::to_string(r.boundaries[0].state) + " bytes in memory") !=
          std::string::npos);
    engine.rewire(Wires(4, &kernel::wire_kernels(Raw)));
    CHECK(engine.report().boundaries[0].state == 0);
  }
}

TEST_CASE("ErrorFeedback: what came and the last residual add up to what was to be sent") {
  torch::manual_seed(1);
  const at::Tensor x = torch::randn({4, 60});
  for (const kernel::WireKernels* w : {&kernel::wire_kernels(ErrorFeedback | TopK<Ratio<1, 10>>),
                                       &kernel::wire_kernels(ErrorFeedback | Quant<1>)}) {
    Boundary b(*w);
    // The residual stays bounded, so the mean of many messages is x.
    CHECK((sum_of(b, x, 1000) / 1000 - x).abs().max().item<float>() < 0.08f);
  }
  CHECK((boundary<Quant<1>>(x) - x).abs().max().item<float>() > 0.5f);  // without it, each is this far off
  Boundary b(kernel::wire_kernels(ErrorFeedback | TopK<Ratio<1, 10>>));
  const at::Tensor first = b(x).detach(), second = b(torch::zeros_like(x)).detach();
  CHECK(torch::equal(first + second, torch::where(second == 0, first, x)));
  CHECK((second != 0).sum().item<int>() == 24);
  CHECK(b.bytes() == 4 * 60 * 4);
  b.forget();
  CHECK(torch::equal(b(x), first));
  at::Tensor bad = x.clone();
  bad[0][0] = INFINITY;
  (void)b(bad);
  CHECK(b(x).isfinite().all().item<bool>());
}

TEST_CASE("ErrorFeedback on gradients: through the mask of the activations, all of it in the end") {
  torch::manual_seed(2);
  const at::Tensor g = torch::randn({4, 60});
  at::Tensor x = torch::randn({4, 60}).requires_grad_();
  Boundary b(kernel::wire_kernels(Wire<TopK<Ratio<1, 4>>, ErrorFeedback | Quant<2>>{})),
      plain(kernel::wire_kernels(Wire<TopK<Ratio<1, 4>>, Raw>{}));
  const at::Tensor exact = torch::autograd::grad({plain(x)}, {x}, {g})[0];
  at::Tensor sum = torch::zeros_like(g);
  for (int i = 0; i < 100; ++i) {
    const at::Tensor dx = torch::autograd::grad({b(x)}, {x}, {g})[0];
    CHECK(((dx != 0).logical_and(exact == 0)).sum().item<int>() == 0);
    sum += dx;
  }
  CHECK((sum / 100 - exact).abs().max().item<float>() < 0.03f);

  // With Downsample, the loss depends on the sum of each window.
  at::Tensor image = torch::randn({2, 1, 4, 4}).requires_grad_();
  const at::Tensor d = torch::randn({2, 1, 4, 4});
  Boundary pooled(kernel::wire_kernels(Wire<Downsample<2>, ErrorFeedback | Quant<2>>{})),
      raw(kernel::wire_kernels(Downsample<2>));
  const at::Tensor whole = torch::autograd::grad({raw(image)}, {image}, {d})[0];
  at::Tensor all = torch::zeros_like(d);
  for (int i = 0; i < 100; ++i) all += torch::autograd::grad({pooled(image)}, {image}, {d})[0];
  CHECK((all / 100 - whole).abs().max().item<float>() < 0.03f);
}

TEST_CASE("EF21: the estimate goes to a tensor that stays") {
  torch::manual_seed(3);
  const at::Tensor x = torch::randn({4, 60});
  Boundary b(kernel::wire_kernels(EF21 | TopK<Ratio<1, 10>>));
  for (int i = 1; i < 10; ++i) {
    const at::Tensor y = b(x).detach();
    CHECK((y == x).sum().item<int>() == 24 * i);  // each message is exact in the elements that it sends
  }
  CHECK(torch::equal(b(x), x));
  // Without grad mode the wire is evaluated: it codes x itself, and nothing is remembered.
  {
    const torch::NoGradGuard none;
    CHECK((b(x) != 0).sum().item<int>() == 24);
  }
  CHECK(torch::equal(b(x), x));
  // Another micro-batch begins anew; the samples of a smaller one keep their places.
  CHECK((b(x, 1) == x).sum().item<int>() == 24);
  CHECK(torch::equal(b(x.narrow(0, 0, 2)), x.narrow(0, 0, 2)));
  CHECK(what_it_throws([&] {
          (void)b(torch::randn({4, 30}));
        }).find("remembers samples of 60 elements, these have 30") != std::string::npos);
}

TEST_CASE("Delta: a first visit whole, then the change alone") {
  torch::manual_seed(4);
  at::Tensor x = torch::randn({6, 64});
  const at::Tensor sample_ids = torch::tensor({11, 7, 3, 100, 42, 5}, at::kLong);
  Boundary b(kernel::wire_kernels(Delta<> | Quant<2>)),
      half(kernel::wire_kernels(Delta<Quant<8>, BFloat16> | Quant<2>));
  CHECK(torch::equal(b(x, 0, sample_ids), x));
  (void)half(x, 0, sample_ids);
  const at::Tensor direct = boundary<Quant<2>>(x);
  for (int visit = 1; visit < 30; ++visit) {
    x = x + torch::randn({6, 64}) * 0.02;
    const at::Tensor order = torch::randperm(6);
    for (Boundary* each : {&b, &half}) {
      const at::Tensor y =
          (*each)(x.index_select(0, order), visit % 3, sample_ids.index_select(0, order)).detach();
      CHECK((y - x.index_select(0, order)).abs().max().item<float>() < 0.06f);
    }
  }
  CHECK((direct - x).abs().max().item<float>() > 0.3f);
  // With one new sample, its micro-batch is sent whole.
  const at::Tensor more = torch::tensor({11, 7, 3, 100, 42, 6}, at::kLong);
  CHECK(torch::equal(b(x, 0, more), x));
  CHECK(b.bytes() == 256 * 64 * 4);
  CHECK(half.bytes() == 256 * 64 * 2);
  CHECK(what_it_throws([&] { (void)b(x); }).find("needs the identities of 6 samples") != std::string::npos);
  CHECK(what_it_throws([&] { (void)b(x, 0, sample_ids.to(at::kInt)); }).find("not CPUIntType 6") !=
        std::string::npos);
  CHECK(what_it_throws([&] { (void)b(x, 0, torch::zeros({6}, at::kLong)); }) ==
        "pcomp: sample 0 comes twice in one batch");
}

TEST_CASE("Stochastic rounding draws anew for every message, the same numbers each run") {
  torch::manual_seed(6);
  const at::Tensor x = torch::rand({2, 500});
  const auto& wire = kernel::wire_kernels(Quant<2, PerGroup<128>, Stochastic>);
  Boundary a(wire, 1), b(wire, 1), other(wire, 2);
  const at::Tensor first = a(x);
  CHECK(torch::equal(b(x), first));
  CHECK_FALSE(torch::equal(other(x), first));
  CHECK_FALSE(torch::equal(a(x), first));
  CHECK((sum_of(a, x, 400) / 400 - x).abs().max().item<float>() <
        0.05f);  // a step is 1/3, and the mean's deviation at most 1/120
  const torch::NoGradGuard none;
  CHECK(torch::equal(a(x), boundary(wire, x)));
}

TEST_CASE("The noise of a gradient is not that of its activation") {
  torch::manual_seed(7);
  const at::Tensor values = torch::rand({2, 500});
  Boundary b(kernel::wire_kernels(Quant<2, PerGroup<128>, Stochastic>), 1);
  at::Tensor x = values.clone().requires_grad_();
  const at::Tensor y = b(x);
  y.backward(values);
  // Both messages carry the same values through the same coder: about half of the rounded ones must differ.
  CHECK(x.grad().ne(y.detach()).sum().item<int>() > 200);
}

TEST_CASE("Delta remembers each of many samples, not another's message") {
  torch::manual_seed(8);
  Boundary b(kernel::wire_kernels(Delta<Raw> | Quant<4>));
  const std::int64_t many = 2 * 1024 + 5;  // more than are kept in one block
  const at::Tensor x = torch::randn({many, 6}), ids = torch::arange(many);
  CHECK(torch::equal(b(x.clone().requires_grad_(), 0, ids), x));
  // Nothing has changed, so that the change, and what is made of it, is exact.
  CHECK(torch::equal(b(x.clone().requires_grad_(), 0, ids), x));
}

TEST_CASE("What a wire with memory cannot take is one clear error") {
  const auto& wire = kernel::wire_kernels(Delta<> | Quant<4>);
  CHECK(what_it_throws([&] {
          (void)boundary(kernel::wire_kernels(Wire<Quant<4>, ErrorFeedback | Quant<4>>{}),
                         torch::randn({2, 3}));
        }).find("has a memory") != std::string::npos);
  CHECK(what_it_throws([&] {
          (void)boundary(wire, torch::randn({2, 3}));
        }).find("Delta<> | Quant<4> has a memory") != std::string::npos);
  Engine engine(net::one_thread_each(), net::stages(), Wires(4, &wire), make_schedule(GPipe{}, 5, 2));
  const Batch b = batches()[0];
  const auto step = [&](const at::Tensor& sample_ids) {
    return what_it_throws([&] { engine.step(b.x, b.y, cross_entropy, sample_ids); });
  };
  CHECK(step({}) == "pcomp: Delta needs the identities of 10 samples, a tensor of as many int64, not none");
  CHECK(step(torch::arange(9)).find("not CPULongType 9") != std::string::npos);
  CHECK(step(torch::zeros({10}, at::kLong)) == "pcomp: sample 0 comes twice in one batch");
  CHECK(step(b.sample_ids) == "nothing");
}

TEST_CASE("After a step that failed all ends forget, and so agree") {
  at::set_num_threads(1);
  const Wires wires{&kernel::wire_kernels(EF21 | Quant<4>), &kernel::wire_kernels(Delta<> | Quant<4>),
                    &kernel::wire_kernels(ErrorFeedback | Quant<4>), &kernel::wire_kernels(Raw)};
  const auto table = make_schedule(OneFOneB{}, 5, 4, {0, 1, 2, 0, 1});
  Engine broken(net::one_thread_each(), net::stages(), wires, table);
  const auto all = batches();
  const auto loss_of = [](Engine& e, const Batch& b, const training::Loss& loss) {
    return e.step(b.x, b.y, loss, b.sample_ids);
  };
  loss_of(broken, all[0], cross_entropy);
  const training::Loss fails = [n = 0](const at::Tensor& y, const at::Tensor& t) mutable {
    if (++n == 3) throw std::runtime_error("no loss today");
    return cross_entropy(y, t);
  };
  CHECK_THROWS_AS(loss_of(broken, all[0], fails), Error);
  for (const runtime::BoundaryReport& b : broken.report().boundaries) CHECK(b.state == 0);
  // From here on it behaves as a new one with the same weights. Its statistics have moved on, so they are copied, and
  // both engines use them as they are, in evaluation mode.
  broken.eval();
  Engine fresh(net::one_thread_each(), net::stages(), wires, table);
  for (int s = 0; s < 5; ++s)
    if (const auto m = fresh.module(s)) {
      const torch::NoGradGuard none;
      for (const auto& buffer : broken.module(s)->named_buffers())
        m->named_buffers()[buffer.key()].copy_(buffer.value());
    }
  fresh.eval();
  for (int i = 0; i < 3; ++i)
    CHECK(torch::equal(loss_of(broken, all[0], cross_entropy), loss_of(fresh, all[0], cross_entropy)));
}
