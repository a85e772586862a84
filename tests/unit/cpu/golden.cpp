#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <pcomp/cpu.hpp>
#include <sstream>

#include "../kernels/kernels.hpp"
#include "catch.hpp"
#include "wires.hpp"

/// tests/golden/wires.txt holds, for each wire: name; shape; forward payload; CRC-32 of the decoded floats; gradient
/// payload; CRC-32 of the decoded gradient. tests/golden/decode.py reads the same file. After a change of the format
/// that docs/wire-format.md describes, set PCOMP_WRITE_GOLDEN to write the file anew.
namespace {

using namespace pcomp;

std::vector<float> values(const Extents& e, std::uint32_t rng_counter) {
  std::vector<float> x(static_cast<std::size_t>(e.size()));
  for (std::uint32_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(((i + rng_counter) * 2654435761u) >> 8) * 0x1p-21f - 4.0f;
  return x;
}

std::string hex(const std::vector<std::byte>& b) {
  std::ostringstream s;
  for (auto v : b) s << std::hex << std::setw(2) << std::setfill('0') << static_cast<int>(v);
  return s.str();
}

std::uint32_t crc32(const std::vector<float>& v) {
  std::uint32_t c = 0xffffffffu;
  const auto* p = reinterpret_cast<const unsigned char*>(v.data());
  for (std::size_t i = 0; i < v.size() * sizeof(float); ++i) {
    c ^= p[i];
    for (int b = 0; b < 8; ++b) c = (c >> 1) ^ (c & 1 ? 0xedb88320u : 0u);
  }
  return ~c;
}

template <class W>
std::string line(W w, const Extents& given) {
  const Extents e = fitting(kernels_of(w), given);
  const auto x = values(e, 0), dy = values(e, 1000);
  std::vector<std::byte> payload(wire_bytes(w, e)), grad(grad_wire_bytes(w, e));
  std::vector<float> y(x.size()), dx(x.size());
  const kernel::WireKernels& k = kernels_of(w);
  k.encode(std::span<const float>(x), e, payload, {});
  k.decode(payload, e, std::span<float>(y), {});
  k.encode_grad(std::span<const float>(dy), e, payload, grad, {});
  k.decode_grad(grad, e, payload, std::span<float>(dx), {});
  std::ostringstream s;
  s << name(w).view() << ';' << to_string(e) << ';' << hex(payload) << ';' << crc32(y) << ';' << hex(grad)
    << ';' << crc32(dx);
  return s.str();
}

}  // namespace

TEST_CASE("the bytes are the golden ones", "[wire]") {
  const std::string path = std::string(PCOMP_SOURCE_DIR) + "/tests/golden/wires.txt";
  std::vector<std::string> now;
  for_each_wire([&](auto w) { now.push_back(line(w, Extents{2, 3, 5, 9})); });
  for_each_wire([&](auto w) { now.push_back(line(w, Extents{3, 70})); });
  if (std::getenv("PCOMP_WRITE_GOLDEN")) {
    std::ofstream out(path);
    for (const auto& l : now) out << l << '\n';
  }
  std::ifstream in(path);
  REQUIRE(in);
  std::string golden;
  for (const auto& l : now) {
    REQUIRE(std::getline(in, golden));
    CHECK(l == golden);
  }
  CHECK(!std::getline(in, golden));
}

namespace {

std::vector<float> tensor(const std::string& text, std::int64_t n) {
  std::istringstream in(text);
  std::vector<float> x;
  if (text.find(':') == std::string::npos) {
    for (std::string v; in >> v;) x.push_back(std::stof(v));  // also "nan"
  } else {
    x.resize(static_cast<std::size_t>(n));
    std::size_t i;
    for (char colon; in >> i >> colon;) in >> x.at(i);
  }
  REQUIRE(static_cast<std::int64_t>(x.size()) == n);
  return x;
}

std::string packed_hex(std::string text) {
  std::erase(text, ' ');
  return text;
}

template <class W>
void example(W w, const std::vector<std::string>& lines, const Extents& e, const std::string& input) {
  INFO(lines[0]);
  const auto x = tensor(input, e.size());
  std::vector<std::byte> payload(wire_bytes(w, e)), grad(grad_wire_bytes(w, e));
  encode(w, std::span<const float>(x), e, payload);
  CHECK(hex(payload) == packed_hex(lines.at(1)));
  if (lines.size() == 3) return;
  const auto dy = tensor(lines[3].substr(std::string("gradient ").size()), e.size());
  encode_grad(w, std::span<const float>(dy), e, payload, grad);
  CHECK(hex(grad) == packed_hex(lines.at(4)));
}

}  // namespace

TEST_CASE("the examples of docs/wire-format.md are what is sent", "[wire]") {
  std::ifstream in(std::string(PCOMP_SOURCE_DIR) + "/docs/wire-format.md");
  REQUIRE(in);
  int shown = 0;
  for (std::string l; std::getline(in, l);) {
    if (l != "```") continue;
    std::vector<std::string> lines;
    while (std::getline(in, l) && l != "```") lines.push_back(l);
    const auto second = lines.at(0).rfind(" | ");
    if (second == std::string::npos || second == 0) continue;
    const auto first = lines[0].rfind(" | ", second - 1);
    if (first == std::string::npos) continue;  // a picture, not an example
    const std::string wire = lines[0].substr(0, first),
                      shape = lines[0].substr(first + 3, second - first - 3);
    std::vector<std::int64_t> extents;
    std::istringstream numbers(shape);
    for (std::string n; std::getline(numbers, n, 'x');) extents.push_back(std::stoll(n));
    const Extents e(extents.begin(), extents.end());
    const auto try_wire = [&](auto w) {
      if (name(w) != wire) return;
      example(w, lines, e, lines[0].substr(second + 3));
      ++shown;
    };
    [&](auto... w) { (try_wire(w), ...); }(Raw, Half, BFloat16, Step<Ratio<1, 2>>, Quant<4>, Quant<3>,
                                           Quant<8>, Quant<2, PerTensor>, TopK<Ratio<1, 4>>,
                                           TopK<Ratio<1, 250>>, Downsample<2>, Downsample<2, Axes<1>>,
                                           TopK<Ratio<1, 4>> | Half, Hadamard<64> | Quant<4>);
  }
  CHECK(shown == 15);
}
