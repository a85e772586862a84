// Compiles the functions of all-inl.hpp for the instruction set HWY_TARGET; included by simd.hpp alone.
//
// Highway defines its operations for one target whenever HWY_TARGET_TOGGLE and HWY_HIGHWAY_PER_TARGET are both defined
// or both not. PCOMP_OPS_THERE says that a header before this one had them defined: then only Highway's macros are set.
#undef HWY_TARGET_TOGGLE
#undef HWY_SET_MACROS_PER_TARGET
#if PCOMP_OPS_THERE
#if !defined(HWY_HIGHWAY_PER_TARGET)
#define HWY_TARGET_TOGGLE
#define HWY_SET_MACROS_PER_TARGET
#endif
#include <hwy/ops/set_macros-inl.h>
#elif defined(HWY_HIGHWAY_PER_TARGET)
#define HWY_TARGET_TOGGLE
#define HWY_SET_MACROS_PER_TARGET
#endif
#include "all-inl.hpp"
