#pragma once
#include <pcomp/kernel/boundary_ops.hpp>
#include <vector>

/// The kernels of all wires of for_each_wire, in its order; compiled once for all tests, as they are most of the work.
const std::vector<const pcomp::BoundaryOps*>& all_kernels();

/// The kernels of one wire.
template <class W>
const pcomp::BoundaryOps& kernels_of(W w) {
  for (const pcomp::BoundaryOps* k : all_kernels())
    if (k->name == pcomp::name(w).view()) return *k;
  throw pcomp::Error("for_each_wire has no " + std::string(pcomp::name(w).view()));
}
