#pragma once

namespace pcomp {

/// The version of this library; CMake reads it here. Ranks of different versions refuse each other.
inline constexpr char version[] = "0.1.0";

}  // namespace pcomp

namespace pcomp::codec {

/// The version of docs/wire-format.md: one more whenever the bytes of some wire and shape change. Ranks compare it too.
inline constexpr int wire_format = 3;

}  // namespace pcomp::codec
