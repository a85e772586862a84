#pragma once
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../autograd/tensor.hpp"
#include "tensor_file.hpp"

#if !__has_include(<nlohmann/json.hpp>)
#error \
    "pcomp: <pcomp/checkpoint/safetensors.hpp> needs the header of nlohmann-json (Debian: nlohmann-json3-dev)"
#endif
#include <nlohmann/json.hpp>

namespace pcomp::detail {

/// The format's names of dtypes.
inline constexpr std::array<std::pair<std::string_view, at::ScalarType>, 16> safetensors_dtypes{
    {{"BOOL", at::kBool},
     {"U8", at::kByte},
     {"I8", at::kChar},
     {"F8_E4M3", at::kFloat8_e4m3fn},
     {"F8_E5M2", at::kFloat8_e5m2},
     {"I16", at::kShort},
     {"U16", at::kUInt16},
     {"F16", at::kHalf},
     {"BF16", at::kBFloat16},
     {"I32", at::kInt},
     {"U32", at::kUInt32},
     {"F32", at::kFloat},
     {"I64", at::kLong},
     {"U64", at::kUInt64},
     {"F64", at::kDouble},
     {"C64", at::kComplexFloat}}};

}  // namespace pcomp::detail

namespace pcomp::checkpoint {

/// Packs tensors into the bytes of a safetensors file, for `safetensors.torch.load_file` and whatever else reads them.
///
/// Law: a reader finds the same names, shapes, dtypes and bits; the tensors lie row by row, those of wider dtypes first,
///   then by name.
/// Bytes: 8, a header of about 80 for each tensor, and the tensors'.
/// Errors: `Error` that names an undefined or sparse tensor, a dtype that the format lacks, or a name given twice.
/// Source: the format of Hugging Face's safetensors.
/// Example: docs/checkpoints.md
[[nodiscard]] inline std::string pack_safetensors(const NamedTensors& tensors,
                                                  const std::map<std::string, std::string>& about = {}) {
  struct Entry {
    std::string name;
    std::string_view dtype;
    at::Tensor tensor;
  };
  std::vector<Entry> entries;
  std::set<std::string> names{"__metadata__"};
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.defined()) throw Error("pcomp: a file takes tensors, but '" + name + "' is undefined");
    if (tensor.is_nested() || tensor.layout() != at::kStrided)
      throw Error("pcomp: a file takes dense tensors, but '" + name + "' is " + tensor.toString() +
                  ": save tensor.to_dense()");
    if (!names.insert(name).second)
      throw Error("pcomp: a safetensors file has each name once, but '" + name + "' came again");
    const auto known = std::ranges::find(detail::safetensors_dtypes, tensor.scalar_type(),
                                         &std::pair<std::string_view, at::ScalarType>::second);
    if (known == detail::safetensors_dtypes.end())
      throw Error("pcomp: a safetensors file has no dtype for '" + name + "', which is " + tensor.toString());
    entries.push_back({name, known->first, detail::in_memory(tensor.detach()).cpu().contiguous()});
  }
  std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
    const auto width = [](const Entry& e) { return e.tensor.element_size(); };
    return width(a) != width(b) ? width(a) > width(b) : a.name < b.name;
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!about.empty()) header["__metadata__"] = about;
  std::size_t end = 0;
  for (const Entry& e : entries) {
    const std::size_t begin = std::exchange(end, end + e.tensor.nbytes());
    header[e.name] = {{"dtype", e.dtype},
                      {"shape", std::vector<std::int64_t>(e.tensor.sizes().begin(), e.tensor.sizes().end())},
                      {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t size = text.size();
  std::string bytes(sizeof size + text.size() + end, '\0');
  std::memcpy(bytes.data(), &size, sizeof size);
  std::memcpy(bytes.data() + sizeof size, text.data(), text.size());
  char* to = bytes.data() + sizeof size + text.size();
  for (const Entry& e : entries) {
    if (e.tensor.nbytes()) std::memcpy(to, e.tensor.const_data_ptr(), e.tensor.nbytes());
    to += e.tensor.nbytes();
  }
  return bytes;
}

/// A safetensors file: its header is read, and each tensor when it is asked for.
///
/// Bytes: in memory, the header and the tensors that were asked for.
/// Errors: `Error` that names the file, if it is damaged or of another format.
/// Source: the format of Hugging Face's safetensors.
/// Example: docs/checkpoints.md
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path) : path_(path), in_(path, std::ios::binary) {
    std::uint64_t size = 0;
    if (!in_) fail("it cannot be opened");
    const std::uint64_t whole = std::filesystem::file_size(path);
    in_.read(reinterpret_cast<char*>(&size), sizeof size);
    if (!in_ || size < 2 || size > whole - sizeof size || size > most_header)
      fail("it has no safetensors header");
    std::string text(size, '\0');
    in_.read(text.data(), static_cast<std::streamsize>(size));
    data_ = sizeof size + size;
    read_header(text, whole - data_);
  }

  /// Whether a file begins as one of this format does.
  static bool is_one(const std::filesystem::path& path) {
    char begin[9] = {};
    std::ifstream(path, std::ios::binary).read(begin, sizeof begin);
    return begin[8] == '{';
  }

  /// In the order of the file.
  const std::vector<std::string>& names() const { return names_; }
  bool has(const std::string& name) const { return entries_.contains(name); }
  const std::vector<std::int64_t>& sizes(const std::string& name) const { return entry(name).sizes; }
  at::ScalarType dtype(const std::string& name) const { return entry(name).dtype; }
  const std::map<std::string, std::string>& about() const { return about_; }

  [[nodiscard]] at::Tensor read(const std::string& name) {
    const Entry& e = entry(name);
    at::Tensor t = at::empty(e.sizes, at::TensorOptions(at::kCPU).dtype(e.dtype));
    in_.clear();
    in_.seekg(static_cast<std::streamoff>(data_ + e.begin));
    in_.read(static_cast<char*>(t.mutable_data_ptr()), static_cast<std::streamsize>(e.end - e.begin));
    if (!in_) fail("'" + name + "' cannot be read");
    return t;
  }

 private:
  static constexpr std::uint64_t most_header = 100'000'000;  // of the reference implementation
  struct Entry {
    at::ScalarType dtype;
    std::vector<std::int64_t> sizes;
    std::uint64_t begin, end;
  };

  [[noreturn]] void fail(const std::string& why) const {
    throw Error("pcomp: " + path_.string() + ": " + why);
  }
  const Entry& entry(const std::string& name) const {
    const auto found = entries_.find(name);
    if (found == entries_.end()) fail("there is no tensor '" + name + "'");
    return found->second;
  }
  void read_header(const std::string& text, std::uint64_t bytes) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> places;
    try {
      const nlohmann::ordered_json header = nlohmann::ordered_json::parse(text);
      for (const auto& [name, value] : header.items()) {
        if (name == "__metadata__") {
          about_ = value.get<std::map<std::string, std::string>>();
          continue;
        }
        const auto dtype = value.at("dtype").get<std::string>();
        const auto known = std::ranges::find(detail::safetensors_dtypes, dtype,
                                             &std::pair<std::string_view, at::ScalarType>::first);
        if (known == detail::safetensors_dtypes.end()) fail("'" + name + "' has an unknown dtype, " + dtype);
        Entry e{known->second, value.at("shape").get<std::vector<std::int64_t>>(), 0, 0};
        const auto place = value.at("data_offsets").get<std::array<std::uint64_t, 2>>();
        e.begin = place[0], e.end = place[1];
        std::uint64_t size = c10::elementSize(e.dtype);
        for (const std::int64_t n : e.sizes)
          if (n < 0 || __builtin_mul_overflow(size, static_cast<std::uint64_t>(n), &size))
            fail("'" + name + "' has an impossible shape");
        if (e.begin > e.end || e.end > bytes || e.end - e.begin != size)
          fail("'" + name + "' takes " + std::to_string(size) + " bytes, but stands at " +
               std::to_string(e.begin) + " to " + std::to_string(e.end) + " of " + std::to_string(bytes));
        places.emplace_back(e.begin, e.end);
        names_.push_back(name);
        entries_.emplace(name, std::move(e));
      }
    } catch (const nlohmann::json::exception& e) {
      fail(std::string("its header is damaged: ") + e.what());
    }
    std::ranges::sort(places);
    std::uint64_t end = 0;
    for (const auto& [from, to] : places)
      if (std::exchange(end, to) != from) fail("its tensors overlap, or leave bytes out");
    if (end != bytes)
      fail("it has " + std::to_string(bytes) + " bytes of tensors, and its header says " +
           std::to_string(end));
  }

  std::filesystem::path path_;
  std::ifstream in_;
  std::uint64_t data_ = 0;
  std::vector<std::string> names_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> about_;
};

}  // namespace pcomp::checkpoint
