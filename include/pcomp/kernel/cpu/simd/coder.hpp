#pragma once
#include <cstdint>

#include "../../arithmetic.hpp"
#include "isa.hpp"

namespace pcomp::detail {

/// Elements that a kernel holds in the L1 cache at a time; a multiple of every group and pack block.
inline constexpr std::int64_t chunk = 2048;
/// Floats of padding past the end of an array that vectors are stored to.
inline constexpr std::int64_t slack = 16;

template <codec::CodeCodec C>
using CodeWord = std::conditional_t<(C::bits <= 8), std::uint8_t,
                                    std::conditional_t<(C::bits <= 16), std::uint16_t, std::uint32_t>>;

}  // namespace pcomp::detail
