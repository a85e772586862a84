// Compares the CUDA kernels with the CPU's: on a GPU or, from the same source, emulated thread by thread.
#include <cmath>
#include <cstring>
#include <fstream>
#include <numeric>
#include <random>
#include <sstream>

#include "../../unit/cpu/catch.hpp"
#include "../../unit/kernels/kernels.hpp"
#include "device.hpp"

namespace {

using namespace pcomp;
using device::Bytes;
using Floats = std::vector<float>;

const kernel::WireKernels& cpu_kernels(const kernel::GpuWireKernels& ops) {
  for (const kernel::WireKernels* k : all_kernels())
    if (k->name == ops.name.view()) return *k;
  throw Error("no CPU kernels of " + std::string(ops.name.view()));
}
bool selects(const kernel::GpuWireKernels& ops) {
  return ops.name.view().find("TopK") != std::string_view::npos;
}

enum Kind { normal, relu, ties, every_magnitude, odd, equal };

Floats values(const Extents& e, Kind kind, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution;
  Floats x(static_cast<std::size_t>(e.size()));
  for (float& v : x) {
    v = distribution(random);
    if (kind == relu) v = v > 0 ? v : random() % 2 ? 0.0f : -0.0f;
    if (kind == ties) v = std::round(v * 2) / 2;
    if (kind == every_magnitude) v = std::ldexp(v, static_cast<int>(random() % 260) - 140);
    if (kind == odd && random() % 50 == 0) {
      const float those[] = {INFINITY, -INFINITY, NAN, -0.0f, 3.4e38f, -3.4e38f, 1e-45f};
      v = those[random() % 7];
    }
    if (kind == equal) v = 7.25f;
  }
  return x;
}

bool same(const Floats& a, const Floats& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0 && !(std::isnan(a[i]) && std::isnan(b[i])))
      return false;
  return a.size() == b.size();
}

/// Adds the noise for a Stochastic coder; the golden bytes were made with noise 0.
kernel::TensorView with_noise(kernel::TensorView x, std::uint64_t noise = kernel::rng_counter(3, true, 77)) {
  x.noise = noise;
  return x;
}

/// What all four calls give on the GPU.
struct Sent {
  std::vector<std::byte> payload, grad;
  Floats y, dx;
  bool in_bounds;

  Sent(const kernel::GpuWireKernels& ops, const Extents& e, const Floats& x, const Floats& dy,
       std::uint64_t noise = kernel::rng_counter(3, true, 77)) {
    const kernel::WireKernels& k = cpu_kernels(ops);
    const Bytes from(x), from_grad(dy), p(k.bytes(e)), g(k.grad_bytes(e)), to(x.size() * 4);
    const kernel::TensorView in =
        with_noise({from.data(), kernel::DType::f32, e.size(), device::gpu()}, noise);
    const kernel::MutableTensorView out(to.data(), kernel::DType::f32, e.size(), device::gpu());
    ops.encode(in, e, p.all());
    payload = p.read();
    ops.decode(p.all(), e, out);
    y = to.read<float>();
    ops.encode_grad(with_noise({from_grad.data(), kernel::DType::f32, e.size(), device::gpu()}, noise), e,
                    p.all(), g.all());
    grad = g.read();
    const std::vector<std::byte> index_block(payload.begin(),
                                             payload.begin() + static_cast<std::ptrdiff_t>(k.index_bytes(e)));
    const Bytes index(index_block);  // the index block alone is enough
    ops.decode_grad(g.all(), e, index.all(), out);
    dx = to.read<float>();
    in_bounds = p.whole() && g.whole() && to.whole() && from.whole() && index.whole();
  }
};

