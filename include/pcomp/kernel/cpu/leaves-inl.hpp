// Every loop that is compiled once for each instruction set; included by simd.hpp alone.
// A leaf works on at most a few kilobytes that lie in the L1 cache.
#include <hwy/highway.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors stay within inlined functions
#endif
HWY_BEFORE_NAMESPACE();
#include "leaf/convert-inl.hpp"
#include "leaf/range-inl.hpp"
//
#include "leaf/fit-inl.hpp"
#include "leaf/pack-inl.hpp"
//
#include "leaf/code-inl.hpp"
#include "leaf/pool-inl.hpp"
#include "leaf/rank-inl.hpp"
#include "leaf/rotate-inl.hpp"
//
#include "leaf/fano-inl.hpp"
#include "leaf/scatter-inl.hpp"
#include "leaf/select-inl.hpp"
#include "leaf/transpose-inl.hpp"
HWY_AFTER_NAMESPACE();
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
