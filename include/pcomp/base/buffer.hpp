#pragma once
#include <cstddef>

namespace pcomp::detail {

/// n zeros on the heap, usable in constant expressions, where indexing a pointer costs the compiler far less than
/// indexing a std::vector.
template <class T>
class Buffer {
 public:
  constexpr explicit Buffer(std::size_t n) : data_(new T[n ? n : 1]()) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  constexpr ~Buffer() { delete[] data_; }
  constexpr T* data() const { return data_; }

 private:
  T* data_;
};

}  // namespace pcomp::detail