void agrees(const kernel::GpuWireKernels& ops, const Extents& given, Kind kind) {
  const Extents e = fitting(cpu_kernels(ops), given);
  INFO(ops.name.view() << " on " << to_string(e) << ", values of kind " << kind);
  const Floats x = values(e, kind, 1), dy = values(e, kind == odd ? odd : normal, 2);
  const kernel::WireKernels& k = cpu_kernels(ops);
  std::vector<std::byte> payload(k.bytes(e)), grad(k.grad_bytes(e));
  Floats y(x.size()), dx(x.size());
  k.encode(with_noise(std::span<const float>(x)), e, payload, {});
  k.decode(payload, e, std::span<float>(y), {});
  k.encode_grad(with_noise(std::span<const float>(dy)), e, payload, grad, {});
  k.decode_grad(grad, e, payload, std::span<float>(dx), {});
  const Sent sent(ops, e, x, dy);
  CHECK((sent.payload == payload));
  CHECK(same(sent.y, y));
  CHECK((sent.grad == grad));
  CHECK(same(sent.dx, dx));
  CHECK(sent.in_bounds);
}

std::string hex(const std::vector<std::byte>& b) {
  std::string s;
  for (auto v : b)
    s += "0123456789abcdef"[static_cast<int>(v) / 16], s += "0123456789abcdef"[static_cast<int>(v) % 16];
  return s;
}

}  // namespace

TEST_CASE("the GPU's bytes are the golden ones", "[cuda]") {
  std::ifstream in(std::string(PCOMP_SOURCE_DIR) + "/tests/golden/wires.txt");
  REQUIRE(in);
  int checked = 0;
  for (const Extents& e : {Extents{2, 3, 5, 9}, Extents{3, 70}}) {
    const auto golden_values = [&](std::uint32_t rng_counter) {
      Floats x(static_cast<std::size_t>(e.size()));
      for (std::uint32_t i = 0; i < x.size(); ++i)
        x[i] = static_cast<float>(((i + rng_counter) * 2654435761u) >> 8) * 0x1p-21f - 4.0f;
      return x;
    };
    for (const kernel::GpuWireKernels* ops : device::kernels()) {
      std::string line, field[6];
      REQUIRE(std::getline(in, line));
      std::istringstream fields(line);
      for (auto& f : field) std::getline(fields, f, ';');
      REQUIRE(field[0] == ops->name.view());
      INFO(field[0] << " on " << field[1]);
      const Sent sent(*ops, fitting(cpu_kernels(*ops), e), golden_values(0), golden_values(1000), 0);
      CHECK(hex(sent.payload) == field[2]);
      CHECK(hex(sent.grad) == field[4]);
      ++checked;
    }
  }
  CHECK(checked == 2 * static_cast<int>(device::kernels().size()));
}

TEST_CASE("every wire agrees with the CPU on small and ragged shapes", "[cuda][small]") {
  const Kind kind = GENERATE(normal, relu, ties, every_magnitude, odd, equal);
  for (const kernel::GpuWireKernels* ops : device::kernels())
    for (const Extents& e : {Extents{3, 5, 9, 11}, Extents{2, 130}, Extents{1, 1, 1, 1}})
      agrees(*ops, e, kind);
}

TEST_CASE("every wire agrees with the CPU over several tiles", "[cuda]") {
  const Kind kind = GENERATE(relu, odd);
  for (const kernel::GpuWireKernels* ops : device::kernels())
    agrees(*ops, kind == relu ? Extents{2, 3, 67, 65} : Extents{2, 1, 101, 99}, kind);
}

TEST_CASE("a selection over a large tensor is exact, sampled well or misled", "[cuda]") {
  for (const kernel::GpuWireKernels* ops : device::kernels()) {
    const auto n = ops->name;
    if (n == "TopK<1/10> | Quant<8>" || n == "TopK<1/700>" || (!device::emulated() && selects(*ops)))
      for (const Kind kind : {normal, ties}) agrees(*ops, Extents{1, 140001}, kind);
    if (n == "TopK<1/10, PerSample> | Quant<8>") agrees(*ops, Extents{2, 140001}, relu);
    if (n != "TopK<1/10> | Quant<8>") continue;
    // The large values lie where no run of the sample looks.
    const Extents e{1, 1 << 18};
    Floats x(static_cast<std::size_t>(e.size()));
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t within = i % 513;
      x[i] = within > 100 && within < 160 ? 100 + static_cast<float>(i % 977)
                                          : static_cast<float>(i % 1000) * 1e-4f;
    }
    std::vector<std::byte> payload(cpu_kernels(*ops).bytes(e));
    cpu_kernels(*ops).encode(std::span<const float>(x), e, payload, {});
    CHECK((Sent(*ops, e, x, x).payload == payload));
  }
}

