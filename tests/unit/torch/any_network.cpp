// Networks other than a chain of single tensors: several tensors on a boundary, side inputs, skips, recomputation.
#include <unistd.h>

#include <filesystem>
#include <pcomp/checkpoint/checkpoint.hpp>
#include <pcomp/core.hpp>
#include <pcomp/nn/deferred_batch_norm.hpp>

#include "any_net.hpp"
#include "catch.hpp"
#include "net.hpp"

using namespace pcomp;
using torch::Tensor;

namespace {

using Wires = kernel::Wires;
using kernel::BoundaryWires;

template <class W>
const kernel::WireKernels* of(W w) {
  return &kernel::wire_kernels(w);
}

std::vector<schedule::ScheduleTable> tables(int stages, int microbatches) {
  std::vector<schedule::ScheduleTable> all;
  for (const schedule::RankMap& where :
       {schedule::RankMap(), round_robin(2),
        schedule::RankMap(std::vector<int>(static_cast<std::size_t>(stages), 0))}) {
    all.push_back(make_schedule(GPipe{}, stages, microbatches, where));
    all.push_back(make_schedule(OneFOneB{}, stages, microbatches, where));
    all.push_back(make_schedule(ZeroBubble{}, stages, microbatches, where));
  }
  all.push_back(make_schedule(Interleaved{}, stages, microbatches, round_robin(2)));
  return all;
}

std::string error(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}
bool has(const std::string& text, const std::string& part) {
  INFO(text);
  const bool found = text.find(part) != std::string::npos;
  CHECK(found);
  return found;
}

std::vector<Tensor> state_of(const std::vector<std::shared_ptr<torch::nn::Module>>& modules) {
  std::vector<Tensor> all;
  for (const auto& m : modules)
    if (m) net::Sequential::collect(*m, all);
  return all;
}

Tensor loop(const Tensor& x, const Tensor& y, int microbatches,
            const std::function<Tensor(const Tensor&, int)>& net) {
  Tensor sum = torch::zeros({});
  const auto parts = training::split(x.size(0), microbatches);
  for (int m = 0; m < microbatches; ++m) {
    const auto& part = parts[static_cast<std::size_t>(m)];
    const Tensor l =
        cross_entropy(net(x.narrow(0, part.first, part.count), m), y.narrow(0, part.first, part.count)) *
        part.weight;
    l.backward();
    sum = sum + l.detach();
  }
  return sum;
}

}  // namespace

TEST_CASE("Several tensors cross a boundary, each over its own wire, as in a loop") {
  at::set_num_threads(1);
  const net::SeveralData d(11);
  const auto check = [&](auto first, auto second, const schedule::ScheduleTable& table, bool tied,
                         const std::vector<int>& again) {
    net::SeveralLoop plain(kernel::wire_kernels(first), kernel::wire_kernels(second));
    const Wires wires{BoundaryWires({of(first), of(second), of(Verbatim)}),
                      BoundaryWires({of(second), of(first), of(Verbatim)})};
    Engine pipe(net::one_thread_each(), net::several_stages(), wires, table);
    pipe.recompute(again);
    if (tied) pipe.share({0, "table.weight"}, {2, "out.weight"}), plain.tie();
    torch::optim::SGD one(pipe.parameters(), 0.1), other(plain.parameters(), 0.1);
    for (int step = 0; step < 3; ++step) {
      const Tensor expected = plain.step(d, table.microbatches);
      if (tied) plain.add_up();
      CHECK(torch::equal(expected, pipe.step(d.x, d.y, cross_entropy, {d.scale})));
      one.step(), other.step();
      one.zero_grad(), other.zero_grad();
    }
    INFO(table.policy << (tied ? ", tied" : "") << ", recomputes " << again.size());
    CHECK(net::differing(pipe.parameters(), plain.parameters()) == 0);
    for (const runtime::BoundaryReport& b : pipe.report().boundaries) {
      CHECK(b.forward.bytes == b.forward.predicted);
      CHECK(b.gradient.bytes == b.gradient.predicted);
    }
    CHECK(pipe.infer(d.x, {d.scale}).sizes() == at::IntArrayRef({11, 7}));
  };
  for (const auto& table : tables(3, 4))
    for (bool tied : {false, true}) check(Raw, Quant<8>, table, tied, {});
  for (const auto& table : tables(3, 4)) check(Half, Quant<8>, table, true, {0, 1, 2});
  check(TopK<Ratio<1, 4>> | Quant<8>, Half, make_schedule(OneFOneB{}, 3, 4), false, {1});
  check(ErrorFeedback | TopK<Ratio<1, 4>>, Quant<4, PerGroup<128>, Stochastic>,
        make_schedule(ZeroBubble{}, 3, 4), false, {0, 2});
}

