#pragma once
#include <stdexcept>
#include <string>

namespace pcomp {

/// The version of this library; CMake reads it here. Ranks of different versions refuse each other.
inline constexpr char version[] = "0.1.0";

}  // namespace pcomp

namespace pcomp::codec {

/// The version of docs/wire-format.md: one more whenever the bytes of some wire and shape change. Ranks compare it too.
inline constexpr int wire_format = 3;

}  // namespace pcomp::codec

namespace pcomp {

/// The one exception type of pcomp; its text says what was expected and what was found.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace pcomp

namespace pcomp::detail {

/// The text without its "pcomp: " prefix, for an error that prepends more.
inline std::string bare(std::string text) {
  if (text.starts_with("pcomp: ")) text.erase(0, 7);
  return text;
}

}  // namespace pcomp::detail
