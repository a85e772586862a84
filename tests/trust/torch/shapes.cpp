// Tensors whose memory is not simply their values, shapes that a wire must not mix, and how threads treat denormals.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <atomic>
#include <pcomp/pcomp.hpp>

#include "../../unit/torch/catch.hpp"

namespace {

using namespace pcomp;
using T = at::Tensor;

runtime::StageSpec stage(std::function<T(const T&)> f) {
  return runtime::stage_spec([f] { return f; });
}
T only(const T& output, const T&) { return output.sum(); }

/// -x, by a lazy negative bit or by that of a conjugate.
T lazily_negative(const T& x, bool conjugate) {
  return conjugate ? at::imag(at::complex(at::zeros_like(x), x).conj()) : x._neg_view();
}

}  // namespace

TEST_CASE("Downsample on a boundary never mixes samples: fewer than four dimensions are an Error",
          "[trust]") {
  for (const T& x : {torch::randn({8, 16}), torch::randn({64}), torch::randn({4, 6, 10})}) {
    CHECK_THROWS_AS(boundary<Downsample<2>>(x), Error);
    CHECK_THROWS_AS((boundary<Quant<8> | TopK<Ratio<1, 4>> | Downsample<2>>(x)), Error);
    // A wire of the gradient is refused on the way forward, not in backward.
    CHECK_THROWS_AS((boundary<Wire<Quant<8>, Downsample<2>>>(x)), Error);
    CHECK_THROWS_AS(Boundary(kernel::wire_kernels(Downsample<2>))(x), Error);
    CHECK_THROWS_AS((Boundary(kernel::wire_kernels(EF21 | Downsample<2> | Quant<8>))(x)), Error);
  }
  // The way out pools features or tokens of one sample: what another sample holds has no influence.
  const T x = torch::randn({4, 6, 10}).requires_grad_(), dy = torch::randn({4, 6, 10});
  const T y = boundary<Downsample<2, Axes<1>>>(x);
  const T mean = x.detach().view({4, 3, 2, 10}).mean(2, true).expand({4, 3, 2, 10}).reshape({4, 6, 10});
  CHECK(torch::allclose(y, mean, 1e-6, 1e-6));
  const T dx = torch::autograd::grad({y}, {x}, {dy})[0];
  CHECK(torch::allclose(dx, dy.view({4, 3, 2, 10}).mean(2, true).expand({4, 3, 2, 10}).reshape({4, 6, 10}),
                        1e-6, 1e-6));
  const T flat = torch::randn({8, 16});
  T other = flat.clone();
  other.narrow(0, 1, 7).fill_(1000);
  CHECK(torch::equal(boundary<Downsample<2, Axes<1>>>(flat)[0], boundary<Downsample<2, Axes<1>>>(other)[0]));
}

TEST_CASE(
    "a pipeline refuses a shape that its wire does not take before the first step, and names the boundary",
    "[trust]") {
  int batches = 0;
  Engine pipe(World::threads(),
              {stage([](const T& x) { return x * 2; }), stage([&](const T& x) {
                 batches += x.size(0) > 1;
                 return x.flatten(1);
               }),
               stage([](const T& x) { return x; })},
              {&kernel::wire_kernels(Downsample<2>), &kernel::wire_kernels(Wire<Raw, Downsample<2>>{})},
              make_schedule(OneFOneB{}, 3, 2));
  CHECK_THROWS_WITH(pipe.step(torch::randn({4, 2, 4, 4}), {}, only),
                    Catch::Contains("boundary 1, behind stage 1") && Catch::Contains("2x32") &&
                        Catch::Contains("Downsample<2, Axes<1>>"));
  CHECK_THROWS_WITH(pipe.infer(torch::randn({4, 2, 4, 4})), Catch::Contains("boundary 1, behind stage 1"));
  CHECK_THROWS_WITH(pipe.step(torch::randn({4, 8}), {}, only), Catch::Contains("boundary 0, behind stage 0"));
  CHECK(batches == 0);
  pipe.rewire({&kernel::wire_kernels(Downsample<2>), &kernel::wire_kernels(Downsample<2, Axes<1>>)});
  CHECK(std::isfinite(pipe.step(torch::randn({4, 2, 4, 4}), {}, only).item<double>()));
}

