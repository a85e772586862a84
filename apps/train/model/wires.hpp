#pragma once
#include <pcomp/kernel/wire_kernels.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "network.hpp"

namespace cifar {

struct NamedWire {
  std::string_view name;
  const pcomp::kernel::WireKernels* ops;
};

/// The choices of --wire.
const std::vector<NamedWire>& wires();
/// Errors: `pcomp::Error` for an unknown name, suggesting the most similar one.
const NamedWire& find_wire(std::string_view name);
/// The wires of NAME, or of NAME+NAME+... with one for each compressed boundary.
std::vector<NamedWire> find_wires(std::string_view names);
/// The wires of a cut's compressed boundaries, in order.
/// Errors: `pcomp::Error` if there is neither one name nor one per boundary.
std::vector<NamedWire> wires_at(std::string_view names, const Cut& cut);
/// Their codecs in one line.
std::string chains(const std::vector<NamedWire>& wires);

}  // namespace cifar
