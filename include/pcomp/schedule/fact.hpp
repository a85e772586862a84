#pragma once
#include "../base/error.hpp"

namespace pcomp::detail {

/// A fact about a table; reading one that is not known throws.
template <class T>
class Fact {
 public:
  Fact() = default;
  Fact(T value) : value_(std::move(value)), known_(true) {}
  const T& get() const {
    if (!known_)
      throw Error("pcomp: this fact of a large table would need all of its rows: ask a smaller one");
    return value_;
  }
  operator const T&() const { return get(); }
  auto operator[](std::size_t i) const { return get().at(i); }
  auto size() const { return get().size(); }
  auto begin() const requires requires(const T& t) { t.begin(); }
  { return get().begin(); }
  auto end() const requires requires(const T& t) { t.end(); }
  { return get().end(); }

 private:
  T value_{};
  bool known_ = false;
};

}  // namespace pcomp::detail