TEST_CASE("a lazy negative or conjugate bit is carried out wherever a tensor is read", "[trust]") {
  for (const bool conjugate : {false, true})
    for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
      if (conjugate && type != at::kFloat) continue;  // complex bfloat16 does not exist
      INFO(conjugate << ' ' << c10::toString(type));
      const T plain = torch::randn({3, 4, 5}).to(type);
      const T x = lazily_negative(plain, conjugate);
      REQUIRE(x.is_neg());
      CHECK(torch::equal(boundary<Raw>(x), -plain));
      CHECK(torch::equal(boundary<TopK<Ratio<1, 3>> | Quant<8>>(x),
                         boundary<TopK<Ratio<1, 3>> | Quant<8>>(-plain)));
      Boundary lazy(kernel::wire_kernels(ErrorFeedback | TopK<Ratio<1, 3>>)),
          known(kernel::wire_kernels(ErrorFeedback | TopK<Ratio<1, 3>>));
      Boundary lazy2(kernel::wire_kernels(EF21 | Quant<4>)), known2(kernel::wire_kernels(EF21 | Quant<4>));
      for (int i = 0; i < 3; ++i) {
        CHECK(torch::equal(lazy(x), known(-plain)));
        CHECK(torch::equal(lazy2(x), known2(-plain)));
      }
      // Backward, where the gradient is lazy.
      const T leaf = torch::randn({3, 4, 5}).to(type).requires_grad_();
      const T dx = torch::autograd::grad({boundary<Raw>(leaf)}, {leaf}, {x})[0];
      CHECK(torch::equal(dx, -plain));
      Boundary b(kernel::wire_kernels(Wire<Raw, ErrorFeedback | Half>{}));
      CHECK(torch::allclose(torch::autograd::grad({b(leaf)}, {leaf}, {x})[0], -plain, 1e-2, 1e-2));
      // A checkpoint's file.
      const auto came = checkpoint::unpack_tensors(checkpoint::pack_tensors({{"x", x}}), "test");
      CHECK(torch::equal(came.at(0).second, -plain));
      CHECK(!came.at(0).second.is_neg());
    }
  const T z = torch::randn({4}, at::kComplexFloat);
  CHECK(torch::equal(
      checkpoint::unpack_tensors(checkpoint::pack_tensors({{"z", z.conj()}}), "test").at(0).second,
      z.conj().resolve_conj()));
  const T none = at::_efficientzerotensor({3, 4});
  REQUIRE(none._is_zerotensor());
  CHECK(torch::equal(boundary<Raw>(none), torch::zeros({3, 4})));
  CHECK(torch::equal(checkpoint::unpack_tensors(checkpoint::pack_tensors({{"x", none}}), "test").at(0).second,
                     torch::zeros({3, 4})));
}

TEST_CASE("a pipeline carries out lazy bits in its inputs, activations, gradients and outputs", "[trust]") {
  const auto lazy = [](const T& x) { return lazily_negative(x, true); };
  const T x = torch::randn({6, 5});
  for (const auto& placement : {schedule::RankMap{}, schedule::RankMap{0, 0, 0}}) {
    Engine pipe(World::threads(), {stage([](const T& v) { return v + 1; }), stage(lazy), stage(lazy)},
                {&kernel::wire_kernels(Raw), &kernel::wire_kernels(Raw)},
                make_schedule(OneFOneB{}, 3, 2, placement));
    CHECK(torch::equal(pipe.infer(x), x + 1));
    CHECK(torch::equal(pipe.infer(lazily_negative(x, false)), -x + 1));
    CHECK(torch::equal(pipe.infer(lazily_negative(x, true)), -x + 1));
  }
  // Gradients: a stage whose own gradient is lazy.
  struct Scale : torch::nn::Module {
    T w = register_parameter("w", torch::ones({5}));
    T forward(const T& v) { return v * w; }
  };
  Engine pipe(World::threads(),
              {runtime::stage_spec([] { return std::make_shared<Scale>(); }), stage([](const T& v) {
                 T same = v * 1;
                 if (same.requires_grad())
                   same.register_hook([](const T& g) { return lazily_negative(-g, false); });
                 return same;
               })},
              {&kernel::wire_kernels(Raw)}, make_schedule(GPipe{}, 2, 3));
  pipe.step(x, {}, [](const T& o, const T&) { return o.sum() / 2; });
  CHECK(torch::allclose(pipe.parameters().at(0).grad(), x.sum(0) / 6, 1e-5, 1e-6));
}

