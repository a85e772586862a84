#pragma once
#include <stdexcept>
#include <string>

namespace pcomp {

/// The one exception of pcomp: says what was expected and what came.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

namespace detail {
/// A text without the library's name, for an error that puts more in front of it.
inline std::string bare(std::string text) {
  if (text.starts_with("pcomp: ")) text.erase(0, 7);
  return text;
}
}  // namespace detail

}  // namespace pcomp
