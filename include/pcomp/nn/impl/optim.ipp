#pragma once
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>

#include <map>
#include <string>
#include <tuple>

#include "../../base/error.hpp"
#include "../optim.hpp"

namespace pcomp::detail {

/// What one call of a fused kernel updates: parameters of one device, dtype and number of steps.
struct FusedUpdate {
  std::vector<at::Tensor> parameters, gradients;
  std::vector<at::Tensor> first, second, third;  ///< what the optimiser keeps of each
};
/// By device, its index, dtype and number of steps taken.
using FusedUpdates =
    std::map<std::tuple<at::DeviceType, at::DeviceIndex, at::ScalarType, std::int64_t>, FusedUpdate>;

/// The kernels walk through memory and look at no strides, so those of a parameter and all that belongs to it must agree.
inline void expect_fusable(const at::Tensor& p) {
  const at::Tensor& g = p.grad();
  if (!g.defined()) return;
  const auto refuse = [&](const std::string& why) {
    throw Error(
        c10::str("pcomp: a fused optimiser cannot update a parameter of shape ", p.sizes(), ": ", why));
  };
  if (!p.is_floating_point() || p.layout() != at::kStrided)
    refuse("it takes dense parameters in floating point");
  if (!p.is_non_overlapping_and_dense()) refuse("its elements do not fill its memory, as those of a slice");
  if (g.layout() != at::kStrided) refuse("its gradient is sparse: torch::optim takes that");
  if (g.scalar_type() != p.scalar_type() || g.device() != p.device())
    refuse(c10::str("it is ", p.scalar_type(), " on ", p.device(), ", its gradient ", g.scalar_type(), " on ",
                    g.device()));
}
inline at::Tensor arranged_as(const at::Tensor& t, const at::Tensor& p) {
  return t.strides() == p.strides() ? t : at::empty_like(p).copy_(t);
}

inline void expect_fusable(const std::vector<torch::optim::OptimizerParamGroup>& groups) {
  for (const auto& group : groups)
    for (const at::Tensor& p : group.params()) expect_fusable(p);
}
/// Calls add(parameter, updates) for those that have a gradient.
template <class Add>
FusedUpdates fused_updates(const torch::optim::OptimizerParamGroup& group, Add add) {
  FusedUpdates all;
  for (const at::Tensor& p : group.params())
    if (p.grad().defined()) add(p, all);
  return all;
}
inline FusedUpdate& add_to(FusedUpdates& all, const at::Tensor& p, std::int64_t steps) {
  FusedUpdate& u = all[{p.device().type(), p.device().index(), p.scalar_type(), steps}];
  u.parameters.push_back(p);
  u.gradients.push_back(arranged_as(p.grad(), p));
  return u;
}
inline at::Tensor loss_of_closure(const torch::optim::Optimizer::LossClosure& closure) {
  const at::AutoGradMode grad(true);
  return closure ? closure() : at::Tensor();
}

/// Adam and AdamW: `Options`, `State` and the kernel are theirs.
template <class Options, class State, class StateMap, class Kernel>
void adam_step(std::vector<torch::optim::OptimizerParamGroup>& groups, StateMap& states, Kernel kernel) {
  expect_fusable(groups);
  for (torch::optim::OptimizerParamGroup& group : groups) {
    const auto& options = static_cast<const Options&>(group.options());
    FusedUpdates all = fused_updates(group, [&](const at::Tensor& p, FusedUpdates& to) {
      auto& held = states[p.unsafeGetTensorImpl()];
      if (!held) {
        auto made = std::make_unique<State>();
        made->step(0);
        made->exp_avg(at::zeros_like(p));
        made->exp_avg_sq(at::zeros_like(p));
        if (options.amsgrad()) made->max_exp_avg_sq(at::zeros_like(p));
        held = std::move(made);
      }
      auto& state = static_cast<State&>(*held);
      state.step(state.step() + 1);
      state.exp_avg(arranged_as(state.exp_avg(), p));
      state.exp_avg_sq(arranged_as(state.exp_avg_sq(), p));
      FusedUpdate& u = add_to(to, p, state.step());
      u.first.push_back(state.exp_avg());
      u.second.push_back(state.exp_avg_sq());
      if (!options.amsgrad()) return;
      state.max_exp_avg_sq(arranged_as(state.max_exp_avg_sq(), p));
      u.third.push_back(state.max_exp_avg_sq());
    });
    for (auto& [key, u] : all) {
      const auto taken = static_cast<double>(std::get<3>(key));
      const std::vector<at::Tensor> steps(
          u.parameters.size(),
          at::full({}, taken, at::TensorOptions(u.parameters[0].device()).dtype(at::kFloat)));
      kernel(u.parameters, u.gradients, u.first, u.second, u.third, steps, options.lr(),
             std::get<0>(options.betas()), std::get<1>(options.betas()), options.weight_decay(),
             options.eps(), options.amsgrad(), false);
    }
  }
}

}  // namespace pcomp::detail

namespace pcomp::optim {

PCOMP_IMPL at::Tensor SGD::step(LossClosure closure) {
  const at::NoGradGuard no_grad;
  at::Tensor loss = detail::loss_of_closure(closure);
  detail::expect_fusable(param_groups_);
  for (torch::optim::OptimizerParamGroup& group : param_groups_) {
    const auto& options = static_cast<const torch::optim::SGDOptions&>(group.options());
    const bool keeps = options.momentum() != 0;
    detail::FusedUpdates all =
        detail::fused_updates(group, [&](const at::Tensor& p, detail::FusedUpdates& to) {
          if (!keeps) return static_cast<void>(detail::add_to(to, p, 0));
          auto& held = state_[p.unsafeGetTensorImpl()];
          const bool first = !held;
          if (first) held = std::make_unique<torch::optim::SGDParamState>();
          auto& state = static_cast<torch::optim::SGDParamState&>(*held);
          state.momentum_buffer(first ? at::empty_like(p) : detail::arranged_as(state.momentum_buffer(), p));
          detail::add_to(to, p, first ? 0 : 1).first.push_back(state.momentum_buffer());
        });
    for (auto& [key, u] : all)
      at::_fused_sgd_(u.parameters, u.gradients, u.first, options.weight_decay(), options.momentum(),
                      options.lr(), options.dampening(), options.nesterov(), false, std::get<3>(key) == 0);
  }
  return loss;
}

PCOMP_IMPL at::Tensor Adam::step(LossClosure closure) {
  const at::NoGradGuard no_grad;
  at::Tensor loss = detail::loss_of_closure(closure);
  detail::adam_step<torch::optim::AdamOptions, torch::optim::AdamParamState>(
      param_groups_, state_, [](const auto&... all) { at::_fused_adam_(all...); });
  return loss;
}

PCOMP_IMPL at::Tensor AdamW::step(LossClosure closure) {
  const at::NoGradGuard no_grad;
  at::Tensor loss = detail::loss_of_closure(closure);
  detail::adam_step<torch::optim::AdamWOptions, torch::optim::AdamWParamState>(
      param_groups_, state_, [](const auto&... all) { at::_fused_adamw_(all...); });
  return loss;
}

}  // namespace pcomp::optim
