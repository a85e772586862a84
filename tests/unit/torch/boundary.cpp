#include <pcomp/pcomp.hpp>

#include "catch.hpp"
#include "net.hpp"

using namespace pcomp;

inline constexpr auto thin = Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>;

TEST_CASE("boundary takes a value or a type and equals the free functions") {
  torch::manual_seed(1);
  const torch::Tensor x = torch::randn({2, 3, 8, 8}).requires_grad_();
  const torch::Tensor y = boundary<thin>(x);
  CHECK(torch::equal(y, boundary<Wire<thin>>(x)));
  CHECK(torch::equal(y, boundary(kernel::wire_kernels(thin), x)));
  const torch::Tensor g = torch::randn(y.sizes());
  y.backward(g);

  const Extents shape{2, 3, 8, 8};
  std::vector<std::byte> payload(wire_bytes(thin, shape)), grad(grad_wire_bytes(thin, shape));
  torch::Tensor expected = torch::empty_like(y), dx = torch::empty_like(y);
  const auto in = [](const torch::Tensor& t) {
    return std::span<const float>(t.const_data_ptr<float>(), 384);
  };
  encode(thin, in(x), shape, payload);
  decode(thin, payload, shape, std::span<float>(expected.mutable_data_ptr<float>(), 384));
  CHECK(torch::equal(y, expected));
  encode_grad(thin, in(g), shape, payload, grad);
  decode_grad(thin, grad, shape, payload, std::span<float>(dx.mutable_data_ptr<float>(), 384));
  CHECK(torch::equal(x.grad(), dx));
}

TEST_CASE("Raw is the identity both ways, strided, channels-last, bfloat16 and half inputs work") {
  torch::manual_seed(2);
  for (const torch::Tensor& x :
       {torch::randn({4, 5}).t(), torch::randn({2, 4, 6, 6}).contiguous(at::MemoryFormat::ChannelsLast),
        torch::randn({3, 7}).to(at::kBFloat16), torch::randn({3, 7}).to(at::kHalf)}) {
    torch::Tensor leaf = x.detach().requires_grad_();
    const torch::Tensor y = boundary<Raw>(leaf);
    CHECK(torch::equal(y, x));
    CHECK(y.dtype() == x.dtype());
    const torch::Tensor g = torch::randn(y.sizes()).to(y.dtype());
    y.backward(g);
    CHECK(torch::equal(leaf.grad(), g));
  }
}

TEST_CASE("A boundary reads strided tensors in place, and results lie as their inputs do") {
  const at::Tensor last = torch::randn({2, 20, 9, 8}).contiguous(at::MemoryFormat::ChannelsLast);
  for (const at::Tensor& x :
       {last, last.to(at::kBFloat16), last.to(at::kHalf), last.narrow(1, 3, 16), last.slice(3, 0, 8, 2),
        last.contiguous().transpose(0, 2), torch::randn({2, 1, 6, 8}).expand({2, 20, 6, 8})}) {
    for (const kernel::WireKernels* wire : {&kernel::wire_kernels(Quant<8>), &kernel::wire_kernels(thin)}) {
      const at::Tensor g = torch::randn(x.sizes()).to(x.dtype()).contiguous(x.suggest_memory_format());
      at::Tensor leaf = x.detach().requires_grad_(), dense = x.contiguous().requires_grad_();
      const at::Tensor y = boundary(*wire, leaf), expected = boundary(*wire, dense);
      CHECK(torch::equal(y, expected));
      CHECK(y.strides() == torch::empty_like(x).strides());
      const at::Tensor dx = torch::autograd::grad({y}, {leaf}, {g})[0];
      CHECK(torch::equal(dx, torch::autograd::grad({expected}, {dense}, {g.contiguous()})[0]));
      CHECK(dx.is_contiguous(x.suggest_memory_format()));
      // sum's gradient has strides of 0
      CHECK(torch::equal(torch::autograd::grad({boundary(*wire, leaf).sum()}, {leaf})[0],
                         torch::autograd::grad({boundary(*wire, dense).sum()}, {dense})[0]));
    }
  }
}