TEST_CASE("tensors of any layout in memory: right, or an Error", "[trust]") {
  // Right: the values of a contiguous copy.
  const T base = torch::randn({4, 6, 4, 6});
  for (const T& x :
       {base.narrow(3, 1, 4), base.transpose(1, 3), base.select(0, 1).unsqueeze(0).expand({3, 6, 4, 6}),
        base.as_strided({3, 4, 4, 4}, {2, 3, 4, 1}), base.flip({0}),
        base.contiguous(at::MemoryFormat::ChannelsLast), base.narrow(0, 0, 1)}) {
    INFO(x.strides());
    const T copy = x.clone(at::MemoryFormat::Contiguous);
    CHECK(torch::equal(boundary<Raw>(x), copy));
    CHECK(torch::equal((boundary<Downsample<2> | Quant<8>>(x)), (boundary<Downsample<2> | Quant<8>>(copy))));
    CHECK(torch::equal(boundary<Downsample<2, Axes<1, 3>> | TopK<Ratio<1, 9>>>(x),
                       boundary<Downsample<2, Axes<1, 3>> | TopK<Ratio<1, 9>>>(copy)));
  }
  const T video = torch::randn({2, 3, 4, 5, 6}).contiguous(at::MemoryFormat::ChannelsLast3d);
  CHECK(torch::equal(boundary<Raw>(video), video));
  CHECK(torch::equal(boundary<Downsample<2>>(video), boundary<Downsample<2>>(video.contiguous())));
  CHECK(boundary<Raw>(video).is_contiguous(at::MemoryFormat::ChannelsLast3d));
  // A sparse gradient is dense on the wire.
  const T leaf = torch::randn({3, 5}).requires_grad_(), at = torch::tensor({{0}, {2}, {4}});
  const T dx = torch::autograd::grad({torch::gather(boundary<Raw>(leaf), 1, at, true).sum()}, {leaf})[0];
  CHECK(torch::equal(dx, torch::zeros({3, 5}).scatter(1, at, 1.0)));
  // An Error: what a boundary cannot read as its values.
  CHECK_THROWS_AS(boundary<Raw>(base.to_sparse()), Error);
  CHECK_THROWS_AS(boundary<Raw>(torch::empty({2, 3}, at::kMeta)), Error);
  CHECK_THROWS_AS(boundary<Raw>(base.to(at::kDouble)), Error);
  CHECK_THROWS_AS(boundary<Raw>(torch::ones({3}, at::kLong)), Error);
  CHECK_THROWS_AS(boundary<Raw>(torch::randn({3}, at::kComplexFloat)), Error);
  CHECK_THROWS_AS(boundary<Raw>(at::quantize_per_tensor(base, 0.1, 0, at::kQInt8)), Error);
  CHECK_THROWS_AS(boundary<Raw>(base.narrow(0, 0, 0)), Error);
  CHECK_THROWS_AS(boundary<Raw>(torch::randn({})), Error);
  CHECK_THROWS_AS(
      boundary<Raw>(at::_nested_tensor_from_tensor_list({torch::randn({2, 3}), torch::randn({4, 3})})),
      Error);
  Engine pipe(World::threads(),
              {stage([](const T& v) { return v * 1; }), stage([](const T& v) { return v; })},
              {&kernel::wire_kernels(Raw)}, make_schedule(GPipe{}, 2, 2));
  CHECK_THROWS_AS(pipe.infer(base.to_sparse()), Error);
  CHECK_THROWS_AS(pipe.step(base, base.to_sparse(), only), Error);
  CHECK_THROWS_WITH(checkpoint::pack_tensors({{"table", base.to_sparse()}}), Catch::Contains("'table'"));
}

TEST_CASE("setFlushDenormal on the caller's thread holds on rank threads and on theirs, and ends with it",
          "[trust]") {
  constexpr float tiny = 1e-40f;
  World world = World::threads();
  world.threads_per_rank = 2;
  std::atomic<int> flushed = 0, kept = 0;
  const auto watch = [&](const T& x) {
    at::parallel_for(0, 2, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const volatile float v = tiny;
        const volatile float same = v * 1.0f;
        ++(same == 0.0f ? flushed : kept);
      }
    });
    return x * 0.5f;
  };
  const T x = torch::full({8, 4096}, tiny);
  Engine pipe(world, {stage(watch), stage(watch)}, {&kernel::wire_kernels(Step<Ratio<1, 2>, 16>)},
              make_schedule(GPipe{}, 2, 2));
  pipe.infer(x);  // learns the shapes
  flushed = kept = 0;
  pipe.infer(x);
  CHECK(flushed == 0);
  CHECK(kept == 8);
  REQUIRE(at::globalContext().setFlushDenormal(true));
  flushed = kept = 0;
  pipe.infer(x);
  CHECK(kept == 0);
  CHECK(flushed == 8);
  flushed = kept = 0;
  pipe.step(x, {}, only);
  CHECK(kept == 0);
  REQUIRE(at::globalContext().setFlushDenormal(false));
  flushed = kept = 0;
  pipe.infer(x);
  CHECK(flushed == 0);
  CHECK(kept == 8);
  // A kernel's workers treat denormals as the thread that calls it: the bytes do not depend on who codes what.
  at::set_num_threads(3);
  REQUIRE(at::globalContext().setFlushDenormal(true));
  const T all = boundary<Step<Ratio<1, 2>, 16>>(torch::full({64, 4096}, -tiny));
  REQUIRE(at::globalContext().setFlushDenormal(false));
  CHECK((all == all[0][0]).all().item<bool>());
}
