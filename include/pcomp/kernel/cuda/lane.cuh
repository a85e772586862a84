#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../../base/device.hpp"

/// All that a kernel needs from the machine: thread indices, barriers, exchanges within a warp, atomics.
///
/// On a GPU these are intrinsics. Without a CUDA compiler the header that PCOMP_EMULATE_CUDA names has an Emulator, which
/// runs kernels thread by thread: the tests', tests/device/emulated/emulator.hpp. PCOMP_UNROLL marks loops over arrays that must stay in registers. Exchanges take whole warps:
/// all 32 lanes must call them.
#if defined(__CUDACC__)
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "pcomp: the CUDA kernels need compute capability 8.0 or newer"
#endif
#define PCOMP_GPU __device__ __forceinline__
#define PCOMP_GPU_CALL __device__ __noinline__
#define PCOMP_SHARED __shared__
#define PCOMP_ON_GPU(gpu, cpu) gpu
#define PCOMP_UNROLL _Pragma("unroll")
#elif !defined(PCOMP_EMULATE_CUDA)
#error \
    "pcomp: the CUDA kernels are for units that nvcc compiles; PCOMP_EMULATE_CUDA=<HEADER> runs them on the CPU, for tests"
#else
#include PCOMP_EMULATE_CUDA
#define PCOMP_GPU inline
#define PCOMP_GPU_CALL inline
#define PCOMP_SHARED static
#define PCOMP_ON_GPU(gpu, cpu) cpu
#define PCOMP_UNROLL
#endif

namespace pcomp::detail::gpu {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

inline constexpr u32 whole_warp = 0xffffffffu;

// clang-format off
PCOMP_GPU int thread() { return PCOMP_ON_GPU(static_cast<int>(threadIdx.x), Emulator::current().thread()); }
PCOMP_GPU u32 block() { return PCOMP_ON_GPU(blockIdx.x, static_cast<u32>(Emulator::current().block())); }
PCOMP_GPU int lane() { return thread() % 32; }
PCOMP_GPU int warp() { return thread() / 32; }

PCOMP_GPU void sync_block() { PCOMP_ON_GPU(__syncthreads(), Emulator::current().sync_block()); }
PCOMP_GPU void sync_warp() { PCOMP_ON_GPU(__syncwarp(), Emulator::current().exchange(0)); }
/// Makes what this thread wrote visible before what it writes next.
PCOMP_GPU void fence() { PCOMP_ON_GPU(__threadfence(), (void)0); }

PCOMP_GPU int ones(u32 x) { return PCOMP_ON_GPU(__popc(x), std::popcount(x)); }
/// The index of the lowest set bit of x, which is not 0.
PCOMP_GPU int lowest(u32 x) { return PCOMP_ON_GPU(__ffs(static_cast<int>(x)) - 1, std::countr_zero(x)); }
// clang-format on

#if defined(__CUDACC__)
template <class T>
PCOMP_GPU T shuffle(T v, int from) {
  return __shfl_sync(whole_warp, v, from);
}
template <class T>
PCOMP_GPU T shuffle_xor(T v, int mask) {
  return __shfl_xor_sync(whole_warp, v, mask);
}
/// The value of the lane `by` below; the lane's own if there is none.
template <class T>
PCOMP_GPU T shuffle_up(T v, int by) {
  return __shfl_up_sync(whole_warp, v, static_cast<unsigned>(by));
}
template <class T>
PCOMP_GPU T shuffle_down(T v, int by) {
  return __shfl_down_sync(whole_warp, v, static_cast<unsigned>(by));
}
PCOMP_GPU u32 ballot(bool b) { return __ballot_sync(whole_warp, b); }
PCOMP_GPU int warp_min(int v) { return __reduce_min_sync(whole_warp, v); }
PCOMP_GPU int warp_max(int v) { return __reduce_max_sync(whole_warp, v); }
PCOMP_GPU u32 atomic_add(u32* p, u32 v) { return atomicAdd(p, v); }
PCOMP_GPU void atomic_or(u32* p, u32 v) { atomicOr(p, v); }
PCOMP_GPU void atomic_max(u32* p, u32 v) { atomicMax(p, v); }
/// Writes and reads a word that other blocks use at the same time.
PCOMP_GPU void publish(u64* p, u64 v) { *static_cast<volatile u64*>(p) = v; }
template <class T>
PCOMP_GPU T fresh(const T* p) {
  return *static_cast<const volatile T*>(p);
}
#else
template <class T, class F>
T exchanged(T v, F&& from) {
  u64 bits = 0;
  std::memcpy(&bits, &v, sizeof v);
  const u64* all = Emulator::current().exchange(bits);
  const int source = from(lane());
  if (source >= 0 && source < 32) std::memcpy(&v, &all[source], sizeof v);
  return v;
}
template <class T>
T shuffle(T v, int from) {
  return exchanged(v, [=](int) { return from % 32; });
}
template <class T>
T shuffle_xor(T v, int mask) {
  return exchanged(v, [=](int l) { return l ^ mask; });
}
template <class T>
T shuffle_up(T v, int by) {
  return exchanged(v, [=](int l) { return l - by; });
}
template <class T>
T shuffle_down(T v, int by) {
  return exchanged(v, [=](int l) { return l + by; });
}
inline u32 ballot(bool b) {
  const u64* all = Emulator::current().exchange(b);
  u32 bits = 0;
  for (int l = 0; l < 32; ++l) bits |= static_cast<u32>(all[l]) << l;
  return bits;
}
inline int warp_min(int v) {
  const u64* all = Emulator::current().exchange(static_cast<u32>(v));
  for (int l = 0; l < 32; ++l) v = std::min(v, static_cast<int>(all[l]));
  return v;
}
inline int warp_max(int v) {
  const u64* all = Emulator::current().exchange(static_cast<u32>(v));
  for (int l = 0; l < 32; ++l) v = std::max(v, static_cast<int>(all[l]));
  return v;
}
inline u32 atomic_add(u32* p, u32 v) {
  const u32 old = *p;
  *p += v;
  return old;
}
inline void atomic_or(u32* p, u32 v) { *p |= v; }
inline void atomic_max(u32* p, u32 v) { *p = std::max(*p, v); }
inline void publish(u64* p, u64 v) { *p = v; }
template <class T>
T fresh(const T* p) {
  return *p;
}
#endif

/// Shuffles a trivially copyable value, word by word.
template <class T>
PCOMP_GPU T shuffle_struct(const T& v, int from) {
  constexpr int words = static_cast<int>((sizeof(T) + 3) / 4);
  u32 word[words] = {};
  memcpy(word, &v, sizeof v);
  for (int i = 0; i < words; ++i) word[i] = shuffle(word[i], from);
  T out;
  memcpy(&out, word, sizeof out);
  return out;
}

}  // namespace pcomp::detail::gpu
