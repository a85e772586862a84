#pragma once
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/max.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "../transport/communicator.hpp"
#include "ranks.hpp"
#include "report.hpp"

namespace pcomp::detail {

/// Brings the bytes of every process to every process, for numbers that all need at once.
///
/// Law: in rank order, so that what is added up in that order has the same bits on every rank.
/// Bytes: each process sends its own to every other one; nothing passes the store.
/// Errors: one `Error`, the same on every rank, which names what this rank did.
class Gather {
 public:
  using Bytes = std::vector<std::byte>;

  /// `sizes[r]`: the bytes of process r. `number`: the messages'.
  const std::vector<Bytes>& operator()(transport::Communicator& links, int number,
                                       std::span<const std::byte> mine,
                                       const std::vector<std::size_t>& sizes) {
    all_.resize(sizes.size());
    for (std::size_t r = 0; r < sizes.size(); ++r) all_[r].resize(sizes[r]);
    const int own = links.elsewhere().empty() ? 0 : links.here().front();
    std::copy(mine.begin(), mine.end(), all_.at(static_cast<std::size_t>(own)).begin());
    if (links.elsewhere().empty()) return all_;
    transport::Transport& link = links.link(own);
    try {
      std::vector<transport::Transport::Ticket> posts;
      for (int r : links.elsewhere())
        posts.push_back(link.receive(r, {number, 0, false}, all_[static_cast<std::size_t>(r)]));
      for (int r : links.elsewhere()) {
        posts.push_back(link.send(r, {number, 0, false}, all_[static_cast<std::size_t>(own)]));
        const auto n = static_cast<std::int64_t>(mine.size());
        sent_ += {1, n, n, n};
      }
      for (const transport::Transport::Ticket t : posts) link.wait(t);
    } catch (const std::exception& e) {
      transport::Failure why = transport::Failure::of(e);
      why.text = "pcomp: rank " + std::to_string(own) + ", " + (links.calls() ? links.calls()->name() : "") +
                 ": " + bare(why.text);
      if (link.aborted().empty()) link.abort(why);
      link.aborted().raise();
    }
    return all_;
  }
  /// As above, where only each process knows how many bytes it has.
  const std::vector<Bytes>& operator()(transport::Communicator& links, int number,
                                       std::span<const std::byte> mine) {
    const std::size_t processes = links.elsewhere().size() + 1;
    std::uint64_t size = mine.size();
    std::vector<std::size_t> sizes;
    for (const Bytes& b : (*this)(links, number, std::as_bytes(std::span(&size, 1)),
                                  std::vector<std::size_t>(processes, sizeof size))) {
      std::memcpy(&size, b.data(), sizeof size);
      sizes.push_back(size);
    }
    return (*this)(links, number, mine, sizes);
  }
  /// What was sent since the last time this was asked.
  runtime::Traffic sent() { return std::exchange(sent_, {}); }

 private:
  std::vector<Bytes> all_;  ///< as long as the links may write into them
  runtime::Traffic sent_;
};

/// What `Engine::sum` is given, as the ranks compare it.
inline std::string summand_text(const at::Tensor& t) {
  return t.defined() ? std::string(c10::toString(t.scalar_type())) + " " + c10::str(t.sizes())
                     : "an undefined tensor";
}
inline void expect_summand(const at::Tensor& t) {
  if (!t.defined() || t.layout() != at::kStrided || t.scalar_type() == at::kBool)
    throw Error("pcomp: sum takes a dense tensor of numbers, not " + summand_text(t));
}
inline at::Tensor tensor_of_numbers(const std::vector<double>& values) {
  const at::Tensor t = at::empty({static_cast<std::int64_t>(values.size())}, at::kDouble);
  std::copy(values.begin(), values.end(), t.mutable_data_ptr<double>());
  return t;
}
/// On the device of `values`, of its dtype.
inline at::Tensor sum_of_all(Gather& gather, transport::Communicator& links, int number,
                             const at::Tensor& values) {
  const at::AutoGradMode no_grad(false);
  const at::Tensor own = values.detach().to(at::kCPU).contiguous().resolve_conj().resolve_neg();
  const std::span<const std::byte> mine(static_cast<const std::byte*>(own.const_data_ptr()), own.nbytes());
  at::Tensor total;
  for (const Gather::Bytes& bytes :
       gather(links, number, mine, std::vector<std::size_t>(links.elsewhere().size() + 1, own.nbytes()))) {
    const at::Tensor part = at::empty(own.sizes(), own.options());
    if (!bytes.empty()) std::memcpy(part.mutable_data_ptr(), bytes.data(), bytes.size());
    total = total.defined() ? total + part : part;
  }
  return total.to(values.device());
}

/// The norm of one parameter's gradient, as it travels: the arithmetic that follows is that of its dtype.
struct GradNorm {
  std::int32_t stage = 0, dtype = 0;
  double value = 0;
};

/// The gradients of this process's stages by stage, without those of `copies`; a parameter of several stages counts in the
/// first.
inline std::vector<std::vector<at::Tensor>> gradients(const Ranks& ranks, const std::vector<int>& rank_of,
                                                      const std::set<const void*>* copies) {
  std::vector<std::vector<at::Tensor>> all(rank_of.size());
  std::set<const void*> seen;
  for (std::size_t s = 0; s < rank_of.size(); ++s)
    if (const Rank* rank = ranks.find(rank_of[s]))
      if (const auto& m = rank->executor.stage(static_cast<int>(s)).module)
        for (const at::Tensor& p : m->parameters())
          if (p.grad().defined() && !(copies && copies->contains(p.unsafeGetTensorImpl())) &&
              seen.insert(p.unsafeGetTensorImpl()).second)
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
                             transport::Communicator& links, int number, double most, double type,
                             bool error_if_nonfinite, const std::set<const void*>& copies) {
  const at::AutoGradMode no_grad(false);
  const auto own = gradients(ranks, rank_of, nullptr), counted = gradients(ranks, rank_of, &copies);
  std::vector<GradNorm> mine, norms;
  for (std::size_t s = 0; s < counted.size(); ++s) {
    std::vector<at::Tensor> each;  // to the host at once: a GPU is waited for once a stage
    for (const at::Tensor& g : counted[s])
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