TEST_CASE("A shared weight is counted once in the norm, and adds up over steps") {
  at::set_num_threads(1);
  const net::SeveralData d(8);
  const Wires wires{BoundaryWires({of(Raw), of(Raw), of(Verbatim)}),
                    BoundaryWires({of(Raw), of(Raw), of(Verbatim)})};
  const auto make = [&] {
    return Engine(net::one_thread_each(), net::several_stages(), wires, make_schedule(OneFOneB{}, 3, 2));
  };
  Engine pipe = make();
  pipe.share({0, "table.weight"}, {2, "out.weight"});
  net::SeveralLoop plain(*of(Raw), *of(Raw));
  plain.tie();
  pipe.step(d.x, d.y, cross_entropy, {d.scale});
  plain.step(d, 2), plain.add_up();
  const Tensor once = plain.embed.table->weight.grad().clone();
  CHECK(torch::equal(pipe.parameters()[0].grad(), once));
  pipe.step(d.x, d.y, cross_entropy, {d.scale});
  CHECK(torch::allclose(pipe.parameters()[0].grad(), once * 2));
  CHECK(torch::equal(pipe.parameters()[0].grad(), pipe.parameters().back().grad()));
  double squares = 0;
  const auto all = pipe.parameters();
  for (std::size_t i = 0; i + 1 < all.size(); ++i) squares += all[i].grad().pow(2).sum().item<double>();
  CHECK(std::abs(pipe.clip_grad_norm(0.01) - std::sqrt(squares)) < 1e-5);
  CHECK(torch::equal(pipe.parameters()[0].grad(), pipe.parameters().back().grad()));
  Engine lossy = make();
  lossy.share({0, "table.weight"}, {2, "out.weight"}, of(Quant<8>));
  lossy.step(d.x, d.y, cross_entropy, {d.scale});
  CHECK(torch::equal(lossy.parameters()[0].grad(), lossy.parameters().back().grad()));
  CHECK(!torch::equal(lossy.parameters()[0].grad(), once));
  CHECK(torch::allclose(lossy.parameters()[0].grad(), once, 0.1, 0.05));

  has(error([&] { lossy.share({1, "a.weight"}, {2, "out.weight"}); }), "before the first step");

  Engine wrong = make();
  has(error([&] {
        wrong.share({0, "table.weigth"}, {2, "out.weight"});
      }),
      "stage 0 has no parameter 'table.weigth' to share");
  has(error([&] { wrong.share({0, "table.weight"}, {3, "out.weight"}); }), "there is no stage 3");
  has(error([&] { wrong.share({0, "table.weight"}, {1, "a.weight"}); }), "they cannot be one weight");
  has(error([&] { wrong.share({1, "a.weight"}, {1, "b.weight"}); }), "not within stage 1");
  has(error([&] {
        wrong.share({0, "table.weight"}, {2, "out.weight"}, of(EF21 | Quant<8>));
      }),
      "without a memory");
  wrong.share({0, "table.weight"}, {2, "out.weight"});
  has(error([&] { wrong.share({2, "out.weight"}, {0, "table.weight"}); }), "is shared already");
}

TEST_CASE("A message of several tensors has the bytes that its wires say, each payload aligned") {
  using Net = Pipeline<Stage<net::Embed, Wire<Quant<8>>, Wire<Raw>, Wire<Verbatim>>,
                       Stage<net::Mix, Wire<Raw>, Wire<Half>, Wire<Verbatim>>, Stage<net::Top>>;
  using Plan = Net::Plan<OneFOneB, 2>;
  constexpr Extents h{4, 5, 6}, mean{4, 6}, mask{4, 5};
  constexpr std::int64_t payloads =
      static_cast<std::int64_t>(pcomp::detail::payload_start(wire_bytes(Quant<8>, h)) +
                                pcomp::detail::payload_start(wire_bytes(Raw, mean)) + 4 * 20);
  static_assert(
      Net::bytes_per_step<Plan>(0, {h, mean, mask}) ==
      2 * (payloads + static_cast<std::int64_t>(pcomp::detail::payload_start(grad_wire_bytes(Quant<8>, h)) +
                                                grad_wire_bytes(Raw, mean))));
  Engine pipe(net::one_thread_each(), Net{}, Plan{});
  const net::SeveralData d(8);
  pipe.step(d.x, d.y, cross_entropy, {d.scale});
  const runtime::BoundaryReport b = pipe.report().boundaries[0];
  CHECK(b.wire == "Quant<8>, Raw, Verbatim");
  CHECK(b.forward.bytes == 2 * (payloads - 3 * 20));  // bools take one byte each
}

