#pragma once
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <sstream>

#include "../runtime/engine.hpp"
#include "../transport/communicator.hpp"
#include "atomic_file.hpp"
#include "folder.hpp"
#include "safetensors.hpp"

namespace pcomp::checkpoint {

/// The name that a file has for a stage's parameter or buffer.
using StateName = std::function<std::string(int stage, const std::string& name)>;

/// "2.conv1.weight" for conv1.weight of stage 2: what `torch.nn.Sequential(*stages).state_dict()` has.
[[nodiscard]] inline std::string numbered_stages(int stage, const std::string& name) {
  return std::to_string(stage) + "." + name;
}

}  // namespace pcomp::checkpoint

namespace pcomp::detail {

/// A file of named tensors of either kind, read as far as it is asked for.
class StateFile {
 public:
  explicit StateFile(const std::filesystem::path& path) {
    if (checkpoint::SafetensorsFile::is_one(path)) {
      safe_ = std::make_unique<checkpoint::SafetensorsFile>(path);
      names_ = safe_->names();
      return;
    }
    std::ifstream in(path, std::ios::binary);
    if (!in) throw Error("pcomp: " + path.string() + ": it cannot be opened");
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    for (auto& [name, tensor] : checkpoint::unpack_tensors(bytes, path.string())) {
      names_.push_back(name);
      tensors_.emplace(name, std::move(tensor));
    }
  }
  const std::vector<std::string>& names() const { return names_; }
  bool has(const std::string& name) const { return safe_ ? safe_->has(name) : tensors_.contains(name); }
  at::ScalarType dtype(const std::string& name) const {
    return safe_ ? safe_->dtype(name) : tensors_.at(name).scalar_type();
  }
  std::vector<std::int64_t> sizes(const std::string& name) const {
    return safe_ ? safe_->sizes(name) : tensors_.at(name).sizes().vec();
  }
  at::Tensor read(const std::string& name) { return safe_ ? safe_->read(name) : tensors_.at(name); }

 private:
  std::unique_ptr<checkpoint::SafetensorsFile> safe_;
  std::vector<std::string> names_;
  std::map<std::string, at::Tensor> tensors_;
};

/// Where a tensor of the file goes.
struct StateTarget {
  std::string name;
  at::Tensor to;
};

inline std::vector<StateTarget> state_targets(const Engine& pipe, const checkpoint::StateName& name) {
  std::vector<StateTarget> all;
  for (int s = 0; s < pipe.schedule().stages; ++s)
    if (const auto module = pipe.here(s) ? pipe.module(s) : nullptr) {
      for (const auto& p : module->named_parameters()) all.push_back({name(s, p.key()), p.value()});
      for (const auto& b : module->named_buffers()) all.push_back({name(s, b.key()), b.value()});
    }
  return all;
}

/// Why a tensor cannot go there, or nothing.
inline std::string misfit(const StateFile& file, const StateTarget& t) {
  if (!file.has(t.name)) return "'" + t.name + "' is missing";
  const std::vector<std::int64_t> sizes = file.sizes(t.name);
  const at::ScalarType dtype = file.dtype(t.name);
  if (t.to.sizes() != at::IntArrayRef(sizes))
    return "'" + t.name + "' is " + c10::str(at::IntArrayRef(sizes)) + ", but the network has " +
           c10::str(t.to.sizes());
  if (dtype != t.to.scalar_type() && !(c10::isFloatingType(dtype) && t.to.is_floating_point()))
    return "'" + t.name + "' is " + c10::toString(dtype) + ", but the network has " +
           c10::toString(t.to.scalar_type());
  return "";
}

/// Of a rank's own targets and, with the names that all ranks use, each with a line break, of the file's own names.
inline std::string misfits(const StateFile& file, const std::vector<StateTarget>& targets,
                           const std::string* used) {
  std::string all;
  const auto add = [&](const std::string& why) {
    if (!why.empty()) all += (all.empty() ? "" : "; ") + why;
  };
  for (const StateTarget& t : targets) add(misfit(file, t));
  if (!used) return all;
  std::istringstream in(*used);
  std::set<std::string> names;
  for (std::string name; std::getline(in, name);) names.insert(name);
  for (const std::string& there : file.names())
    if (!names.contains(there)) add("'" + there + "' is in no stage");
  return all;
}

/// What a process has of a state: a line for each tensor, "dtype size,size, name".
inline std::string listed(const std::vector<StateTarget>& own) {
  std::string all;
  for (const StateTarget& t : own) {
    if (t.name.find('\n') != std::string::npos) throw Error("pcomp: the name of a weight has a line break");
    all += std::to_string(static_cast<int>(t.to.scalar_type())) + ' ';
    for (const std::int64_t n : t.to.sizes()) all += std::to_string(n) + ',';
    all += ' ' + t.name + '\n';
  }
  return all;
}
/// Zeros of every tensor of such a list.
inline checkpoint::NamedTensors unlisted(const std::string& list) {
  checkpoint::NamedTensors all;
  std::istringstream in(list);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    int dtype = 0;
    words >> dtype;
    words.get();
    std::vector<std::int64_t> sizes;
    for (std::int64_t n = 0; words.peek() != ' ' && words >> n; words.get()) sizes.push_back(n);
    words.get();
    std::string name;
    std::getline(words, name);
    all.emplace_back(name, at::zeros(sizes, static_cast<at::ScalarType>(dtype)));
  }
  return all;
}

}  // namespace pcomp::detail

