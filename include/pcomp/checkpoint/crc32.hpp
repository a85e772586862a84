#pragma once
#include <array>
#include <cstdint>
#include <string_view>

namespace pcomp::detail {

/// The CRC-32 of zlib, so that `zlib.crc32` in Python checks a file too.
///
/// Source: RFC 1952, section 8.
constexpr std::uint32_t crc32(std::string_view bytes) {
  constexpr auto table = [] {
    std::array<std::uint32_t, 256> t{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t c = i;
      for (int k = 0; k < 8; ++k) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
      t[i] = c;
    }
    return t;
  }();
  std::uint32_t crc = ~0u;
  for (const char c : bytes) crc = table[(crc ^ static_cast<unsigned char>(c)) & 255] ^ (crc >> 8);
  return ~crc;
}
static_assert(crc32("123456789") == 0xcbf43926u);

}  // namespace pcomp::detail
