// A compressor of your own: ten lines, and it is fused, sized and checked like the built-in ones.
#include <iostream>
#include <limits>
#include <pcomp/cpu.hpp>
#include <pcomp/testing/check_codec.hpp>

/// Four bits: a sign and the nearest power of two from 2^-6 to 2^0; zero below 2^-6.5. What would be the code of -0 is
/// kept for NaN and infinities: a coder must not make them vanish.
struct PowerOfTwo : pcomp::Composable {
  static constexpr auto role = pcomp::Role::code;
  static constexpr pcomp::codec::FixedString name = "PowerOfTwo";
  static constexpr int bits = 4;
  static constexpr std::uint32_t encode(float x) {
    const float a = x < 0 ? -x : x;
    std::uint32_t level = 0;
    for (float edge = 0x1.6ap-7f; level < 7 && a >= edge; edge *= 2) ++level;
    const bool finite = a <= std::numeric_limits<float>::max();
    return !finite ? 8u : level | (x < 0 && level ? 8u : 0u);
  }
  static constexpr float decode(std::uint32_t code) {
    if (code == 8) return std::numeric_limits<float>::quiet_NaN();
    const float a = (code & 7) ? static_cast<float>(1 << (code & 7)) * 0x1p-7f : 0.0f;
    return code & 8 ? -a : a;
  }
};

int main() {
  using namespace pcomp;
  // It composes in any order, and its wires have constant sizes.
  constexpr auto wire = PowerOfTwo{} | TopK<Ratio<1, 10>> | Downsample<2>;
  static_assert(wire == (Downsample<2> | PowerOfTwo{} | TopK<Ratio<1, 10>>));
  using Act = Shape<64, 32, 32, 32>;
  static_assert(wire_bytes(PowerOfTwo{}, Act{}) * 8 == wire_bytes(Raw, Act{}));
  std::cout << name(wire).view() << ": " << wire_bytes(wire, Act{}) << " bytes where raw takes "
            << wire_bytes(Raw, Act{}) << "\n\n";

  // One fused kernel for the whole chain, the same as for the built-in codecs.
  const Extents shape{2, 4};
  const std::vector<float> x{0.9f, -0.26f, 0.03f, 0.001f, -1.7f, 0.5f, -0.01f, 0.126f};
  std::vector<std::byte> payload(wire_bytes(PowerOfTwo{}, shape));
  std::vector<float> y(x.size());
  encode(PowerOfTwo{}, std::span<const float>(x), shape, payload);
  decode(PowerOfTwo{}, payload, shape, std::span<float>(y));
  for (std::size_t i = 0; i < x.size(); ++i) std::cout << x[i] << " -> " << y[i] << '\n';

  // The laws, measured. Pass a whole chain to check the combination.
  const testing::CodecLog log = check_codec<PowerOfTwo>();
  std::cout << '\n' << log << '\n' << check_codec<wire>();
  return log ? 0 : 1;
}
