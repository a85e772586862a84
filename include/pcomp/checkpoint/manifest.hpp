#pragma once
#include <array>
#include <boost/crc.hpp>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/error.hpp"

namespace pcomp::detail {

/// The CRC-32 of zlib, so that `zlib.crc32` in Python checks a file too.
inline std::uint32_t crc32(std::string_view bytes) {
  boost::crc_32_type sum;
  sum.process_bytes(bytes.data(), bytes.size());
  return sum.checksum();
}

}  // namespace pcomp::detail

namespace pcomp::checkpoint {

/// What a checkpoint holds: the text file `manifest` in its folder, which a save writes last.
///
/// Law: `parse_manifest(to_text(m))` is m; a text that was cut short or changed anywhere is refused.
/// Errors: `Error` that names the file and says what was expected; names and notes must not contain a line break, parts
///   and file names neither a space nor a slash.
/// Example: docs/checkpoints.md
struct Manifest {
  struct File {
    std::string part, name;  ///< "stage-0", and the file that holds it
    std::uint64_t size = 0;
    std::uint32_t crc = 0;
    friend bool operator==(const File&, const File&) = default;
  };
  static constexpr int version = 1;

  std::int64_t epoch = 0, step = 0;
  int stages = 0;
  std::string schedule;                                    ///< informational: may differ on resuming
  std::vector<std::string> wires;                          ///< one for each boundary
  std::vector<std::pair<std::string, std::string>> notes;  ///< the program's own, key and value
  std::int64_t generation = 0;                             ///< counts the saves into this folder
  std::vector<File> files;
  friend bool operator==(const Manifest&, const Manifest&) = default;
};

[[nodiscard]] inline std::string to_text(const Manifest& m) {
  std::string text = "pcomp checkpoint " + std::to_string(Manifest::version) + "\n";
  const auto line = [&](const std::string& what, const std::string& value) {
    if ((what + value).find('\n') != std::string::npos)
      throw Error("pcomp: a line of a manifest cannot hold a line end: '" + value + "'");
    text += what + " " + value + "\n";
  };
  line("generation", std::to_string(m.generation));
  line("epoch", std::to_string(m.epoch));
  line("step", std::to_string(m.step));
  line("stages", std::to_string(m.stages));
  line("schedule", m.schedule);
  for (const std::string& w : m.wires) line("wire", w);
  for (const auto& [key, value] : m.notes) {
    if (key.empty() || key.find(' ') != std::string::npos)
      throw Error("pcomp: the key of a note is one word, not '" + key + "'");
    line("note " + key, value);
  }
  char sum[16];
  for (const Manifest::File& f : m.files) {
    for (const std::string& name : {f.part, f.name})
      if (name.empty() || name.find_first_of(" /") != std::string::npos)
        throw Error("pcomp: a part of a checkpoint and its file are one word without a slash, not '" + name +
                    "'");
    std::snprintf(sum, sizeof sum, "%08x", f.crc);
    line("file", f.part + " " + f.name + " " + std::to_string(f.size) + " " + sum);
  }
  std::snprintf(sum, sizeof sum, "%08x", detail::crc32(text));
  return text + "end " + sum + "\n";
}

}  // namespace pcomp::checkpoint

namespace pcomp::detail {

/// Parses a manifest's text line by line.
class ManifestReader {
 public:
  ManifestReader(std::string_view text, std::string where) : where_(std::move(where)), rest_(text) {}

  checkpoint::Manifest operator()() {
    const std::string_view all = rest_;
    std::string_view line = next();
    if (word(line) != "pcomp" || word(line) != "checkpoint") fail("this is no manifest of a checkpoint");
    if (const auto v = number<int>(line); v != checkpoint::Manifest::version)
      fail("this checkpoint has version " + std::to_string(v) + ", expected " +
           std::to_string(checkpoint::Manifest::version));
    checkpoint::Manifest m;
    for (;;) {
      const std::size_t at = all.size() - rest_.size();
      line = next();
      if (const std::string_view what = word(line); what != "end") {
        field(m, what, line);
      } else {
        if (number<std::uint32_t>(line, 16) != crc32(all.substr(0, at)) || !rest_.empty()) damaged();
        return m;
      }
    }
  }

 private:
  void field(checkpoint::Manifest& m, std::string_view what, std::string_view line) {
    if (what == "generation")
      m.generation = number<std::int64_t>(line);
    else if (what == "epoch")
      m.epoch = number<std::int64_t>(line);
    else if (what == "step")
      m.step = number<std::int64_t>(line);
    else if (what == "stages")
      m.stages = number<int>(line);
    else if (what == "schedule")
      m.schedule = line;
    else if (what == "wire")
      m.wires.emplace_back(line);
    else if (what == "note") {
      std::string key(word(line));
      m.notes.emplace_back(std::move(key), line);
    } else if (what == "file") {
      checkpoint::Manifest::File f;
      f.part = word(line), f.name = word(line);
      f.size = number<std::uint64_t>(line), f.crc = number<std::uint32_t>(line, 16);
      if (f.name.empty() || f.name.find('/') != std::string::npos) damaged();
      m.files.push_back(std::move(f));
    } else {
      damaged();
    }
  }
  std::string_view next() {
    const std::size_t end = rest_.find('\n');
    if (end == std::string_view::npos) damaged();
    const std::string_view line = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return line;
  }
  static std::string_view word(std::string_view& line) {
    const std::size_t end = line.find(' ');
    const std::string_view w = line.substr(0, end);
    line.remove_prefix(end == std::string_view::npos ? line.size() : end + 1);
    return w;
  }
  template <class T>
  T number(std::string_view& line, int base = 10) {
    const std::string_view w = word(line);
    T value{};
    if (const auto r = std::from_chars(w.data(), w.data() + w.size(), value, base);
        r.ec != std::errc() || r.ptr != w.data() + w.size())
      damaged();
    return value;
  }
  [[noreturn]] void fail(const std::string& why) const { throw Error("pcomp: " + where_ + ": " + why); }
  [[noreturn]] void damaged() const { fail("this manifest is damaged or no manifest of a checkpoint"); }

  std::string where_;
  std::string_view rest_;
};

}  // namespace pcomp::detail

namespace pcomp::checkpoint {

/// `where` names the text in errors.
[[nodiscard]] inline Manifest parse_manifest(std::string_view text, const std::string& where) {
  return detail::ManifestReader(text, where)();
}

}  // namespace pcomp::checkpoint
