#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>

#include "../../codec/concepts.hpp"
#include "../../codec/half.hpp"
#include "../../codec/quant.hpp"
#include "../../wire/packing.hpp"
#include "bit_stream.hpp"
#include "coder.hpp"
#include "isa.hpp"

#if !__has_include(<hwy/highway.h>)
#error "pcomp: <pcomp/cpu.hpp> needs the headers of Google Highway 1.0.3 or newer (Debian: libhwy-dev)"
#endif

#if defined(HWY_HIGHWAY_INCLUDED)
#error "pcomp: include <pcomp/cpu.hpp> before <hwy/highway.h>: Highway takes several targets no other way"
#endif

// AVX2, AVX-512 with byte compaction or NEON, and plain code for older machines; fewer targets compile faster.
#if !defined(HWY_DISABLED_TARGETS) && !defined(HIGHWAY_HWY_DETECT_TARGETS_H_)
#define HWY_WANT_AVX3_DL 1
#if defined(__AVX512F__)
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#else
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#endif
#endif
/// What a leaf may use on the target that it is compiled for.
#define PCOMP_VBMI2 (HWY_TARGET == HWY_AVX3_DL)
#define PCOMP_AVX512 (HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL)
#define PCOMP_BMI2 (HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL)

// In unoptimised builds Highway's checks would need its library linked.
#if !defined(HWY_IS_DEBUG_BUILD)
#define HWY_IS_DEBUG_BUILD 0
#endif

// leaves-inl.hpp is included once for each instruction set, with the attributes that it needs; Highway's own
// dispatch would need its library linked, so PCOMP_SIMD dispatches.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "pcomp/kernel/cpu/leaves-inl.hpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "leaves-inl.hpp"
#undef HIGHWAY_HWY_FOREACH_TARGET_H_  // a program may have kernels of its own

/// PCOMP_SIMD((arguments), leaf): calls the leaf as compiled for the instruction set in isa().
#if HWY_TARGETS & HWY_AVX3_DL
#define PCOMP_ON_AVX512(args, ...)   \
  case ::pcomp::detail::Isa::avx512: \
    return N_AVX3_DL::__VA_ARGS__ args;
#else
#define PCOMP_ON_AVX512(args, ...)
#endif
#if HWY_TARGETS & HWY_AVX2
#define PCOMP_ON_AVX2(args, ...)   \
  case ::pcomp::detail::Isa::avx2: \
    return N_AVX2::__VA_ARGS__ args;
#else
#define PCOMP_ON_AVX2(args, ...)
#endif
#define PCOMP_SIMD(args, ...)                                         \
  [&] {                                                               \
    switch (::pcomp::detail::isa().load(std::memory_order_relaxed)) { \
      PCOMP_ON_AVX512(args, __VA_ARGS__)                              \
      PCOMP_ON_AVX2(args, __VA_ARGS__)                                \
      default:                                                        \
        return HWY_NAMESPACE::__VA_ARGS__ args;                       \
    }                                                                 \
  }()
