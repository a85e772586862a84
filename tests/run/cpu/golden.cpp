#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <sstream>

#include "catch.hpp"
#include "wires.hpp"

/// tests/golden/wires.txt holds, for each wire: name; shape; forward payload; CRC-32 of the decoded floats; gradient
/// payload; CRC-32 of the decoded gradient. tests/golden/decode.py reads the same file. Set PCOMP_WRITE_GOLDEN to write
/// it anew, after a change of the format that docs/wire-format.md says.
namespace {

using namespace pcomp;

std::vector<float> values(const Extents& e, std::uint32_t salt) {
  std::vector<float> x(static_cast<std::size_t>(e.size()));
  for (std::uint32_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(((i + salt) * 2654435761u) >> 8) * 0x1p-21f - 4.0f;
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
std::string line(W w, const Extents& e) {
  const auto x = values(e, 0), dy = values(e, 1000);
  std::vector<std::byte> payload(wire_bytes(w, e)), grad(grad_wire_bytes(w, e));
  std::vector<float> y(x.size()), dx(x.size());
  encode(w, std::span<const float>(x), e, payload);
  decode(w, payload, e, std::span<float>(y));
  encode_grad(w, std::span<const float>(dy), e, payload, grad);
  decode_grad(w, grad, e, payload, std::span<float>(dx));
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