TEST_CASE("Integers of any size, bools and doubles travel as they are") {
  at::set_num_threads(1);
  const std::vector<Tensor> all{torch::arange(6).view({3, 2}) * 1234567890123,
                                torch::arange(6, torch::kShort).view({3, 2}),
                                torch::tensor({true, false, true}),
                                torch::randn({3, 2, 4}, torch::kDouble),
                                torch::randn({3, 4}).to(torch::kBFloat16),
                                torch::randn({3, 2, 4, 4}).contiguous(at::MemoryFormat::ChannelsLast)};
  std::vector<Tensor> came;
  const auto first = runtime::stage_spec([&] {
    return [&](const Tensor& x) {
      std::vector<Tensor> out{x};
      for (const Tensor& t : all) out.push_back(t.narrow(0, 0, x.size(0)));
      return out;
    };
  });
  const auto second = runtime::stage_spec([&] {
    return [&](std::vector<Tensor> given) {
      if (given[0].size(0) == 3) came = given;
      return given[0];
    };
  });
  std::vector<const kernel::WireKernels*> wires{of(Raw)};
  for (std::size_t i = 0; i < all.size(); ++i) wires.push_back(of(Verbatim));
  Engine pipe(net::one_thread_each(), {first, second}, {BoundaryWires(wires)}, make_schedule(GPipe{}, 2, 1));
  (void)pipe.infer(torch::randn({3, 5}));
  REQUIRE(came.size() == all.size() + 1);
  for (std::size_t i = 0; i < all.size(); ++i) {
    CHECK(came[i + 1].scalar_type() == all[i].scalar_type());
    CHECK(torch::equal(came[i + 1], all[i]));
  }
  CHECK(came.back().is_contiguous(at::MemoryFormat::ChannelsLast));
}

TEST_CASE(
    "A boundary of Verbatim alone has no gradient, which only a stage without parameters can do without") {
  at::set_num_threads(1);
  const net::SeveralData d(8);
  for (const auto& table :
       {make_schedule(GPipe{}, 2, 4), make_schedule(OneFOneB{}, 2, 4), make_schedule(ZeroBubble{}, 2, 4),
        make_schedule(OneFOneB{}, 2, 4, schedule::RankMap{0, 0})}) {
    const auto make = [] {
      torch::manual_seed(3);
      torch::nn::Embedding words(7, 6);
      torch::nn::Linear out(30, 7);
      return torch::nn::Sequential(words, torch::nn::Flatten(), out);
    };
    torch::nn::Sequential piped = make(), plain = make();
    Engine pipe(
        net::one_thread_each(),
        {runtime::stage_spec([] { return [](const auto& x) { return (x + 3) % 7; }; }),  // a generic lambda
         runtime::stage_spec([&] { return piped; })},
        {of(Verbatim)}, table);
    CHECK(torch::equal(pipe.step(d.x, d.y, cross_entropy),
                       loop(d.x, d.y, 4, [&](const Tensor& x, int) { return plain->forward((x + 3) % 7); })));
    CHECK(net::differing(state_of({piped.ptr()}), state_of({plain.ptr()})) == 0);
    CHECK(pipe.report().boundaries[0].gradient.messages == 4);
    CHECK(pipe.report().boundaries[0].gradient.bytes == 0);
  }
  for (const std::vector<int>& again : {std::vector<int>{}, {0}}) {
    Engine pipe(net::one_thread_each(), net::several_stages(),
                {BoundaryWires({of(Raw), of(Verbatim), of(Verbatim)}),
                 BoundaryWires({of(Raw), of(Raw), of(Verbatim)})},
                make_schedule(GPipe{}, 3, 2));
    pipe.recompute(again);
    has(error([&] { pipe.step(d.x, d.y, cross_entropy, {d.scale}); }),
        "output 1 requires a gradient, and Verbatim carries none");
  }
}

