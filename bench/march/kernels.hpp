#pragma once
#include <pcomp/kernel/wire_kernels.hpp>

/// A wire's kernels in one of the two libraries.
struct Kernels {
  const char* name;
  const pcomp::kernel::WireKernels* ops;
};
inline constexpr int wire_count = 8;

/// The one function of each library: returns the first of `wire_count` wires.
using FirstKernels = const Kernels*();
