#pragma once
#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>

#include "error.hpp"

namespace pcomp::codec {

/// A short string usable in constant expressions and as a template argument, from which names are composed.
///
/// Law: `view()` is the concatenation of everything added.
/// Refusals: more than N characters, in a constant expression; elsewhere `Error`. A wire is identified by its name, so
///   no name is truncated.
/// Example: examples/010-algebra
template <std::size_t N = 511>
struct FixedString {
  char text[N + 1] = {};
  std::size_t length = 0;

  constexpr FixedString() = default;
  constexpr FixedString(const char* from) { *this += std::string_view(from); }
  constexpr FixedString& operator+=(std::string_view from) {
    if (from.size() > N - length)
      throw Error("pcomp: this text has more characters than its FixedString holds");
    for (char c : from) text[length++] = c;
    return *this;
  }
  constexpr FixedString& operator+=(std::int64_t n) {
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
  friend constexpr FixedString operator+(FixedString a, const T& b) {
    return a += b;
  }
  /// Adds what fits and leaves out the rest: for reports, which may be cut off.
  constexpr FixedString& operator<<(std::string_view from) { return *this += from.substr(0, N - length); }
  constexpr FixedString& operator<<(int n) {
    FixedString<11> digits;
    return *this << (digits += std::int64_t{n}).view();
  }
  /// The first M characters.
  template <std::size_t M>
  constexpr FixedString<M> first() const {
    FixedString<M> s;
    return s << view().substr(0, M);
  }
  constexpr std::string_view view() const { return {text, length}; }
  constexpr std::size_t size() const { return length; }
  std::string string() const { return std::string(view()); }
  constexpr operator std::string_view() const { return view(); }
  friend constexpr bool operator==(const FixedString& a, std::string_view b) { return a.view() == b; }
  template <class Traits>  // so that <ostream>, a fifth of core.hpp, is the printing program's to include
  friend std::basic_ostream<char, Traits>& operator<<(std::basic_ostream<char, Traits>& out,
                                                      const FixedString& s) {
    return out << s.view();
  }
};

}  // namespace pcomp::codec

namespace pcomp::detail {

/// What an error or a refusal says.
using LongText = codec::FixedString<4096>;

}  // namespace pcomp::detail