TEST_CASE("What the wires of one boundary remember is saved wire by wire, and comes back") {
  at::set_num_threads(1);
  const net::SeveralData d(8);
  const auto make = [] {
    const auto* residual = of(ErrorFeedback | TopK<Ratio<1, 4>>);
    const auto* estimate = of(EF21 | Quant<2>);
    return Engine(net::one_thread_each(), net::several_stages(),
                  {BoundaryWires({residual, estimate, of(Verbatim)}),
                   BoundaryWires({estimate, residual, of(Verbatim)})},
                  make_schedule(OneFOneB{}, 3, 2));
  };
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("pcomp-several-" + std::to_string(::getpid()));
  std::filesystem::create_directories(path);
  {
    Engine whole = make();
    torch::optim::SGD sgd(whole.parameters(), 0.1);
    const auto step = [&](Engine& pipe, torch::optim::SGD& with) {
      with.zero_grad();
      const Tensor loss = pipe.step(d.x, d.y, cross_entropy, {d.scale});
      with.step();
      return loss;
    };
    step(whole, sgd), step(whole, sgd);
    const checkpoint::CheckpointFolder folder(path);
    save_checkpoint(folder, {}, whole, sgd, {});
    Engine resumed = make();
    torch::optim::SGD other(resumed.parameters(), 0.1);
    load_checkpoint(folder, folder.manifest(), resumed, other);
    CHECK(torch::equal(step(resumed, other), step(whole, sgd)));
    CHECK(torch::equal(step(resumed, other), step(whole, sgd)));
    CHECK(net::differing(net::state(whole), net::state(resumed)) == 0);
  }
  std::filesystem::remove_all(path);
}

TEST_CASE("What does not fit between stages is an error before the first step") {
  const Tensor x = torch::randint(7, {8, 5}), y = torch::randint(4, {8});
  const auto fails = [&](std::vector<runtime::StageSpec> stages, Wires wires, const std::string& why) {
    const int n = static_cast<int>(stages.size());
    Engine pipe(net::one_thread_each(), std::move(stages), std::move(wires), make_schedule(GPipe{}, n, 2));
    has(error([&] { pipe.step(x, y, cross_entropy, {torch::ones({8})}); }), why);
  };
  fails(net::several_stages(), {of(Raw), of(Raw)}, "stage 0 returns 3 tensors, but its boundary has 1 wires");
  fails(net::several_stages(),
        {BoundaryWires({of(Raw), of(Raw), of(Raw)}), BoundaryWires({of(Raw), of(Raw), of(Verbatim)})},
        "boundary 0, behind stage 0, tensor 2: a boundary takes float, bfloat16 or half, not Bool; "
        "Wire<Verbatim>");
  fails({runtime::stage_spec([] { return std::make_shared<net::Embed>(); }),
         runtime::stage_spec([] { return net::Head(); })},
        {BoundaryWires({of(Raw), of(Raw), of(Verbatim)})}, "stage 1 cannot take");
  fails({runtime::stage_spec([] { return std::make_shared<net::Embed>(); })}, {},
        "the last stage returns one");
  fails(
      net::several_stages(),
      {BoundaryWires({of(Raw), of(Verbatim), of(Verbatim)}), BoundaryWires({of(Raw), of(Raw), of(Verbatim)})},
      "output 1 requires a gradient, and Verbatim carries none");
}

namespace {

struct Masked : torch::nn::Module {
  Masked() {
    torch::manual_seed(4);
    in = register_module("in", torch::nn::Linear(6, 6));
  }
  Tensor forward(const Tensor& x, const Microbatch& m) {
    seen.push_back(m.probe ? -1 : m.index);
    if (!m.probe) samples.push_back({m.first, m.samples, m.count});
    const Tensor mask = m.side[0], bias = m.side[1];
    return torch::tanh(in(x)) * mask + bias;
  }
  torch::nn::Linear in{nullptr};
  std::vector<int> seen;
  std::vector<std::array<std::int64_t, 3>> samples;
};

}  // namespace

