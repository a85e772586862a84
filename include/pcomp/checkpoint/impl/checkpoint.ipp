#pragma once
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <map>

#include "../../kernel/wire_kernels.hpp"
#include "../../runtime/boundary_ends.hpp"
#include "../../transport/communicator.hpp"
#include "../checkpoint.hpp"

namespace pcomp::detail {

inline std::string stage_part(int stage) { return "stage-" + std::to_string(stage); }

inline std::string boundary_part(int boundary, Direction d) {
  return "boundary-" + std::to_string(boundary) + (d == Direction::backward ? "-gradient" : "");
}
inline const kernel::Remembers& remembers(const kernel::WireKernels& w, Direction d) {
  return d == Direction::forward ? w.forward : w.backward;
}

/// Whether `is` holds for what one of a boundary's wires remembers.
template <class Is>
bool any_wire(const Engine& engine, int boundary, Direction d, Is is) {
  const kernel::BoundaryWires& all = engine.wires()[static_cast<std::size_t>(boundary)];
  return std::any_of(all.begin(), all.end(), [&](const auto* w) { return is(remembers(*w, d)); });
}

/// Calls f(boundary, direction, sender's stage, receiver's stage) for each direction in which a boundary has state.
template <class F>
void for_each_memory(const Engine& engine, F&& f) {
  for (int e = 0; e < static_cast<int>(engine.wires().size()); ++e)
    for (const Direction d : both_directions)
      if (any_wire(engine, e, d, [](const kernel::Remembers& r) { return r.any(); }))
        f(e, d, d == Direction::forward ? e : e + 1, d == Direction::forward ? e + 1 : e);
}

/// Parameters and buffers under the module's own names, the rest under names with a slash.
inline checkpoint::NamedTensors stage_tensors(const torch::nn::Module* module,
                                              const torch::optim::Optimizer& optimizer) {
  checkpoint::NamedTensors all;
  if (module) {
    for (const auto& p : module->named_parameters()) all.emplace_back(p.key(), p.value());
    for (const auto& b : module->named_buffers()) all.emplace_back(b.key(), b.value());
    for (const auto& p : module->named_parameters())
      for (auto& [entry, tensor] : checkpoint::optimizer_state(optimizer, p.value()))
        all.emplace_back("optimizer/" + entry + "/" + p.key(), std::move(tensor));
  }
  all.emplace_back("random/cpu", at::detail::getDefaultCPUGenerator().get_state());
  return all;
}

inline void set_tensor(at::Tensor to, const at::Tensor& from, const std::string& name,
                       const std::string& where) {
  if (to.sizes() != from.sizes() || to.scalar_type() != from.scalar_type())
    throw Error("pcomp: " + where + ": '" + name + "' is " + from.toString() + " " +
                to_string(extents_of(from)) + ", but the network has " + to.toString() + " " +
                to_string(extents_of(to)));
  const at::AutoGradMode no_grad(false);
  to.copy_(from);
}

inline void set_stage_tensors(torch::nn::Module* module, torch::optim::Optimizer& optimizer,
                              const checkpoint::NamedTensors& saved, const std::string& where) {
  std::size_t used = 0;
  const auto take = [&](const std::string& name) -> const at::Tensor& {
    return ++used, checkpoint::find_tensor(saved, name, where);
  };
  if (module) {
    for (const auto& p : module->named_parameters()) set_tensor(p.value(), take(p.key()), p.key(), where);
    for (const auto& b : module->named_buffers()) set_tensor(b.value(), take(b.key()), b.key(), where);
    for (const auto& p : module->named_parameters()) {
      checkpoint::NamedTensors state;
      for (const auto& [name, tensor] : saved)
        if (name.starts_with("optimizer/") && name.ends_with("/" + p.key()))
          state.emplace_back(name.substr(10, name.size() - p.key().size() - 11), tensor);
      used += state.size();
      checkpoint::set_optimizer_state(optimizer, p.value(), state);
    }
  }
  at::Generator random = at::detail::getDefaultCPUGenerator();
  random.set_state(take("random/cpu"));
  if (used != saved.size())
    throw Error("pcomp: " + where + ": the network uses " + std::to_string(used) + " of its " +
                std::to_string(saved.size()) + " tensors");
}

/// Whatever keeps a checkpoint from being loaded is the checkpoint's fault.
template <class F>
auto loading(const checkpoint::CheckpointFolder& folder, F body) {
  try {
    return body();
  } catch (const BadCheckpoint&) {
    throw;
  } catch (const Error& e) {
    throw BadCheckpoint(e.what(), folder.name());
  }
}

inline void load_parts(const checkpoint::CheckpointFolder& folder, const checkpoint::Manifest& m,
                       Engine& engine, torch::optim::Optimizer& optimizer) {
  if (m.stages != engine.schedule().stages)
    throw Error("pcomp: the checkpoint has " + std::to_string(m.stages) + " stages, the network " +
                std::to_string(engine.schedule().stages));
  for_each_memory(engine, [&](int boundary, Direction, int, int) {
    const auto e = static_cast<std::size_t>(boundary);
    const std::string saved = e < m.wires.size() ? m.wires[e] : "none", now = engine.wires()[e].name();
    if (saved != now)
      throw Error("pcomp: the checkpoint was made with the wire '" + saved + "' on boundary " +
                  std::to_string(boundary) + ", but it has '" + now +
                  "', which would misread what was remembered");
  });
  for (int s = 0; s < m.stages; ++s) {
    if (!engine.here(s)) continue;
    const std::string where = "stage " + std::to_string(s) + " of the checkpoint";
    set_stage_tensors(engine.module(s).get(), optimizer,
                      checkpoint::unpack_tensors(folder.read(m, stage_part(s)), where), where);
  }
  // The receiver's state equals the sender's copy of it, so one file serves both.
  for_each_memory(engine, [&](int boundary, Direction d, int sender, int receiver) {
    if (!engine.here(sender) && !engine.here(receiver)) return;
    const std::string where = "boundary " + std::to_string(boundary) + " of the checkpoint";
    const checkpoint::NamedTensors saved =
        checkpoint::unpack_tensors(folder.read(m, boundary_part(boundary, d)), where);
    const bool same_rank = engine.ends_at(sender) == engine.ends_at(receiver);
    const bool estimates = any_wire(engine, boundary, d, [](const kernel::Remembers& r) {
      return r.memory == codec::Memory::estimate || r.memory == codec::Memory::samples;
    });
    if (engine.here(sender)) engine.ends_at(sender)->load(d, boundary, saved);
    if (engine.here(receiver) && !same_rank && estimates) engine.ends_at(receiver)->load(d, boundary, saved);
  });
}

}  // namespace pcomp::detail