TEST_CASE("a selection agrees with the CPU on either side of its thresholds", "[cuda]") {
  // Up to 8192 elements fit into a block; from 2^17 on the cut is sampled; a tile has 2048.
  for (const kernel::GpuWireKernels* ops : device::kernels())
    if (ops->name == "TopK<1/10> | Quant<8>")
      for (const std::int64_t n : {2047, 2049, 8191, 8192, 8193, 131071, 131072, 131073})
        agrees(*ops, Extents{n}, n < 100000 ? relu : ties);
}

TEST_CASE("bfloat16, half and channels-last tensors are read and written in place", "[cuda]") {
  const Extents e{2, 5, 10, 13};
  const Extents row_major{650, 130, 13, 1}, channels_innermost{650, 1, 65, 5};
  const auto n = static_cast<std::size_t>(e.size());
  const Floats x = values(e, normal, 3);
  const auto place = [&](std::size_t i) {  // where element i lies in channels-last memory
    return (i / 650 * 130 + i % 130) * 5 + i / 130 % 5;
  };
  for (const kernel::DType t : {kernel::DType::f32, kernel::DType::bf16, kernel::DType::f16})
    for (const bool channels_last : {false, true}) {
      const Extents& strides = channels_last ? channels_innermost : row_major;
      const bool wide = t == kernel::DType::f32;
      std::vector<std::uint16_t> x16(n);
      Floats rounded(n), arranged(n);
      for (std::size_t i = 0; i < n; ++i) {
        const std::uint16_t h = t == kernel::DType::bf16 ? detail::to_bf16(x[i]) : detail::to_half(x[i]);
        rounded[i] = wide ? x[i] : t == kernel::DType::bf16 ? detail::from_bf16(h) : detail::from_half(h);
        x16[channels_last ? place(i) : i] = h;
        arranged[channels_last ? place(i) : i] = x[i];
      }
      const Bytes from = wide ? Bytes(arranged) : Bytes(x16);
      for (const kernel::GpuWireKernels* ops : device::kernels()) {
        INFO(ops->name.view() << ", dtype " << static_cast<int>(t)
                              << (channels_last ? ", channels-last" : ""));
        const kernel::WireKernels& k = cpu_kernels(*ops);
        std::vector<std::byte> payload(k.bytes(e));
        Floats y(n);
        k.encode(std::span<const float>(rounded), e, payload, {});
        k.decode(payload, e, std::span<float>(y), {});
        const Bytes p(payload.size()), to(n * (wide ? 4 : 2));
        ops->encode(kernel::TensorView(from.data(), t, e, strides, device::gpu()), e, p.all());
        CHECK((p.read() == payload));
        ops->decode(p.all(), e, kernel::MutableTensorView(to.data(), t, e, strides, device::gpu()));
        bool equal = true;
        const auto f = to.read<float>();
        const auto h = to.read<std::uint16_t>();
        for (std::size_t i = 0; i < n; ++i) {
          const std::size_t at = channels_last ? place(i) : i;
          equal =
              equal &&
              (wide ? f[at] == y[i]
                    : h[at] == (t == kernel::DType::bf16 ? detail::to_bf16(y[i]) : detail::to_half(y[i])));
        }
        CHECK(equal);
        CHECK((p.whole() && to.whole()));
      }
    }
}

