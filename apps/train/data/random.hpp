#pragma once
#include <cstdint>

namespace cifar {

/// Random numbers that depend only on their key, so that any image of any epoch can be made again.
///
/// Source: SplitMix64 (Steele, Lea and Flood, 2014).
class Random {
 public:
  template <class... Keys>
  explicit constexpr Random(Keys... keys) {
    ((state_ = mix(state_ + 0x9e3779b97f4a7c15u + static_cast<std::uint64_t>(keys))), ...);
  }
  constexpr std::uint64_t operator()() { return mix(state_ += 0x9e3779b97f4a7c15u); }
  /// A number in [0, n).
  constexpr int below(int n) {
    return static_cast<int>(((*this)() >> 32) * static_cast<std::uint64_t>(n) >> 32);
  }
  /// A number in [from, to).
  constexpr float between(float from, float to) {
    return from + (to - from) * static_cast<float>((*this)() >> 40) * 0x1p-24f;
  }

 private:
  static constexpr std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  std::uint64_t state_ = 0;
};

}  // namespace cifar
