#pragma once
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

namespace pcomp::testing {

/// What check_codec found: one line per law, with what was measured.
///
/// Law: true if and only if every law that applies held.
/// Shapes: `laws` in the order in which they were tried.
/// Example: examples/030-your-own-codec
struct CodecLog {
  struct Law {
    std::string name;
    bool held = true;
    std::string measured;
  };
  std::string codec;
  std::vector<Law> laws;

  bool passed() const {
    for (const Law& l : laws)
      if (!l.held) return false;
    return !laws.empty();
  }
  explicit operator bool() const { return passed(); }

  friend std::ostream& operator<<(std::ostream& out, const CodecLog& log) {
    out << log.codec << ": " << (log.passed() ? "all laws hold" : "a law is broken") << '\n';
    for (const Law& l : log.laws)
      out << (l.held ? "  ok      " : "  BROKEN  ") << l.name << ": " << l.measured << '\n';
    return out;
  }
  std::string str() const {
    std::ostringstream s;
    s << *this;
    return s.str();
  }
};

}  // namespace pcomp::testing
