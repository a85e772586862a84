#pragma once
#include <ATen/core/grad_mode.h>

#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <sstream>

#include "../runtime/engine.hpp"
#include "../transport/communicator.hpp"
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

}  // namespace pcomp::detail

namespace pcomp::checkpoint {

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
                       const StateName& name = numbered_stages) {
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

}  // namespace pcomp::checkpoint
