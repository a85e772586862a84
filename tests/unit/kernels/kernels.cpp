#include "kernels.hpp"

#include "../cpu/wires.hpp"

/// This file is compiled twice, each time with every other wire, so that two compilers share the work.
template <int part>
std::vector<const pcomp::kernel::WireKernels*> every_other();

template <>
std::vector<const pcomp::kernel::WireKernels*> every_other<PCOMP_TEST_PART>() {
  std::vector<const pcomp::kernel::WireKernels*> all;
  for_each_wire_of<PCOMP_TEST_PART, 2>([&](auto w) { all.push_back(&pcomp::kernel::wire_kernels(w)); });
  return all;
}

#if PCOMP_TEST_PART == 0
template <>
std::vector<const pcomp::kernel::WireKernels*> every_other<1>();

const std::vector<const pcomp::kernel::WireKernels*>& all_kernels() {
  static const auto all = [] {
    const auto even = every_other<0>(), odd = every_other<1>();
    std::vector<const pcomp::kernel::WireKernels*> list;
    for (std::size_t i = 0; i < even.size(); ++i) {
      list.push_back(even[i]);
      if (i < odd.size()) list.push_back(odd[i]);
    }
    return list;
  }();
  return all;
}
#endif