namespace pcomp {

PCOMP_IMPL void save_checkpoint(const checkpoint::CheckpointFolder& folder, checkpoint::Manifest what,
                                Engine& engine, const torch::optim::Optimizer& optimizer,
                                const checkpoint::NamedTensors& run) {
  const transport::Calls::Scope call(engine.calls(), "saves a checkpoint");
  const auto first_of_all = [&](const std::string& error) {
    const auto said = transport::gather<bool>(engine, "outcome of a save", [&] {
      transport::Failure(error).raise_if_any();
      return true;
    });
    return said.failure().text;
  };
  checkpoint::Together together{engine.here(0), first_of_all, true};
  what.stages = engine.schedule().stages;
  what.schedule = detail::describe(engine.schedule().policy.c_str(), engine.schedule().size());
  what.wires.clear();
  for (const runtime::BoundaryReport& b : engine.report().boundaries) what.wires.push_back(b.wire);
  std::vector<std::string> parts;
  std::map<std::string, std::string> mine;
  std::string error;
  try {
    if (auto& held = engine.kept("folder " + folder.name()); together.writes_manifest && !held)
      held = folder.hold();
    for (int s = 0; s < what.stages; ++s) {
      parts.push_back(detail::stage_part(s));
      if (engine.here(s))
        mine[parts.back()] =
            checkpoint::pack_tensors(detail::stage_tensors(engine.module(s).get(), optimizer));
    }
    detail::for_each_memory(engine, [&](int boundary, detail::Direction d, int sender, int) {
      parts.push_back(detail::boundary_part(boundary, d));
      if (engine.here(sender))
        mine[parts.back()] = checkpoint::pack_tensors(engine.ends_at(sender)->save(d, boundary));
    });
    parts.push_back("run");
    if (together.writes_manifest) mine["run"] = checkpoint::pack_tensors(run);
  } catch (const c10::Error& e) {
    error = "pcomp: cannot save " + parts.back() + ": " + e.what_without_backtrace();
  } catch (const std::exception& e) {
    error = e.what();
  }
  if (error = together.check_agreement(error); !error.empty()) throw Error(error);
  folder.save(std::move(what), parts, mine, together);
}

}  // namespace pcomp

namespace pcomp::checkpoint {

PCOMP_IMPL NamedTensors load_run(const CheckpointFolder& folder, const Manifest& m) {
  return detail::loading(
      folder, [&] { return unpack_tensors(folder.read(m, "run"), "the run's file of the checkpoint"); });
}

}  // namespace pcomp::checkpoint

namespace pcomp {

PCOMP_IMPL void load_checkpoint(const checkpoint::CheckpointFolder& folder, const checkpoint::Manifest& m,
                                Engine& engine, torch::optim::Optimizer& optimizer) {
  const transport::Calls::Scope call(engine.calls(), "loads a checkpoint", [&] {
    return "the save after epoch " + std::to_string(m.epoch) + ", step " + std::to_string(m.step);
  });
  detail::loading(folder, [&] { detail::load_parts(folder, m, engine, optimizer); });
}

}  // namespace pcomp