TEST_CASE("Side inputs come cut to the stages that ask, with the micro-batch's number") {
  at::set_num_threads(1);
  torch::manual_seed(5);
  const Tensor x = torch::randn({10, 6}), y = torch::randint(4, {10}), mask = torch::rand({10, 6}).gt(0.3),
               bias = torch::randn({6});
  for (const auto& table : tables(3, 4)) {
    auto masked = std::make_shared<Masked>();
    Masked plain;
    torch::manual_seed(6);
    torch::nn::Linear a(6, 6), b(6, 4);
    torch::manual_seed(6);
    torch::nn::Linear a2(6, 6), b2(6, 4);
    Engine pipe(net::one_thread_each(),
                {runtime::stage_spec([&] { return a; }), runtime::stage_spec([&] { return masked; }),
                 runtime::stage_spec([&] { return b; })},
                {of(Quant<8>), of(Raw)}, table);
    const Tensor came = pipe.step(x, y, cross_entropy, {mask, training::whole(bias)});
    std::int64_t first = 0;
    const Tensor expected = loop(x, y, 4, [&](const Tensor& part, int) {
      const Tensor h = boundary<Quant<8>>(a2(part));
      const Tensor out = torch::tanh(plain.in(h)) * mask.narrow(0, first, part.size(0)) + bias;
      first += part.size(0);
      return b2(out);
    });
    CHECK(torch::equal(came, expected));
    CHECK(net::differing(
              state_of({masked, a.ptr(), b.ptr()}),
              state_of({std::shared_ptr<torch::nn::Module>(&plain, [](auto*) {}), a2.ptr(), b2.ptr()})) == 0);
    CHECK(masked->seen == std::vector<int>{-1, 0, 1, 2, 3});
    CHECK(masked->samples[1] == std::array<std::int64_t, 3>{3, 3, 4});
    CHECK(torch::equal(pipe.infer(x, {mask, training::whole(bias)}),
                       pipe.infer(x, {mask, bias.expand({10, 6})}, training::Outputs::every_rank)));
    CHECK(pipe.evaluate(x, y, cross_entropy, {}, {mask, training::whole(bias)}).loss.defined());
  }
}

TEST_CASE("Side inputs that are missing, of another size, or learn are errors") {
  const Tensor x = torch::randn({8, 6}), y = torch::randint(4, {8});
  const auto says = [&](const training::BatchTensors& side) {
    Engine pipe(net::one_thread_each(),
                {runtime::stage_spec([] { return std::make_shared<Masked>(); }),
                 runtime::stage_spec([] { return torch::nn::Linear(6, 4); })},
                {of(Raw)}, make_schedule(GPipe{}, 2, 2));
    return error([&] { pipe.step(x, y, cross_entropy, side); });
  };
  has(says({}), "the stage asks for side input 0, but this rank was given 0");
  has(says({torch::ones({8, 6})}), "the stage asks for side input 1, but this rank was given 1");
  has(says({torch::ones({8, 6}), torch::ones({6})}),
      "side input 1 has the shape 6: its first dimension is the batch");
  has(says({torch::ones({8, 6}).requires_grad_(), training::whole(torch::ones({6}))}),
      "side input 0 requires a gradient");
  CHECK(says({torch::ones({8, 6}), training::whole(torch::ones({6}))}) == "no error");
}

TEST_CASE("Several targets, and one that every micro-batch gets whole") {
  at::set_num_threads(1);
  torch::manual_seed(7);
  const Tensor x = torch::randn({9, 6}), y = torch::randint(4, {9}), weights = torch::rand({9}),
               classes = torch::rand({4});
  torch::nn::Linear a(6, 6), b(6, 4);
  const auto stages = [&]() -> std::vector<runtime::StageSpec> {
    return {runtime::stage_spec([&] { return a; }), runtime::stage_spec([&] { return b; })};
  };
  const auto loss = [](const Tensor& out, const std::vector<Tensor>& all) {
    const Tensor each = torch::nn::functional::cross_entropy(
        out, all[0], torch::nn::functional::CrossEntropyFuncOptions().weight(all[2]).reduction(torch::kNone));
    return (each * all[1]).mean();
  };
  Engine pipe(net::one_thread_each(), stages(), {of(Raw)}, make_schedule(GPipe{}, 2, 3));
  const Tensor came = pipe.step(x, {y, weights, training::whole(classes)}, loss);
  const Tensor expected = loss(b(a(x)), {y, weights, classes});
  CHECK(torch::allclose(came, expected));
  const training::Metric count = [](const Tensor& out, const std::vector<Tensor>& all) {
    return out.argmax(1).eq(all[0]).sum();
  };
  const auto both = pipe.evaluate(x, {y, weights, training::whole(classes)}, loss, {count});
  CHECK(both.metrics[0].item<std::int64_t>() == b(a(x)).argmax(1).eq(y).sum().item<std::int64_t>());
  has(error([&] { pipe.step(x, {y, classes}, loss); }), "training::whole(tensor)");
  has(error([&] {
        pipe.step(x, {y, weights}, cross_entropy);
      }),
      "the batch has 2 targets, but this loss or metric takes one");
}

