#pragma once
#include <pcomp/kernel/boundary_ops.hpp>
#include <string_view>
#include <vector>

namespace cifar {

struct NamedWire {
  std::string_view name;
  const pcomp::BoundaryOps* ops;
};

/// What --wire chooses from.
const std::vector<NamedWire>& wires();
/// Errors: `pcomp::Error` for an unknown name, with the most similar one.
const NamedWire& find_wire(std::string_view name);

}  // namespace cifar
