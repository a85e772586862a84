#pragma once
#include <cstddef>
#include <string>

#include "buffer.hpp"

namespace pcomp::detail {

/// A string of known length that can be a template argument, so that a refusal can show what it found.
template <std::size_t N>
struct FixedText {
  char text[N + 1] = {};
};

/// Builds a string in a constant expression or at run time; truncates it at 4096 characters.
class Words {
 public:
  constexpr Words& operator<<(const char* text) {
    for (; *text; ++text) push(*text);
    return *this;
  }
  constexpr Words& operator<<(int n) {
    if (n < 0) push('-');
    int unit = 1;
    while (n / unit / 10) unit *= 10;
    for (; unit; unit /= 10) {
      const int digit = n / unit % 10;
      push(static_cast<char>('0' + (digit < 0 ? -digit : digit)));
    }
    return *this;
  }
  constexpr std::size_t size() const { return size_; }
  template <std::size_t N>
  constexpr FixedText<N> fixed() const {
    FixedText<N> f;
    for (std::size_t i = 0; i < N && i < size_; ++i) f.text[i] = text_.data()[i];
    return f;
  }
  std::string string() const { return std::string(text_.data(), size_); }

 private:
  constexpr void push(char c) {
    if (size_ < limit) text_.data()[size_++] = c;
  }

  static constexpr std::size_t limit = 4096;
  Buffer<char> text_{limit};
  std::size_t size_ = 0;
};

}  // namespace pcomp::detail
