// What crosses a boundary, without LibTorch: its size as a constant, and the kernels that write and read the bytes.
#include <algorithm>
#include <iomanip>
#include <iostream>
#include <pcomp/cpu.hpp>
#include <thread>

using namespace pcomp;

inline constexpr auto thin = Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>;

// The size of a payload follows from the wire and the shape alone, so it is a constant.
using Act = Shape<64, 32, 32, 32>;  // N, C, H, W
static_assert(wire_bytes(Quant<8>, Act{}) == 2162688);
static_assert(80 * wire_bytes(thin, Act{}) < wire_bytes(Raw, Act{}));
// The gradient travels without an index: the receiver of the activation knows what was kept.
static_assert(grad_wire_bytes(thin, Act{}) + kernel::index_bytes(thin, Act{}) <= wire_bytes(thin, Act{}));

template <codec::AnyWire W>
void size(W wire) {
  std::cout << "  " << std::left << std::setw(46) << name(wire).view() << std::right << std::setw(9)
            << wire_bytes(wire, Act{}) << std::setw(10) << kernel::index_bytes(wire, Act{}) << std::setw(10)
            << grad_wire_bytes(wire, Act{}) << '\n';
}

void show(const char* what, std::span<const float> values) {
  std::cout << "  " << std::left << std::setw(10) << what << std::right;
  for (float v : values) std::cout << std::setw(10) << v;
  std::cout << '\n';
}

/// Sends one activation and one gradient over a wire, as two devices would.
template <codec::AnyWire W>
void send(W wire, const Extents& shape, std::span<const float> x, std::span<const float> dy) {
  std::vector<float> y(x.size()), dx(x.size());
  std::cout << name(wire).view() << " on " << to_string(shape) << '\n';

  std::vector<std::byte> payload(wire_bytes(wire, shape));
  encode(wire, x, shape, payload);
  decode(wire, payload, shape, std::span(y));
  show("y", y);

  // And back: both sides still have the payload's index block, which is all that they keep of it.
  const auto index = std::span<const std::byte>(payload).first(kernel::index_bytes(wire, shape));
  std::vector<std::byte> grad_payload(grad_wire_bytes(wire, shape));
  encode_grad(wire, dy, shape, index, grad_payload);
  decode_grad(wire, grad_payload, shape, index, std::span(dx));
  show("dx", dx);
}

/// Where a kernel gets its threads: any functor like this. Its second argument is the least work worth a thread.
struct TwoThreads {
  void operator()(std::int64_t n, std::int64_t, kernel::ParallelFor::Body body) const {
    std::jthread other([&] { body(n / 2, n); });
    body(0, n / 2);
  }
};

int main() {
  std::cout << "Bytes for 64x32x32x32                             forward  of these  gradient\n"
               "                                                          the index\n";
  size(Raw);
  size(BFloat16);
  size(Half);
  size(Step<Ratio<1, 16>>);
  size(Quant<8>);
  size(Quant<4>);
  size(Quant<4, PerTensor, Stochastic>);
  size(Hadamard<64> | Quant<4>);
  size(Downsample<2>);
  size(TopK<Ratio<1, 10>>);
  size(TopK<Ratio<1, 10>, PerSample>);
  size(TopK<Ratio<1, 10>> | Quant<8>);
  size(thin);
  size(Wire<thin, Half>{});

  std::cout << "\nWhat arrives\n";
  const std::vector<float> x{0.5f, -2, 0.25f, 1, 3, -0.125f, 0.75f, -1};
  const std::vector<float> dy{1, 2, 3, 4, 5, 6, 7, 8};
  show("x", x);
  show("dy", dy);
  const Extents shape{2, 4};  // known only at run time
  send(Raw, shape, x, dy);
  send(Quant<2>, shape, x, dy);
  send(TopK<Ratio<1, 4>>, shape, x, dy);
  send(Downsample<2>, Extents{1, 1, 2, 4}, x,
       dy);                                    // rows and columns, the last two of four or more dimensions
  send(Downsample<2, Axes<1>>, shape, x, dy);  // a dimension by name; 0 would be the batch
  send(Wire<Step<Ratio<1, 2>>, Half>{}, shape, x, dy);

  std::cout << "\nThe same bytes with every number of threads\n";
  const Extents large{16, 64, 32, 32};
  std::vector<float> values(static_cast<std::size_t>(large.size()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * i % 1009) - 504;
  std::vector<std::byte> one(wire_bytes(thin, large)), two(one.size());
  encode(thin, std::span<const float>(values), large, one);
  encode(thin, std::span<const float>(values), large, two, TwoThreads{});
  std::cout << "  " << one.size() << " bytes, " << (one == two ? "equal" : "different") << '\n';

  std::cout << "\nA mistake is an Error that says what was expected and what came\n";
  try {
    std::vector<std::byte> short_payload(100);
    encode(Quant<8>, std::span<const float>(values), large, short_payload);
  } catch (const Error& e) {
    std::cout << "  " << e.what() << '\n';
  }
  try {
    (void)wire_bytes(Downsample<2>, Extents{10});
  } catch (const Error& e) {
    std::cout << "  " << e.what() << '\n';
  }
  return one == two ? 0 : 1;
}