namespace pcomp {

/// Puts the tensors of a file into the parameters and buffers of all stages: of a safetensors file, or of Python's
/// `torch.save(net.state_dict(), file)`. `name` says what the file calls a stage's tensor; "" leaves that one as it is.
///
/// Law: nothing changes, on any rank, unless all fits. A floating-point tensor is rounded to the dtype of its parameter.
/// Processes: all call it, each with a file of the same tensors.
/// Bytes: a rank reads what its own stages need of a safetensors file, but the whole of another one.
/// Errors: one `BadCheckpoint`, the same on every rank, that names every tensor that is missing, unused, or of another
///   shape or kind.
/// Example: docs/checkpoints.md
inline void load_state(Engine& pipe, const std::filesystem::path& path,
                       const checkpoint::StateName& name = checkpoint::numbered_stages) {
  const transport::Calls::Scope call(pipe.calls(), "loads weights");
  std::unique_ptr<detail::StateFile> file;
  std::vector<detail::StateTarget> targets;
  const auto own = [&] {
    file = std::make_unique<detail::StateFile>(path);
    targets = detail::state_targets(pipe, name);
    std::erase_if(targets, [](const detail::StateTarget& t) { return t.name.empty(); });
    std::string names;
    for (const detail::StateTarget& t : targets) names += t.name + '\n';
    return names;
  };
  const auto named = transport::gather<std::string>(pipe, "names of the weights", own);
  if (const transport::Failure why = named.failure(); !why.empty()) throw BadCheckpoint(why.text, path);
  std::string used;
  for (const std::string& names : named.values()) used += names;
  const auto misfits = transport::gather<std::string>(pipe, "fit of the weights", [&] {
    return detail::misfits(*file, targets, pipe.here(0) ? &used : nullptr);
  });
  std::string all;
  for (const std::string& why : misfits.values()) all += (all.empty() || why.empty() ? "" : "; ") + why;
  if (!all.empty()) throw BadCheckpoint("pcomp: " + path.string() + " does not fit: " + all, path);
  std::vector<at::Tensor> values;
  const auto read = transport::gather<bool>(pipe, "reading of the weights", [&] {
    for (const detail::StateTarget& t : targets) values.push_back(file->read(t.name));
    return true;
  });
  if (const transport::Failure why = read.failure(); !why.empty()) throw BadCheckpoint(why.text, path);
  const at::AutoGradMode no_grad(false);
  for (std::size_t i = 0; i < targets.size(); ++i) at::Tensor(targets[i].to).copy_(values[i]);
}

/// Writes the parameters and buffers of all stages to a safetensors file, for Python and for `load_state`.
///
/// Law: `load_state` of the file gives the same bits. The file is written whole or not at all.
/// Processes: all call it; that with stage 0 writes the file.
/// Bytes: all weights, to each other process, one tensor at a time.
/// Errors: one `Error`, the same on every rank, for a file that cannot be written and for two tensors of one name.
/// Example: docs/checkpoints.md
inline void save_state(Engine& pipe, const std::filesystem::path& path,
                       const checkpoint::StateName& name = checkpoint::numbered_stages) {
  const transport::Calls::Scope call(pipe.calls(), "saves weights");
  const at::AutoGradMode no_grad(false);
  std::vector<detail::StateTarget> own = detail::state_targets(pipe, name);
  std::erase_if(own, [](const detail::StateTarget& t) { return t.name.empty(); });
  const auto lists = transport::gather<std::string>(pipe, "list of the weights", [&] {
                       return detail::listed(own);
                     }).values();
  checkpoint::NamedTensors all;
  std::set<std::string> names;
  std::size_t next = 0;
  for (const std::string& list : lists)
    for (auto& [there, zeros] : detail::unlisted(list)) {
      if (!names.insert(there).second)
        throw Error("pcomp: two weights would be saved as '" + there + "': give each its own name");
      const bool mine = next < own.size() && own[next].name == there;
      const at::Tensor value = mine ? own[next++].to.detach().to(at::kCPU).contiguous() : zeros;
      const std::int64_t bytes = static_cast<std::int64_t>(value.nbytes());
      // Sums of bytes with zeros are those bytes.
      const at::Tensor sum =
          pipe.sum(at::from_blob(const_cast<void*>(value.const_data_ptr()), {bytes}, at::kByte));
      if (!pipe.here(0)) continue;
      if (bytes) std::memcpy(zeros.mutable_data_ptr(), sum.const_data_ptr(), static_cast<std::size_t>(bytes));
      all.emplace_back(there, zeros);
    }
  const auto written = transport::gather<bool>(pipe, "outcome of a save", [&] {
    if (pipe.here(0)) checkpoint::atomic_write_file(path, checkpoint::pack_safetensors(all));
    return true;
  });
  written.failure().raise_if_any();
}

}  // namespace pcomp

namespace pcomp::checkpoint {

using pcomp::load_state;
using pcomp::save_state;

}  // namespace pcomp::checkpoint
