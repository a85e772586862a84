#include "wires.hpp"

#include <algorithm>
#include <pcomp/cpu.hpp>

#include "similar.hpp"
#include "wire_list.hpp"

namespace cifar {

const std::vector<NamedWire>& wires() {
  static const std::vector<NamedWire> all = [] {
    std::vector<NamedWire> list;
    for_each_wire([&](std::string_view name, auto wire) {
      list.push_back({name, &pcomp::kernel::wire_kernels(wire)});
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

std::vector<NamedWire> find_wires(std::string_view names) {
  std::vector<NamedWire> found;
  for (std::size_t begin = 0; begin <= names.size();) {
    const std::size_t end = std::min(names.find('+', begin), names.size());
    found.push_back(find_wire(names.substr(begin, end - begin)));
    begin = end + 1;
  }
  return found;
}

std::vector<NamedWire> wires_at(std::string_view names, const Cut& cut) {
  std::vector<NamedWire> found = find_wires(names);
  if (found.size() == 1) found.resize(cut.compressed.size(), found.front());
  if (found.size() != cut.compressed.size())
    throw pcomp::Error("--wire " + std::string(names) + " names " + std::to_string(found.size()) +
                       " wires, but --cut " + std::string(cut.name) + " has " +
                       std::to_string(cut.compressed.size()) +
                       " compressed boundaries: expected one wire for all, or one for each");
  return found;
}

std::string chains(const std::vector<NamedWire>& wires) {
  std::string all;
  for (const NamedWire& w : wires) all += (all.empty() ? "" : " + ") + std::string(w.ops->name.view());
  return all;
}

}  // namespace cifar
