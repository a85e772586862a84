#pragma once
#include <ATen/ops/scalar_tensor.h>
#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <memory>
#include <type_traits>
#include <typeinfo>

#include "../../base/error.hpp"
#include "../../nn/optim.hpp"
#include "../optimizer_state.hpp"

namespace pcomp::detail {

/// Calls `use` with the name and the value of each entry: a tensor or a step count.
template <class State, class Use>
void each_entry(State& s, const Use& use) {
  using Kind = std::remove_const_t<State>;
  if constexpr (std::is_same_v<Kind, torch::optim::SGDParamState>) {
    use("momentum", s.momentum_buffer());
  } else if constexpr (std::is_same_v<Kind, torch::optim::RMSpropParamState>) {
    use("step", s.step());
    use("square_avg", s.square_avg());
    use("momentum_buffer", s.momentum_buffer());
    use("grad_avg", s.grad_avg());
  } else if constexpr (std::is_same_v<Kind, torch::optim::AdagradParamState>) {
    use("step", s.step());
    use("sum", s.sum());
  } else {
    use("step", s.step());
    use("exp_avg", s.exp_avg());
    use("exp_avg_sq", s.exp_avg_sq());
    use("max_exp_avg_sq", s.max_exp_avg_sq());
  }
}

struct GatherEntries {
  checkpoint::NamedTensors* to;
  void operator()(const char* name, const at::Tensor& t) const {
    if (t.defined()) to->emplace_back(name, t);
  }
  void operator()(const char* name, std::int64_t n) const {
    to->emplace_back(name, at::scalar_tensor(n, at::kLong));
  }
};
struct RestoreEntries {
  const checkpoint::NamedTensors* from;
  at::Device device;
  void operator()(const char* name, at::Tensor& t) const {
    for (const auto& [n, tensor] : *from)
      if (n == name) t = tensor.to(device, tensor.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  }
  void operator()(const char* name, std::int64_t& n) const {
    n = checkpoint::find_tensor(*from, name, "an optimiser's state").item<std::int64_t>();
  }
};

/// Calls `use` with the type of state that this optimiser keeps, as a std::type_identity, and the optimiser's name.
template <class Use>
void with_state_type(const torch::optim::Optimizer& optimizer, const Use& use) {
  using namespace torch::optim;
  const std::type_info& type = typeid(optimizer);  // a derived optimiser may keep more than its base
  if (type == typeid(SGD) || type == typeid(optim::SGD))
    return use(std::type_identity<SGDParamState>{}, "SGD");
  if (type == typeid(Adam) || type == typeid(optim::Adam))
    return use(std::type_identity<AdamParamState>{}, "Adam");
  if (type == typeid(AdamW) || type == typeid(optim::AdamW))
    return use(std::type_identity<AdamWParamState>{}, "AdamW");
  if (type == typeid(RMSprop)) return use(std::type_identity<RMSpropParamState>{}, "RMSprop");
  if (type == typeid(Adagrad)) return use(std::type_identity<AdagradParamState>{}, "Adagrad");
  throw Error(
      "pcomp: a checkpoint holds the state of SGD, Adam, AdamW, RMSprop and Adagrad, not of another "
      "optimiser: train "
      "with one of these, or save the other's state yourself, with pack_tensors or in the checkpoint's "
      "`run`");
}

}  // namespace pcomp::detail

namespace pcomp::checkpoint {

PCOMP_IMPL void expect_saveable(const torch::optim::Optimizer& optimizer) {
  detail::with_state_type(optimizer, [](auto, const char*) {});
}

PCOMP_IMPL NamedTensors optimizer_state(const torch::optim::Optimizer& optimizer,
                                        const at::Tensor& parameter) {
  NamedTensors all;
  detail::with_state_type(optimizer, [&]<class State>(std::type_identity<State>, const char*) {
    const auto found = optimizer.state().find(parameter.unsafeGetTensorImpl());
    if (found == optimizer.state().end()) return;
    detail::each_entry(static_cast<const State&>(*found->second), detail::GatherEntries{&all});
  });
  return all;
}

PCOMP_IMPL void set_optimizer_state(torch::optim::Optimizer& optimizer, const at::Tensor& parameter,
                                    const NamedTensors& saved) {
  detail::with_state_type(optimizer, [&]<class State>(std::type_identity<State>, const std::string& name) {
    if (saved.empty() && std::is_same_v<State, torch::optim::AdagradParamState>)
      throw Error("pcomp: the checkpoint holds no state of Adagrad, which has some from its beginning");
    optimizer.state().erase(parameter.unsafeGetTensorImpl());
    if (saved.empty()) return;
    auto state = std::make_unique<State>();
    for (const auto& entry : saved) {
      bool known = false;
      detail::each_entry(*state, [&](const char* own, auto&) { known = known || entry.first == own; });
      if (!known)
        throw Error("pcomp: the checkpoint holds '" + entry.first + "' of another optimiser than " + name);
    }
    detail::each_entry(*state, detail::RestoreEntries{&saved, parameter.device()});
    optimizer.state()[parameter.unsafeGetTensorImpl()] = std::move(state);
  });
}

}  // namespace pcomp::checkpoint
