#pragma once
#include <array>
#include <cstdint>
#include <string_view>

#include "error.hpp"

namespace pcomp {

/// A short string usable in constant expressions, from which codecs and wires compose their names.
///
/// Law: `view()` is the concatenation of everything added.
/// Refusals: more than 511 characters, in a constant expression; elsewhere `Error`. A wire is identified
///   by its name, so no name is truncated.
/// Example: examples/010-algebra
class Name {
 public:
  constexpr Name() = default;
  constexpr Name(const char* text) { *this += std::string_view(text); }
  constexpr Name& operator+=(std::string_view text) {
    if (text.size() >= text_.size() - size_) throw Error("pcomp: a name has at most 511 characters");
    for (char c : text) text_[size_++] = c;
    return *this;
  }
  constexpr Name& operator+=(std::int64_t n) {
    char digits[20] = {};
    int k = 0;
    for (std::uint64_t u = n < 0 ? 0 - static_cast<std::uint64_t>(n) : static_cast<std::uint64_t>(n);
         k == 0 || u; u /= 10)
      digits[k++] = static_cast<char>('0' + u % 10);
    if (n < 0) digits[k++] = '-';
    while (k) *this += std::string_view(&digits[--k], 1);
    return *this;
  }
  template <class T>
  friend constexpr Name operator+(Name a, T b) {
    return a += b;
  }
  constexpr std::string_view view() const { return {text_.data(), size_}; }
  constexpr operator std::string_view() const { return view(); }
  friend constexpr bool operator==(const Name& a, std::string_view b) { return a.view() == b; }

 private:
  std::array<char, 512> text_{};
  std::size_t size_ = 0;
};

}  // namespace pcomp
