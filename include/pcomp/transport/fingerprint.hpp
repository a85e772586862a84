#pragma once
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "../base/error.hpp"

namespace pcomp::transport {

/// What must be the same on every rank before the first payload, as named lines.
///
/// Law: payloads carry no header, so ranks that differ in any line would read each other's bytes wrongly.
/// Errors: `expect_alike` throws one `Mismatch`, the same on every rank, with both descriptions side by side.
/// Example: docs/several-machines.md
class Fingerprint {
 public:
  /// A value may be any text without line breaks.
  void add(std::string name, std::string value) { lines_.emplace_back(std::move(name), std::move(value)); }

  std::string text() const {
    std::string all;
    for (const auto& [name, value] : lines_) all += name + "\t" + value + "\n";
    return all;
  }

  /// `texts`: one of every rank, in rank order.
  static void expect_alike(const std::vector<std::string>& texts) {
    std::string differing;
    std::size_t other = 0;
    for (std::size_t r = 1; r < texts.size(); ++r)
      if (texts[r] != texts[0]) {
        if (!other) other = r;
        differing += (differing.empty() ? "" : ", ") + std::to_string(r);
      }
    if (!other) return;
    const auto a = parse(texts[0]), b = parse(texts[other]);
    std::vector<std::string> names;
    for (const auto* side : {&a, &b})
      for (const auto& [name, value] : *side)
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    const std::string left = "rank 0", right = "rank " + std::to_string(other);
    std::size_t wide = 0, wide_left = left.size();
    for (const auto& name : names) {
      wide = std::max(wide, name.size());
      wide_left = std::max(wide_left, value(a, name).size());
    }
    const auto padded = [](std::string s, std::size_t n) {
      return s.append(n > s.size() ? n - s.size() : 0, ' ');
    };
    std::string table;
    for (const auto& name : names)
      table += std::string("\n") + (value(a, name) == value(b, name) ? "  " : "* ") + padded(name, wide) +
               "  " + padded(value(a, name), wide_left) + "  " + value(b, name);
    throw Mismatch(
        "pcomp: the ranks do not agree: " + right + " differs from rank 0 where * stands" +
        (differing.find(',') == std::string::npos ? "" : " (ranks " + differing + " differ from it)") +
        "\n  " + padded("", wide) + "  " + padded(left, wide_left) + "  " + right + table);
  }

 private:
  using Lines = std::vector<std::pair<std::string, std::string>>;
  static Lines parse(const std::string& text) {
    Lines lines;
    for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
      const std::string line = text.substr(begin, end - begin);
      const std::size_t tab = std::min(line.find('\t'), line.size());
      lines.emplace_back(line.substr(0, tab), tab < line.size() ? line.substr(tab + 1) : "");
    }
    return lines;
  }
  static std::string value(const Lines& lines, const std::string& name) {
    for (const auto& [n, v] : lines)
      if (n == name) return v;
    return "(none)";
  }

  Lines lines_;
};

}  // namespace pcomp::transport
