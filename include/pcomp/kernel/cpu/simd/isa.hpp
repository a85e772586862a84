#pragma once
#include <atomic>
#include <bit>

/// For small kernel functions, which must be inlined into the loops that call them.
#define PCOMP_INLINE [[gnu::always_inline]] inline

namespace pcomp::detail {

static_assert(std::endian::native == std::endian::little,
              "pcomp: the wire is little-endian, and so must the machine be");

enum class Isa { baseline, avx2, avx512 };

/// The best the machine supports of Highway's AVX2 (since Haswell and Zen) and AVX3_DL (since Ice Lake and Zen 4).
inline Isa best_isa() {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("aes");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
                      __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bitalg") &&
                      __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("vpclmulqdq");
  if (avx2 && avx512) return Isa::avx512;
  if (avx2) return Isa::avx2;
#endif
  return Isa::baseline;
}

/// The instruction set that kernels use; tests lower it to compare the bytes.
inline std::atomic<Isa>& isa() {
  static std::atomic<Isa> current{best_isa()};
  return current;
}

}  // namespace pcomp::detail
