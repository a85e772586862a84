#pragma once
#include <string>
#include <vector>

#include "transport.hpp"

namespace pcomp {

/// How the ranks of one pipeline reach each other, as one process sees it.
///
/// Errors: `Error` of `Transport`; between processes everything is over after the first one.
/// Example: docs/architecture.md
class Links {
 public:
  virtual ~Links() = default;
  /// The ranks of this process, and those of others.
  virtual const std::vector<int>& here() const = 0;
  virtual const std::vector<int>& elsewhere() const = 0;
  virtual Transport& link(int rank) = 0;
  /// Before a step: forgets what a failed one left, or throws where that cannot be.
  virtual void begin() = 0;
  /// The texts of all processes in the order of their ranks. All call it, in the same order; `about` names it in
  /// errors.
  virtual std::vector<std::string> exchange(const std::string& about, const std::string& text) = 0;
};

}  // namespace pcomp
