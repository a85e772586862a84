#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>

#include "../../../codec/concepts.hpp"
#include "../../../codec/half.hpp"
#include "../../../codec/quant.hpp"
#include "../../../codec/step.hpp"
#include "../../../wire/packing.hpp"
#include "../../arithmetic.hpp"
#include "../index/bit_stream.hpp"
#include "byte_table.hpp"
#include "isa.hpp"

#if !__has_include(<hwy/highway.h>)
#error "pcomp: <pcomp/cpu.hpp> needs the headers of Google Highway 1.0.3 or newer (Debian: libhwy-dev)"
#endif

namespace pcomp::detail {

/// Elements that a kernel holds in the L1 cache at a time; a multiple of every group and pack block.
inline constexpr std::int64_t chunk = 2048;
/// Floats of padding past the end of an array that vectors are stored to.
inline constexpr std::int64_t slack = 16;

}  // namespace pcomp::detail

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

// In unoptimised builds Highway's checks would need its library linked.
#if !defined(HWY_IS_DEBUG_BUILD)
#define HWY_IS_DEBUG_BUILD 0
#endif

// What was included of Highway before: nothing, its operations for the static target or, by foreach_target.h, for all.
#if defined(HIGHWAY_HWY_FOREACH_TARGET_H_)
#define PCOMP_OPS_BEFORE HWY_TARGETS
#elif defined(HWY_HIGHWAY_INCLUDED)
#define PCOMP_OPS_BEFORE HWY_STATIC_TARGET
#else
#define PCOMP_OPS_BEFORE 0
#endif
#include <hwy/cache_control.h>
#include <hwy/detect_targets.h>

/// What these functions may use on the target that it is compiled for.
#define PCOMP_VBMI2 (HWY_TARGET == HWY_AVX3_DL)
#define PCOMP_AVX512 (HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL)
#define PCOMP_BMI2 (HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL)

// The functions of all-inl.hpp, once for each instruction set, with the attributes that it needs. Not by Highway's foreach_target.h: it
// takes no program that has included Highway before, and its dispatch would need its library linked.
#define PCOMP_OPS_THERE (PCOMP_OPS_BEFORE & HWY_TARGET)
#if (HWY_TARGETS & HWY_AVX2) && HWY_STATIC_TARGET != HWY_AVX2
#define PCOMP_HAS_AVX2
#undef HWY_TARGET
#define HWY_TARGET HWY_AVX2
#include "target-inl.hpp"
#endif
#if HWY_STATIC_TARGET != HWY_AVX3_DL && \
    ((HWY_TARGETS & HWY_AVX3_DL) || ((HWY_TARGETS & HWY_AVX3) && HWY_DISABLED_TARGETS == 0))
#define PCOMP_HAS_AVX512
#undef HWY_TARGET
#define HWY_TARGET HWY_AVX3_DL
#include "target-inl.hpp"
#endif
#undef HWY_TARGET
#define HWY_TARGET HWY_STATIC_TARGET
#include "target-inl.hpp"
// Whoever includes Highway next finds its operations there.
#undef HWY_TARGET_TOGGLE
#undef HWY_HIGHWAY_PER_TARGET
#undef HWY_SET_MACROS_PER_TARGET
#define HWY_HIGHWAY_PER_TARGET
#define HWY_SET_MACROS_PER_TARGET

namespace pcomp::detail {
namespace on_baseline = HWY_NAMESPACE;
#if defined(PCOMP_HAS_AVX2)
namespace on_avx2 = N_AVX2;
#else
namespace on_avx2 = HWY_NAMESPACE;
#endif
#if defined(PCOMP_HAS_AVX512)
namespace on_avx512 = N_AVX3_DL;
#else
namespace on_avx512 = on_avx2;
#endif
}  // namespace pcomp::detail

#undef PCOMP_HAS_AVX512
#undef PCOMP_HAS_AVX2
#undef PCOMP_OPS_THERE
#undef PCOMP_OPS_BEFORE
#undef PCOMP_BMI2
#undef PCOMP_AVX512
#undef PCOMP_VBMI2

/// PCOMP_DISPATCH(f)(arguments): calls f as compiled for the instruction set in isa().
#define PCOMP_DISPATCH(...)                                                                   \
  [](auto&&... of) -> decltype(auto) {                                                        \
    switch (::pcomp::detail::isa().load(std::memory_order_relaxed)) {                         \
      case ::pcomp::detail::Isa::avx512:                                                      \
        return ::pcomp::detail::on_avx512::__VA_ARGS__(static_cast<decltype(of)&&>(of)...);   \
      case ::pcomp::detail::Isa::avx2:                                                        \
        return ::pcomp::detail::on_avx2::__VA_ARGS__(static_cast<decltype(of)&&>(of)...);     \
      default:                                                                                \
        return ::pcomp::detail::on_baseline::__VA_ARGS__(static_cast<decltype(of)&&>(of)...); \
    }                                                                                         \
  }
