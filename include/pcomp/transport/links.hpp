#pragma once
#include <string>
#include <vector>

#include "calls.hpp"
#include "transport.hpp"

namespace pcomp {

/// How the ranks of one pipeline reach each other, as one process sees it.
///
/// Errors: as `Transport`; between processes the links are unusable after the first one.
/// Example: docs/architecture.md
class Links {
 public:
  virtual ~Links() = default;
  /// The ranks of this process, and those of other processes.
  virtual const std::vector<int>& here() const = 0;
  virtual const std::vector<int>& elsewhere() const = 0;
  virtual Transport& link(int rank) = 0;
  /// Called before a step: clears what a failed one left behind, or throws if it cannot.
  virtual void begin() = 0;
  /// The record of the calls that all processes make in the same order; null if there is one process.
  virtual Calls* calls() { return nullptr; }
  /// The texts of all processes in rank order. All call it, in the same order; `about` names it in errors.
  virtual std::vector<std::string> exchange(const std::string& about, const std::string& text) = 0;
};

}  // namespace pcomp
