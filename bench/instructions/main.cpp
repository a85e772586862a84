// One call of each kernel of the main wires, for valgrind to count; see run.py.
#include <cstdio>
#include <pcomp/cpu.hpp>
#include <random>

namespace {

using namespace pcomp;

constexpr auto thin = Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>;
const Extents shape{8, 32, 32, 32};  // 2^18 elements

struct Tensors {
  std::vector<float> x, dy, y;
  Tensors() : x(static_cast<std::size_t>(shape.size())), dy(x.size()), y(x.size()) {
    std::mt19937 random(1);
    // Sums of uniform numbers: std::normal_distribution differs between standard libraries.
    for (float& v : x) v = sum(random);
    for (float& v : dy) v = sum(random);
  }
  static float sum(std::mt19937& random) {
    float s = -2;
    for (int i = 0; i < 4; ++i) s += static_cast<float>(random() >> 8) * 0x1p-24f;
    return s;
  }
};

}  // namespace

/// valgrind counts what runs in here, and dumps the count at the end of each call.
extern "C" [[gnu::noinline]] void counted(kernel::FunctionRef<void()> job) { job(); }

int main() {
  // AVX2, whatever else the machine has: valgrind does not know AVX-512.
  if (detail::best_isa() == detail::Isa::baseline)
    return std::fprintf(stderr, "skipped: the counts are AVX2's\n"), 77;
  detail::isa() = detail::Isa::avx2;
#if defined(__clang__)
  std::printf("clang++ %d\n", __clang_major__);
#else
  std::printf("g++ %d\n", __GNUC__);
#endif
  Tensors t;
  const std::span<const float> x(t.x), dy(t.dy);
  const std::span<float> y(t.y);
  const auto count = [&](const char* wire, auto w) {
    std::vector<std::byte> payload(wire_bytes(w, shape)), grad(grad_wire_bytes(w, shape));
    encode(w, x, shape, payload);  // the first call allocates
    const auto job = [&](const char* name, auto&& call) {
      std::printf("%s %s\n", wire, name);
      counted(call);
    };
    job("encode", [&] { encode(w, x, shape, payload); });
    job("decode", [&] { decode(w, payload, shape, y); });
    job("grad-encode", [&] { encode_grad(w, dy, shape, payload, grad); });
    job("grad-decode", [&] { decode_grad(w, grad, shape, payload, y); });
  };
  count("quant8", Quant<8>);
  count("topk10-quant8", TopK<Ratio<1, 10>> | Quant<8>);
  count("thin", thin);
}
