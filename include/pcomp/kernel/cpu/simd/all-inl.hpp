// Every loop that is compiled once for each instruction set; included by simd.hpp alone.
// Each works on at most a few kilobytes that lie in the L1 cache.
#include <hwy/highway.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors stay within inlined functions
#endif
HWY_BEFORE_NAMESPACE();
#include "convert-inl.hpp"
#include "range-inl.hpp"
//
#include "coder-inl.hpp"
#include "pack-inl.hpp"
// The coders with loops of their own, one file for each in codec/; what several of them use comes first.
#include "coders/round-inl.hpp"
//
#include "coders/half-inl.hpp"
#include "coders/quant-inl.hpp"
#include "coders/step-inl.hpp"
//
#include "code-inl.hpp"
#include "compact-inl.hpp"
#include "pool-inl.hpp"
#include "rank-inl.hpp"
#include "rotate-inl.hpp"
//
#include "fano-inl.hpp"
#include "scatter-inl.hpp"
#include "select-inl.hpp"
#include "transpose-inl.hpp"
#include "unary-inl.hpp"
HWY_AFTER_NAMESPACE();
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
