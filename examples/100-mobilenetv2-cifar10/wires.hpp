#pragma once
#include <pcomp/kernel/boundary_ops.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "network.hpp"

namespace cifar {

struct NamedWire {
  std::string_view name;
  const pcomp::BoundaryOps* ops;
};

/// What --wire chooses from.
const std::vector<NamedWire>& wires();
/// Errors: `pcomp::Error` for an unknown name, with the most similar one.
const NamedWire& find_wire(std::string_view name);
/// Of NAME, or of NAME+NAME+...: one for each compressed boundary.
std::vector<NamedWire> find_wires(std::string_view names);
/// What the compressed boundaries of a cut carry, in their order.
/// Errors: `pcomp::Error` where there are neither one nor as many names.
std::vector<NamedWire> wires_at(std::string_view names, const Cut& cut);
/// Their codecs in one line.
std::string chains(const std::vector<NamedWire>& wires);

}  // namespace cifar
