#pragma once
#include <cstdint>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace pcomp::detail {

/// How a thread computes with floats: whether it takes denormals as zeros (torch's setFlushDenormal), and how it rounds.
/// New threads inherit it from their creator; later changes reach one thread alone.
class FloatMode {
 public:
  static FloatMode of_this_thread() { return FloatMode(control() & mask); }
  /// Sets the calling thread's.
  void enter() const {
    if (*this != of_this_thread()) set(bits_ | (control() & ~mask));
  }
  friend bool operator==(const FloatMode&, const FloatMode&) = default;

 private:
  explicit FloatMode(std::uint64_t bits) : bits_(bits) {}
#if defined(__x86_64__)
  static constexpr std::uint64_t mask = ~std::uint64_t{0x3f};  // without the exceptions that were seen
  static std::uint64_t control() { return _mm_getcsr(); }
  static void set(std::uint64_t bits) { _mm_setcsr(static_cast<unsigned>(bits)); }
#elif defined(__aarch64__)
  static constexpr std::uint64_t mask = ~std::uint64_t{0};
  static std::uint64_t control() {
    std::uint64_t bits;
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(bits));
    return bits;
  }
  static void set(std::uint64_t bits) { __asm__ __volatile__("msr fpcr, %0" : : "r"(bits)); }
#else
  static constexpr std::uint64_t mask = 0;
  static std::uint64_t control() { return 0; }
  static void set(std::uint64_t) {}
#endif

  std::uint64_t bits_;
};

/// The calling thread computes like another one until this object ends.
class FloatModeGuard {
 public:
  explicit FloatModeGuard(const FloatMode& mode) : own_(FloatMode::of_this_thread()) { mode.enter(); }
  FloatModeGuard(const FloatModeGuard&) = delete;
  FloatModeGuard& operator=(const FloatModeGuard&) = delete;
  ~FloatModeGuard() { own_.enter(); }

 private:
  FloatMode own_;
};

}  // namespace pcomp::detail
