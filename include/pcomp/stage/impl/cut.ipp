#pragma once
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones_like.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <string>

#include "../../base/error.hpp"
#include "../cut.hpp"
#include "../entrances.hpp"

namespace pcomp::detail {

/// The cuts of `seconds`, in order, into so many parts whose largest sum is least.
inline std::vector<int> balanced(const std::vector<double>& seconds, int parts) {
  const int n = static_cast<int>(seconds.size());
  const auto at = [](int i) { return static_cast<std::size_t>(i); };
  std::vector<double> before(at(n + 1));
  for (int i = 0; i < n; ++i) before[at(i + 1)] = before[at(i)] + seconds[at(i)];
  // least[k][i]: of the first i children in k + 1 parts; last[k][i]: where the last of these begins.
  std::vector<std::vector<double>> least(at(parts),
                                         std::vector<double>(at(n + 1), std::numeric_limits<double>::max()));
  std::vector<std::vector<int>> last(at(parts), std::vector<int>(at(n + 1)));
  for (int i = 1; i <= n; ++i) least[0][at(i)] = before[at(i)];
  for (int k = 1; k < parts; ++k)
    for (int i = k + 1; i <= n; ++i)
      for (int j = k; j < i; ++j) {
        const double slowest = std::max(least[at(k - 1)][at(j)], before[at(i)] - before[at(j)]);
        if (slowest < least[at(k)][at(i)]) least[at(k)][at(i)] = slowest, last[at(k)][at(i)] = j;
      }
  std::vector<int> cuts;
  for (int k = parts - 1, end = n; k > 0; --k) cuts.insert(cuts.begin(), end = last[at(k)][at(end)]);
  return cuts;
}

inline void expect_children(const torch::nn::Sequential& net, int stages) {
  if (stages < 1 || static_cast<std::size_t>(stages) > net->size())
    throw Error("pcomp: a sequence of " + std::to_string(net->size()) + " modules cannot be cut into " +
                std::to_string(stages) + " stages: each needs at least one");
}

}  // namespace pcomp::detail

namespace pcomp {

PCOMP_IMPL std::vector<runtime::StageSpec> cut(const torch::nn::Sequential& net,
                                               const std::vector<int>& before) {
  const int n = static_cast<int>(net->size());
  std::vector<int> ends = before;
  ends.push_back(n);
  std::vector<runtime::StageSpec> stages;
  int begin = 0;
  const auto children = net->named_children();
  for (const int end : ends) {
    if (end <= begin || end > n)
      throw Error("pcomp: a sequence of " + std::to_string(n) +
                  " modules is cut before ascending numbers from 1 to " + std::to_string(n - 1) +
                  ", not before " + std::to_string(end) + " after " + std::to_string(begin));
    torch::nn::Sequential part;
    for (int i = begin; i < end; ++i)
      part->push_back(children[static_cast<std::size_t>(i)].key(), *(net->begin() + i));
    stages.push_back(runtime::stage_spec(
        [part] { return part; },
        "modules " + std::to_string(begin) + " to " + std::to_string(end - 1) + " of " + std::to_string(n)));
    begin = end;
  }
  return stages;
}

PCOMP_IMPL std::vector<runtime::StageSpec> cut(const torch::nn::Sequential& net, int stages) {
  detail::expect_children(net, stages);
  return cut(net, detail::balanced(std::vector<double>(net->size(), 1.0), stages));
}

PCOMP_IMPL std::vector<runtime::StageSpec> cut(const torch::nn::Sequential& net, int stages,
                                               const at::Tensor& sample) {
  return cut(net, runtime::cut_by_time(net, stages, sample));
}

}  // namespace pcomp

namespace pcomp::runtime {

PCOMP_IMPL std::vector<int> cut_by_time(const torch::nn::Sequential& net, int stages,
                                        const at::Tensor& sample) {
  detail::expect_children(net, stages);
  torch::nn::Sequential own = net;
  const detail::RngStateGuard random;
  const detail::ModuleStateGuard state({net.ptr()});
  const at::AutoGradMode grad(true);
  constexpr int times = 4;  // the first warms up
  std::vector<std::vector<double>> measured(net->size());
  for (int t = 0; t < times; ++t) {
    at::Tensor x = sample.detach().clone();  // a child may change its input in place
    auto seconds = measured.begin();
    for (torch::nn::AnyModule& child : *own) {
      at::Tensor gradient;
      const at::Tensor in = at::isFloatingType(x.scalar_type()) ? detail::entrance(x, &gradient) : x;
      const auto start = std::chrono::steady_clock::now();
      const at::Tensor out = child.forward<at::Tensor>(in);
      if (out.requires_grad()) out.backward(at::ones_like(out));
      (seconds++)->push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      x = out.detach();
    }
  }
  std::vector<double> each;
  for (auto& m : measured) each.push_back(*std::min_element(m.begin() + 1, m.end()));
  return detail::balanced(each, stages);
}

}  // namespace pcomp::runtime
