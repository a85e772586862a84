#pragma once
#include <ATen/core/grad_mode.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/full.h>
#include <ATen/ops/max.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "gather.hpp"
#include "ranks.hpp"

namespace pcomp::detail {

/// The norm of one parameter's gradient, as it travels: the arithmetic that follows is that of its dtype.
struct GradNorm {
  std::int32_t stage = 0, dtype = 0;
  double value = 0;
};

/// The gradients of this process's stages by stage; a parameter shared by several counts in the first.
inline std::vector<std::vector<at::Tensor>> gradients(const Ranks& ranks, const std::vector<int>& rank_of) {
  std::vector<std::vector<at::Tensor>> all(rank_of.size());
  std::set<const void*> seen;
  for (std::size_t s = 0; s < rank_of.size(); ++s)
    if (const Rank* rank = ranks.find(rank_of[s]))
      if (const auto& m = rank->executor.stage(static_cast<int>(s)).module)
        for (const at::Tensor& p : m->parameters())
          if (p.grad().defined() && seen.insert(p.unsafeGetTensorImpl()).second)
            all[s].push_back(p.grad().data());
  return all;
}

/// The norm of all norms and the factor that brings it to `most`, in the arithmetic of
/// torch::nn::utils::clip_grad_norm_.
inline std::pair<double, at::Tensor> clip_factor(const std::vector<GradNorm>& norms, double most,
                                                 double type) {
  std::vector<at::Tensor> each;
  for (const GradNorm& n : norms)
    each.push_back(at::scalar_tensor(n.value, static_cast<at::ScalarType>(n.dtype)));
  at::Tensor total;
  if (type == 0)
    total = at::full({}, static_cast<double>(each.size()));
  else if (each.size() == 1)
    total = each[0];
  else if (type == std::numeric_limits<double>::infinity())
    total = at::max(at::stack(each));
  else
    total = at::stack(each).norm(type);
  return {total.item<double>(), at::clamp(most / (total + 1e-6), std::nullopt, 1.0)};
}

/// See `Engine::clip_grad_norm`.
inline double clip_gradients(const Ranks& ranks, const std::vector<int>& rank_of, Gather& gather,
                             transport::Communicator& links, int number, double most, double type, bool error_if_nonfinite) {
  const at::AutoGradMode no_grad(false);
  const auto own = gradients(ranks, rank_of);
  std::vector<GradNorm> mine, norms;
  for (std::size_t s = 0; s < own.size(); ++s) {
    std::vector<at::Tensor> each;  // to the host at once: a GPU is waited for once a stage
    for (const at::Tensor& g : own[s])
      each.push_back(type == std::numeric_limits<double>::infinity() ? g.abs().max()
                     : type == 0                                     ? at::zeros({}, g.options())
                                                                     : g.norm(type));
    const at::Tensor values = each.empty() ? at::Tensor() : at::stack(each).to(at::kCPU, at::kDouble);
    for (std::size_t i = 0; i < each.size(); ++i)
      mine.push_back({static_cast<std::int32_t>(s), static_cast<std::int32_t>(each[i].scalar_type()),
                      values.const_data_ptr<double>()[i]});
  }
  for (const Gather::Bytes& b : gather(links, number, std::as_bytes(std::span(mine)))) {
    const std::size_t n = norms.size();
    norms.resize(n + b.size() / sizeof(GradNorm));
    if (!b.empty()) std::memcpy(norms.data() + n, b.data(), b.size());
  }
  std::stable_sort(norms.begin(), norms.end(),
                   [](const GradNorm& a, const GradNorm& b) { return a.stage < b.stage; });
  if (norms.empty()) return 0;
  const auto [norm, factor] = clip_factor(norms, most, type);
  if (error_if_nonfinite && !std::isfinite(norm)) {
    std::string where;
    for (const GradNorm& n : norms)
      if (!std::isfinite(n.value) && where.empty())
        where = " first in stage " + std::to_string(n.stage) + ",";
    throw Error(
        "pcomp: the norm of the gradients is " + std::to_string(norm) + "," + where +
        " so they cannot be clipped: lower the learning rate or choose milder wires, or leave out this step");
  }
  for (const auto& stage : own)
    for (const at::Tensor& g : stage) at::Tensor(g).mul_(factor);
  return norm;
}

}  // namespace pcomp::detail