TEST_CASE("a CUDA graph replays all four calls: nothing in them waits for the GPU", "[cuda]") {
  const Extents e{3, 4, 67, 65};
  for (const kernel::GpuWireKernels* ops : device::kernels()) {
    if (device::emulated() && ops->name != "Quant<8>" && ops->name != "Downsample<2> | TopK<1/10> | Quant<8>")
      continue;
    INFO(ops->name.view());
    const kernel::WireKernels& k = cpu_kernels(*ops);
    const Bytes x(static_cast<std::size_t>(e.size()) * 4), y(x.all().size()), p(k.bytes(e)),
        g(k.grad_bytes(e));
    const kernel::TensorView in(x.data(), kernel::DType::f32, e.size(), device::gpu());
    const kernel::MutableTensorView out(y.data(), kernel::DType::f32, e.size(), device::gpu());
    const auto all_four = [&] {
      ops->encode(in, e, p.all());
      ops->decode(p.all(), e, out);
      ops->encode_grad(in, e, p.all(), g.all());
      ops->decode_grad(g.all(), e, p.all(), out);
    };
    all_four();  // kernels are loaded when they first run, which must not happen in a capture
    const auto replay = device::captured(all_four);
    for (const unsigned seed : {1u, 2u}) {
      const Floats values_now = values(e, normal, seed);
      std::vector<std::byte> payload(k.bytes(e)), grad(k.grad_bytes(e));
      Floats dx(values_now.size());
      k.encode(std::span<const float>(values_now), e, payload, {});
      k.encode_grad(std::span<const float>(values_now), e, payload, grad, {});
      k.decode_grad(grad, e, payload, std::span<float>(dx), {});
      device::copy(x.data(), values_now.data(), x.all().size());
      replay();
      CHECK((p.read() == payload));
      CHECK((g.read() == grad));
      CHECK(same(y.read<float>(), dx));
    }
  }
}

TEST_CASE("a tensor that does not begin at a multiple of 16 bytes is read and written all the same",
          "[cuda]") {
  const Extents given{1, 1300};
  const Floats x = values(given, normal, 7);
  Floats shifted{0};
  shifted.insert(shifted.end(), x.begin(), x.end());
  const Bytes from(shifted), to(shifted.size() * 4);
  for (const kernel::GpuWireKernels* ops : device::kernels()) {
    INFO(ops->name.view());
    const kernel::WireKernels& k = cpu_kernels(*ops);
    const Extents e = fitting(k, given);
    std::vector<std::byte> payload(k.bytes(e));
    Floats y(x.size());
    k.encode(std::span<const float>(x), e, payload, {});
    k.decode(payload, e, std::span<float>(y), {});
    const Bytes p(payload.size());
    ops->encode(kernel::TensorView(static_cast<const float*>(from.data()) + 1, kernel::DType::f32, e.size(),
                                   device::gpu()),
                e, p.all());
    CHECK((p.read() == payload));
    ops->decode(p.all(), e,
                kernel::MutableTensorView(static_cast<float*>(to.data()) + 1, kernel::DType::f32, e.size(),
                                          device::gpu()));
    const Floats got = to.read<float>();
    CHECK(same(Floats(got.begin() + 1, got.end()), y));
  }
}

TEST_CASE("any bytes of the right length decode within bounds", "[cuda]") {
  const unsigned seed = GENERATE(range(0u, 6u));
  std::mt19937 random(seed);
  for (const kernel::GpuWireKernels* ops : device::kernels())
    for (const Extents& given : {Extents{2, 3, 9, 11}, Extents{5, 1300}}) {
      const kernel::WireKernels& k = cpu_kernels(*ops);
      const Extents e = fitting(k, given);
      INFO(ops->name.view() << " on " << to_string(e) << ", seed " << seed);
      const auto noise = [&](std::size_t size) {
        // Set bits at three densities: index blocks with too few positions, about the right number, and too many.
        std::vector<std::byte> bytes(size);
        for (std::byte& b : bytes) {
          const auto r = static_cast<unsigned>(random());
          b = static_cast<std::byte>(seed % 3 == 0   ? r & r >> 8 & r >> 16
                                     : seed % 3 == 1 ? r
                                                     : r | r >> 8 | r >> 16);
        }
        return bytes;
      };
      const Bytes p(noise(k.bytes(e))), g(noise(k.grad_bytes(e))), to(static_cast<std::size_t>(e.size()) * 4);
      const kernel::MutableTensorView out(to.data(), kernel::DType::f32, e.size(), device::gpu());
      ops->decode(p.all(), e, out);
      ops->decode_grad(g.all(), e, p.all(), out);
      ops->encode_grad(kernel::TensorView(to.data(), kernel::DType::f32, e.size(), device::gpu()), e, p.all(),
                       g.all());
      device::wait();
      CHECK(device::trouble() == "");
      CHECK((p.whole() && g.whole() && to.whole()));
    }
}

