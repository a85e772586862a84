#pragma once
#include <CLI/CLI.hpp>
#include <charconv>
#include <sstream>
#include <string>
#include <type_traits>

namespace cifar {

/// A range check that --help does not spell out; the error does.
///
/// Why not CLI11's own: it lets NaN through, and reads -1 as the largest unsigned number and 010 as 8.
template <class T>
CLI::Validator between(T low, T high) {
  return CLI::Validator(
      [low, high](std::string& text) {
        T value{};
        const char* const last = text.data() + text.size();
        const auto [end, error] = std::from_chars(text.data(), last, value);
        bool is_number = error == std::errc() && end == last;
        if constexpr (std::is_integral_v<T>) is_number = is_number && std::to_string(value) == text;
        if (is_number && value >= low && value <= high) return std::string();
        std::ostringstream why;
        why << "expected a " << (std::is_integral_v<T> ? "whole number" : "number") << " from " << low
            << " to " << high << ", not '" << text << "'";
        return why.str();
      },
      "");
}

}  // namespace cifar
