#pragma once
#include <stdexcept>

namespace pcomp {

/// The one exception of pcomp: says what was expected and what came.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace pcomp