using net::Down;
using net::Up;

TEST_CASE("A skip connection within a rank needs no message and is that of a loop") {
  at::set_num_threads(1);
  torch::manual_seed(8);
  const Tensor x = torch::randn({7, 4, 8, 8}), y = torch::randn({7, 4, 8, 8});
  const auto mse = [](const Tensor& a, const Tensor& b) { return torch::mse_loss(a, b); };
  net::SkipsLoop plain;
  const Tensor reference = plain.step(x, y, 3);
  std::vector<Tensor> expected;
  for (torch::nn::Module* m : plain.parts()) net::Sequential::collect(*m, expected);
  for (const schedule::RankMap& where : {schedule::RankMap{0, 1, 1, 0}, schedule::RankMap{0, 0, 0, 0}})
    for (const auto& table : {make_schedule(GPipe{}, 4, 3, where), make_schedule(OneFOneB{}, 4, 3, where),
                              make_schedule(ZeroBubble{}, 4, 3, where)})
      for (int recomputed = 0; recomputed < 16; recomputed += 5) {
        Engine pipe(net::one_thread_each(),
                    {runtime::stage_spec([] { return std::make_shared<Down>(1, "outer"); }),
                     runtime::stage_spec([] { return std::make_shared<Down>(2, "inner"); }),
                     runtime::stage_spec([] { return std::make_shared<Up>(3, "inner"); }),
                     runtime::stage_spec([] { return std::make_shared<Up>(4, "outer"); })},
                    {of(Quant<8>), of(Quant<8>), of(Quant<8>)}, table);
        std::vector<int> again;
        for (int s = 0; s < 4; ++s)
          if (recomputed >> s & 1) again.push_back(s);
        pipe.recompute(again);
        INFO(table.policy << " recomputes " << recomputed);
        CHECK(torch::equal(pipe.step(x, y, mse), reference));
        CHECK(net::differing(net::state(pipe), expected) == 0);
        CHECK(pipe.infer(x).sizes() == x.sizes());
      }
  const auto says = [&](const std::vector<runtime::StageSpec>& stages, const schedule::RankMap& where) {
    const int n = static_cast<int>(stages.size());
    Engine pipe(net::one_thread_each(), stages,
                std::vector<const kernel::WireKernels*>(stages.size() - 1, of(Raw)),
                make_schedule(GPipe{}, n, 2, where));
    return error([&] { pipe.step(x, y, mse); });
  };
  const auto down = [](const char* name) {
    return runtime::stage_spec([name] { return std::make_shared<Down>(1, name); });
  };
  const auto up = [](const char* name) {
    return runtime::stage_spec([name] { return std::make_shared<Up>(1, name); });
  };
  has(says({down("a"), up("a")}, {}), "the stage pops 'a', which no earlier stage of this rank has stashed");
  has(says({down("a"), down("a"), up("a"), up("a")}, {0, 0, 0, 0}), "'a' is stashed already");
  has(says({down("a"), down("b"), up("b"), up("b")}, {0, 0, 0, 0}), "'b' was popped already");
  has(says({down("a"), runtime::stage_spec([] {
              return [](const Tensor& t) { return torch::upsample_nearest2d(t, {8, 8}); };
            })},
           {0, 0}),
      "stage 0 stashed 'a' for micro-batch 0, which no later stage of this rank has popped");
}

namespace {

/// Whatever a second forward pass could get wrong: dropout, batch normalisation of both kinds, an in-place beginning.
struct Noisy : torch::nn::Module {
  explicit Noisy(std::uint64_t seed, bool deferred) {
    torch::manual_seed(seed);
    in = register_module("in", torch::nn::Linear(6, 6));
    norm = register_module("norm", torch::nn::BatchNorm1d(6));
    if (deferred)
      later = register_module("later", training::DeferredBatchNorm2d(torch::nn::BatchNorm2dOptions(6)));
  }
  Tensor forward(Tensor x) {
    x.mul_(1.5);
    Tensor h = norm(in(x));
    if (later) h = later(h.unsqueeze(-1).unsqueeze(-1)).flatten(1);
    return torch::dropout(h, 0.4, is_training());
  }
  torch::nn::Linear in{nullptr};
  torch::nn::BatchNorm1d norm{nullptr};
  training::DeferredBatchNorm2d later{nullptr};
};

}  // namespace

