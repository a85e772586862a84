#pragma once
#include <pcomp/kernel/wire_kernels.hpp>
#include <vector>

/// The kernels of all wires of for_each_wire, in its order; compiled once for all tests, as they are most of the work.
const std::vector<const pcomp::kernel::WireKernels*>& all_kernels();

/// The shape, with ones in front until the wire has the dimensions that it pools.
inline pcomp::Extents fitting(const pcomp::kernel::WireKernels& k, pcomp::Extents e) {
  for (;;) try {
      k.bytes(e), k.grad_bytes(e);
      return e;
    } catch (const pcomp::Error&) {
      if (e.rank() >= 4) throw;
      std::vector<std::int64_t> all{1};
      all.insert(all.end(), e.begin(), e.end());
      e = pcomp::Extents(all.begin(), all.end());
    }
}

/// The kernels of one wire.
template <class W>
const pcomp::kernel::WireKernels& kernels_of(W w) {
  for (const pcomp::kernel::WireKernels* k : all_kernels())
    if (k->name == pcomp::name(w).view()) return *k;
  throw pcomp::Error("for_each_wire has no " + std::string(pcomp::name(w).view()));
}