TEST_CASE("the table of a wire takes the tensor's device, or says what is missing", "[cuda]") {
  const Extents e{2, 4, 8, 8};
  const Floats x = values(e, normal, 1);
  const Bytes from(x);
  const kernel::TensorView here(std::span<const float>{x}),
      there(from.data(), kernel::DType::f32, e.size(), device::gpu());
  int tables = 0;
  for (const kernel::WireKernels* k : all_kernels()) {
    std::vector<std::byte> payload(k->bytes(e));
    if (k->name == "Quant<8>" || k->name == "Downsample<2> | TopK<1/10> | Quant<8>") {
      ++tables;
      std::vector<std::byte> grad(k->grad_bytes(e)), host(payload.size()), host_grad(grad.size());
      Floats y(x.size()), dx(x.size());
      const Bytes to(x.size() * 4);
      const kernel::MutableTensorView out(to.data(), kernel::DType::f32, e.size(), device::gpu());
      k->encode(here, e, payload, {});
      k->encode(there, e, host, {});  // the payload on the host
      CHECK((host == payload));
      k->decode(payload, e, std::span<float>(y), {});
      k->decode(host, e, out, {});
      CHECK(same(to.read<float>(), y));
      k->encode_grad(here, e, payload, grad, {});
      k->encode_grad(there, e, host, host_grad, {});
      CHECK((host_grad == grad));
      k->decode_grad(grad, e, payload, std::span<float>(dx), {});
      k->decode_grad(host_grad, e, host, out, {});
      CHECK(same(to.read<float>(), dx));
    }
    if (k->name == "Quant<7>")
      CHECK_THROWS_WITH(
          k->encode(there, e, payload, {}),
          "pcomp: this program has no CUDA kernels for the wire Quant<7>: add PCOMP_GPU_KERNELS with "
          "that wire, as the program spells it, to a unit that nvcc compiles, see docs/gpu.md");
  }
  CHECK(tables == 2);
}

TEST_CASE("what the kernels cannot take is one clear error", "[cuda]") {
  const kernel::GpuWireKernels& ops = *device::kernels().front();
  const Extents e{4, 8};
  const Bytes x(128), p(200);
  const kernel::TensorView in(x.data(), kernel::DType::f32, 32, device::gpu());
  CHECK_THROWS_WITH(ops.encode(in, e, p.all()), "pcomp: the payload has 200 bytes, but Raw on 4x8 takes 128");
  CHECK_THROWS_WITH(ops.encode(in, Extents{4, 9}, p.all().first(144)),
                    "pcomp: the input has 32 elements, but the shape 4x9 has 36");
  CHECK_THROWS_WITH(
      ops.encode(in, e, p.all().subspan(4, 128)),
      "pcomp: the CUDA kernels take a payload at a multiple of 16 bytes, not one that lies 4 beyond it");
  CHECK_THROWS_WITH(
      ops.encode(kernel::TensorView(x.data(), kernel::DType::f32, e, {1, 4}, device::gpu()), e,
                 p.all().first(128)),
      "pcomp: the CUDA kernels take row-major or channels-last memory without gaps, not the strides "
      "1x4 of 4x8");
  const Extents image{1, 2, 1, 8}, gap{32, 1, 32, 3};
  CHECK_THROWS_WITH(
      ops.decode(p.all().first(64), image,
                 kernel::MutableTensorView(x.data(), kernel::DType::f32, image, gap, device::gpu())),
      Catch::Contains("not the strides 32x1x32x3 of 1x2x1x8"));
  CHECK_NOTHROW(ops.decode(
      p.all().first(64), image,  // strides of extents of 1 do not matter
      kernel::MutableTensorView(x.data(), kernel::DType::f32, image, {7, 1, 7, 2}, device::gpu())));
  CHECK_THROWS_WITH(
      ops.encode(kernel::TensorView(x.data(), kernel::DType::f32, std::int64_t{1} << 31, device::gpu()),
                 Extents{1 << 16, 1 << 15}, std::span(p.all().data(), std::size_t{1} << 33)),
      "pcomp: the CUDA kernels take fewer than 2^31 elements, not 65536x32768");
}
