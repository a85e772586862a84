#include "wires.hpp"

#include "../cpu/wires.hpp"

const std::vector<const pcomp::BoundaryOps*>& all_wires() {
  static const auto all = [] {
    std::vector<const pcomp::BoundaryOps*> list;
    for_each_wire([&](auto w) { list.push_back(&pcomp::boundary_ops(w)); });
    return list;
  }();
  return all;
}
