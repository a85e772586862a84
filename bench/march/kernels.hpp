#pragma once
#include <pcomp/kernel/boundary_ops.hpp>

/// A wire's kernels as one of the two libraries has them.
struct Kernels {
  const char* name;
  const pcomp::BoundaryOps* ops;
};
inline constexpr int wire_count = 8;

/// The libraries' one function: the first of `wire_count` wires.
using FirstKernels = const Kernels*();