TEST_CASE("Recomputation changes no bit: values, gradients, statistics, random numbers") {
  at::set_num_threads(1);
  torch::manual_seed(10);
  const Tensor data = torch::randn({12, 6}), y = torch::randint(4, {12});
  const auto run = [&](const Wires& wires, const schedule::ScheduleTable& table,
                       const std::vector<int>& again, bool grad) {
    std::vector<std::shared_ptr<Noisy>> bodies;
    for (int s = 0; s < 3; ++s) bodies.push_back(std::make_shared<Noisy>(s + 1, s == 1));
    torch::manual_seed(3);
    torch::nn::Linear head(6, 4);
    Engine pipe(
        net::one_thread_each(),
        {runtime::stage_spec([&] { return bodies[0]; }), runtime::stage_spec([&] { return bodies[1]; }),
         runtime::stage_spec([&] { return bodies[2]; }), runtime::stage_spec([&] { return head; })},
        wires, table);
    pipe.recompute(again);
    torch::manual_seed(77);
    torch::optim::SGD sgd(pipe.parameters(), 0.1);
    std::vector<Tensor> out;
    for (int step = 0; step < 2; ++step) {
      const Tensor x = grad ? data.clone().requires_grad_() : data.clone();
      out.push_back(pipe.step(x, y, cross_entropy));
      if (grad) out.push_back(x.grad());
      out.push_back(x.detach());
      if (step == 0) sgd.step(), sgd.zero_grad();
    }
    out.push_back(torch::randn({3}));  // the generator is where it is without recomputation
    for (const Tensor& t : net::state(pipe)) out.push_back(t);
    return out;
  };
  // On one rank dropout repeats; with threads it does not, so those compare without it, below.
  const schedule::RankMap one{0, 0, 0, 0};
  const std::vector<Wires> all{{of(Raw), of(Quant<8>), of(TopK<Ratio<1, 3>> | Quant<8>)},
                               {of(EF21 | Quant<4>), of(ErrorFeedback | TopK<Ratio<1, 3>>), of(Half)}};
  for (const Wires& wires : all)
    for (const auto& table : {make_schedule(GPipe{}, 4, 3, one), make_schedule(OneFOneB{}, 4, 3, one),
                              make_schedule(ZeroBubble{}, 4, 3, one)})
      for (bool grad : {false, true}) {
        const auto expected = run(wires, table, {}, grad);
        for (const std::vector<int>& again : {std::vector<int>{0, 1, 2, 3}, {1}, {0, 2}, {3}}) {
          INFO(table.policy << " grad " << grad << " first again " << again[0] << " of " << again.size());
          CHECK(net::differing(run(wires, table, again, grad), expected) == 0);
        }
      }
}

TEST_CASE("Stages that recompute run beside others on threads") {
  at::set_num_threads(1);
  const std::vector<const kernel::WireKernels*> wires(4, of(Quant<8>));
  torch::manual_seed(5);
  const Tensor x = torch::randn({10, 3, 9, 7}), y = torch::randint(10, {10});
  for (const auto& table :
       {make_schedule(GPipe{}, 5, 4), make_schedule(OneFOneB{}, 5, 4), make_schedule(ZeroBubble{}, 5, 4),
        make_schedule(Interleaved{}, 5, 4, round_robin(2))}) {
    Engine plain(net::one_thread_each(), net::stages(), wires, table),
        pipe(net::one_thread_each(), net::stages(), wires, table);
    pipe.recompute({0, 1, 3, 4});
    for (int step = 0; step < 2; ++step)
      CHECK(torch::equal(plain.step(x, y, cross_entropy), pipe.step(x, y, cross_entropy)));
    CHECK(net::differing(net::state(plain), net::state(pipe)) == 0);
  }
  using Net =
      Pipeline<Stage<net::Stem, Wire<Quant<8>>, Recompute>, Stage<net::Body, Wire<Raw>>, Stage<net::Head>>;
  CHECK(Net{}.stages()[0].recompute);
  CHECK(!Net{}.stages()[1].recompute);
}