TEST_CASE("What a boundary cannot take is one clear error") {
  const auto says = [](const torch::Tensor& x) {
    try {
      (void)boundary<Quant<8>>(x);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("nothing");
  };
  CHECK(says(torch::randn({2, 3}).to(at::kDouble)).find("takes float, bfloat16 or half, not Double") !=
        std::string::npos);
  CHECK(says(torch::randn({2, 0})).find("at least one element, not 2x0") != std::string::npos);
  CHECK(says(torch::randn({})).find("1 to 8 dimensions") != std::string::npos);
  CHECK(says(torch::Tensor()).find("undefined") != std::string::npos);
  CHECK(says(torch::randn({4, 4}).to_sparse()).find("dense CPU or CUDA tensor") != std::string::npos);
  CHECK(says(torch::randn({4}, at::kMeta)).find("dense CPU or CUDA tensor") != std::string::npos);

  torch::Tensor x = torch::randn({4}).requires_grad_();
  const torch::Tensor y = boundary<Quant<8>>(x);
  CHECK_THROWS_AS(torch::autograd::grad({y.sum()}, {x}, {}, true, true), std::exception);
}

TEST_CASE("A typed pipeline trains, and reports what it sent") {
  using Net = Pipeline<Stage<net::Stem, Wire<thin>>, Stage<net::Body, Wire<Quant<4>, Quant<8>>>,
                       Stage<torch::nn::Sequential>>;
  using Plan = Net::Plan<OneFOneB, 8>;
  static_assert(Net::size == 3 && Plan::deadlock_free && Plan::peak_live[0] == 3);
  Engine pipe(World::threads(),
              Net{[] { return net::Stem(); }, [] { return std::make_shared<net::Body>(); },
                  [] {
                    torch::manual_seed(3);
                    return torch::nn::Sequential(torch::nn::AdaptiveAvgPool2d(1), torch::nn::Flatten(),
                                                 torch::nn::Linear(8, 10));
                  }},
              Plan{});
  torch::manual_seed(4);
  const torch::Tensor x = torch::randn({40, 3, 12, 12}), y = torch::randint(10, {40});
  torch::optim::SGD opt(pipe.parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
  const float first = pipe.step(x, y, cross_entropy).item<float>();
  for (int i = 0; i < 60; ++i) {
    opt.zero_grad();
    pipe.step(x, y, cross_entropy);
    opt.step();
  }
  CHECK(pipe.step(x, y, cross_entropy).item<float>() < 0.8f * first);
  const runtime::Report r = pipe.report();
  REQUIRE(r.boundaries.size() == 2);
  CHECK(r.steps == 62);
  CHECK(r.boundaries[0].forward.bytes ==
        62 * 8 * static_cast<std::int64_t>(wire_bytes(thin, Extents{5, 6, 12, 12})));
  CHECK(r.boundaries[1].gradient.bytes ==
        62 * 8 * static_cast<std::int64_t>(wire_bytes(Quant<8>, Extents{5, 8, 6, 6})));
  static_assert(Net::bytes_per_step<Plan>(1, Extents{5, 8, 6, 6}) > 0);
  for (int e : {0, 1})
    CHECK(r.boundaries[static_cast<std::size_t>(e)].forward.bytes +
              r.boundaries[static_cast<std::size_t>(e)].gradient.bytes ==
          62 * Net::bytes_per_step<Plan>(e, e == 0 ? Extents{5, 6, 12, 12} : Extents{5, 8, 6, 6}));
  CHECK_THROWS_AS(Net::bytes_per_step<Plan>(2, Extents{1}), Error);
  std::ostringstream text;
  text << r;
  CHECK(text.str().find("Downsample<2> | TopK<1/10> | Quant<8>") != std::string::npos);
}
