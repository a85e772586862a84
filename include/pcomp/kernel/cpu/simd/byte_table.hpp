#pragma once
#include <cstdint>

namespace pcomp::detail {

/// For each byte the places of its ones, the lowest first. In static storage and by bytes, 2 KB in all: a table local to
/// an inlined function may be copied to the stack in every call, and one of words would fill a quarter of the L1 cache.
struct ByteTable {
  alignas(64) std::uint8_t ones[256][8];
};
inline constexpr ByteTable byte_table = [] {
  ByteTable t{};
  for (int byte = 0; byte < 256; ++byte)
    for (int bit = 0, n = 0; bit < 8; ++bit)
      if (byte >> bit & 1) t.ones[byte][n++] = static_cast<std::uint8_t>(bit);
  return t;
}();

}  // namespace pcomp::detail
