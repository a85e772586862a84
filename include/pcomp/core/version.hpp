#pragma once

namespace pcomp {

/// The version of this library; CMake reads it here. Ranks of different versions refuse each other.
inline constexpr char version[] = "0.1.0";

}  // namespace pcomp
