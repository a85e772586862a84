#pragma once
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "transport.hpp"

namespace pcomp::detail {

/// A value as text, and back: a string as it is, a trivially copyable object or a vector of them as its bytes. Ranks have
/// one byte order: they compare it when they meet.
template <class T>
struct AsText {
  static_assert(std::is_trivially_copyable_v<T>);
  static std::string text(const T& value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }
  static bool read(std::string_view text, T& value) {
    if (text.size() != sizeof value) return false;
    std::memcpy(&value, text.data(), sizeof value);
    return true;
  }
};
template <>
struct AsText<std::string> {
  static const std::string& text(const std::string& value) { return value; }
  static bool read(std::string_view text, std::string& value) { return value = text, true; }
};
template <class T>
struct AsText<std::vector<T>> {
  static_assert(std::is_trivially_copyable_v<T>);
  static std::string text(const std::vector<T>& all) {
    return all.empty() ? std::string()
                       : std::string(reinterpret_cast<const char*>(all.data()), all.size() * sizeof(T));
  }
  static bool read(std::string_view text, std::vector<T>& all) {
    if (text.size() % sizeof(T)) return false;
    all.resize(text.size() / sizeof(T));
    if (!text.empty()) std::memcpy(all.data(), text.data(), text.size());
    return true;
  }
};

}  // namespace pcomp::detail

namespace pcomp::transport {

/// What every process said, in rank order: a value, or why it has none.
template <class T>
class Gathered {
 public:
  void add(T value) { all_.emplace_back(std::move(value), Failure()); }
  void add(Failure why) { all_.emplace_back(T{}, std::move(why)); }

  /// Why a process has no value; empty if it has one.
  const Failure& failure(int rank) const { return all_.at(static_cast<std::size_t>(rank)).second; }
  /// The lowest rank's failure, or an empty one.
  Failure failure() const {
    for (const auto& said : all_)
      if (!said.second.empty()) return said.second;
    return {};
  }
  /// One process's value. Errors: its failure, on every rank that asks.
  const T& of(int rank) const {
    failure(rank).raise_if_any();
    return all_[static_cast<std::size_t>(rank)].first;
  }
  /// Every process's value. Errors: the lowest rank's failure, on every rank.
  std::vector<T> values() const {
    failure().raise_if_any();
    std::vector<T> all;
    for (const auto& said : all_) all.push_back(said.first);
    return all;
  }

 private:
  std::vector<std::pair<T, Failure>> all_;
};

/// Brings what `make()` returns on each process, or what it throws, to all of them. `links` is a Communicator or an
/// Engine; `about` says in errors what is brought.
///
/// Law: all processes call it, in the same order, with the same T.
/// Errors: those of `exchange`. What `make` throws is only thrown by whoever asks for its value.
/// Example: apps/train/run
template <class T, class Links, class Make>
Gathered<T> gather(Links& links, const std::string& about, Make make) {
  std::string own;
  try {
    own = '+' + detail::AsText<T>::text(make());
  } catch (const std::exception& e) {
    own = '!' + Failure::of(e).packed();
  }
  Gathered<T> all;
  for (const std::string& said : links.exchange(about, own)) {
    const std::string_view rest = std::string_view(said).substr(1);
    if (T value{}; said[0] == '!')
      all.add(Failure::unpacked(rest));
    else if (detail::AsText<T>::read(rest, value))
      all.add(std::move(value));
    else
      all.add(Failure("pcomp: the " + about + " has " + std::to_string(rest.size()) + " bytes on one rank",
                      Failure::Kind::Mismatch));
  }
  return all;
}

}  // namespace pcomp::transport
