#include "wires.hpp"

#include <pcomp/cpu.hpp>

#include "similar.hpp"
#include "wire_list.hpp"

namespace cifar {

const std::vector<NamedWire>& wires() {
  static const std::vector<NamedWire> all = [] {
    std::vector<NamedWire> list;
    for_each_wire([&](std::string_view name, auto wire) {
      list.push_back({name, &pcomp::boundary_ops(wire)});
    });
    return list;
  }();
  return all;
}

const NamedWire& find_wire(std::string_view name) {
  std::vector<std::string> names;
  for (const NamedWire& w : wires()) {
    if (w.name == name) return w;
    names.emplace_back(w.name);
  }
  throw pcomp::Error("there is no wire '" + std::string(name) + "': did you mean '" +
                     most_similar(name, names) + "'? --list-wires shows all");
}

}  // namespace cifar
