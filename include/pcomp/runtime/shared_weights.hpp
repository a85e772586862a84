#pragma once
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "../autograd/feedback.hpp"
#include "../schedule/make_schedule.hpp"
#include "ranks.hpp"

namespace pcomp::detail {

/// Pairs of parameters of different stages that are one weight: see `Engine::share`.
class SharedWeights {
 public:
  /// `number`: of the messages. `steps`: so many were taken.
  void add(const runtime::WeightName& first, const runtime::WeightName& second,
           const kernel::WireKernels* wire, const schedule::ScheduleTable& table, const Ranks& ranks,
           transport::Communicator& links, int number, std::int64_t steps) {
    if (steps > 0)
      throw Error(
          "pcomp: weights are shared before the first step: optimisers have treated these two differently");
    if (wire && (wire->verbatim || wire->forward.memory != codec::Memory::nothing))
      throw Error("pcomp: shared gradients pass through a wire without a memory, not " +
                  std::string(wire->name.view()));
    if (first.stage == second.stage)
      throw Error("pcomp: a weight is shared between two stages, not within stage " +
                  std::to_string(first.stage));
    Pair pair;
    const runtime::WeightName* names[] = {&first, &second};
    std::string kind[2];
    for (int i = 0; i < 2; ++i) {
      const int stage = names[i]->stage;
      const std::string& name = names[i]->name;
      if (stage < 0 || stage >= table.stages)
        throw Error("pcomp: there is no stage " + std::to_string(stage) + " whose '" + name +
                    "' could be shared");
      for (const Pair& other : pairs_)
        for (int j = 0; j < 2; ++j)
          if (other.stage[j] == stage && other.name[j] == name)
            throw Error("pcomp: '" + name + "' of stage " + std::to_string(stage) +
                        " is shared already: a weight is shared between two stages");
      pair.stage[i] = stage, pair.name[i] = name, pair.rank[i] = table.rank_of(stage);
      // Every process hears what the parameter is, or why there is none.
      const auto describe = [&] {
        const Rank* rank = ranks.find(pair.rank[i]);
        if (!rank) return std::string();
        const at::Tensor& own = pair.parameter[i] = find(rank->executor.stage(stage), stage, name);
        return own.toString() + " " + to_string(extents_of(own));
      };
      const auto said = transport::gather<std::string>(links, "parameter to share", describe);
      kind[i] = said.of(links.elsewhere().empty() ? 0 : pair.rank[i]);
    }
    if (kind[0] != kind[1])
      throw Error("pcomp: '" + first.name + "' of stage " + std::to_string(first.stage) + " is " + kind[0] +
                  ", but '" + second.name + "' of stage " + std::to_string(second.stage) + " is " + kind[1] +
                  ": they cannot be one weight");
    if (pair.parameter[0].defined() && pair.parameter[0].is_same(pair.parameter[1])) return;  // it is one
    const at::AutoGradMode no_grad(false);
    for (int i = 0; i < 2; ++i)  // as it is: a wire is for gradients
      if (pair.parameter[i].defined()) pack(pair, i, i == 0 ? pair.parameter[0].detach() : at::Tensor());
    exchange(links, number, pair);
    sent_ = {};
    if (pair.parameter[1].defined()) pair.parameter[1].copy_(unpack(pair, 0, pair.parameter[1]));
    pair.wire = wire;
    pairs_.push_back(std::move(pair));
  }

  /// A step begins: the gradients of earlier ones, which are sums already, wait.
  void set_aside() {
    for (Pair& p : pairs_)
      for (int i = 0; i < 2; ++i)
        if (p.parameter[i].defined()) {
          p.before[i] = std::exchange(p.parameter[i].mutable_grad(), at::Tensor());
          p.aside[i] = true;
        }
  }
  /// It has failed.
  void put_back() {
    for (Pair& p : pairs_)
      for (int i = 0; i < 2; ++i)
        if (std::exchange(p.aside[i], false))
          p.parameter[i].mutable_grad() = std::exchange(p.before[i], at::Tensor());
  }
  /// The step's gradients of both become their sum, on top of what was set aside.
  void add_up(transport::Communicator& links, int number) {
    const at::AutoGradMode no_grad(false);
    for (Pair& p : pairs_) {
      for (int i = 0; i < 2; ++i)
        if (p.parameter[i].defined()) pack(p, i, p.parameter[i].grad());
      exchange(links, number, p);
      const int later = p.stage[0] > p.stage[1] ? 0 : 1;
      for (int i = 0; i < 2; ++i) {
        if (!p.parameter[i].defined()) continue;
        p.aside[i] = false;
        at::Tensor sum = std::exchange(p.before[i], at::Tensor()), step;
        for (const int from : {later, 1 - later})
          if (const at::Tensor g = unpack(p, from, p.parameter[i]); g.defined())
            step = step.defined() ? step + g : g;
        p.parameter[i].mutable_grad() = !sum.defined() ? step : !step.defined() ? sum : sum + step;
      }
      ++p.steps;
    }
  }
  /// The second parameters of all pairs.
  std::set<const void*> copies() const {
    std::set<const void*> all;
    for (const Pair& p : pairs_)
      if (p.parameter[1].defined()) all.insert(p.parameter[1].unsafeGetTensorImpl());
    return all;
  }
  runtime::Traffic sent() { return std::exchange(sent_, {}); }

 private:
  static constexpr std::size_t header = 16;  ///< of a message: whether there is a gradient
  struct Pair {
    int stage[2] = {}, rank[2] = {};
    std::string name[2];
    at::Tensor parameter[2], before[2];  ///< undefined in another process
    bool aside[2] = {};
    const kernel::WireKernels* wire = nullptr;
    std::uint64_t steps = 0;
    std::vector<std::byte> message[2];
  };

  static at::Tensor find(const runtime::StageModule& stage, int number, const std::string& name) {
    if (stage.module)
      for (const auto& p : stage.module->named_parameters())
        if (p.key() == name) {
          if (!p.value().requires_grad())
            throw Error("pcomp: '" + name + "' of stage " + std::to_string(number) +
                        " requires no gradient, so there is none to share");
          return p.value();
        }
    throw Error("pcomp: stage " + std::to_string(number) + " has no parameter '" + name + "' to share");
  }
  static std::size_t size(const Pair& p, const at::Tensor& like) {
    return header + (p.wire ? p.wire->bytes(extents_of(like)) : like.nbytes());
  }
  void pack(Pair& p, int i, const at::Tensor& value) {
    p.message[i].assign(size(p, p.parameter[i]), std::byte{0});
    if (!value.defined()) return;
    p.message[i][0] = std::byte{1};
    const at::Tensor x = in_memory(value).to(at::kCPU).contiguous();
    const std::span<std::byte> payload = std::span(p.message[i]).subspan(header);
    if (p.wire)
      p.wire->encode(
          in(x, kernel::rng_counter(static_cast<std::uint64_t>(p.stage[i]) + (1u << 30), true, p.steps)),
          extents_of(x), payload, torch_threads);
    else
      std::memcpy(payload.data(), x.const_data_ptr(), payload.size());
  }
  /// In the form of `like`; undefined where there was nothing.
  static at::Tensor unpack(const Pair& p, int i, const at::Tensor& like) {
    if (p.message[i].empty() || p.message[i][0] == std::byte{0}) return {};
    at::Tensor x = at::empty(like.sizes(), at::TensorOptions(like.scalar_type()));
    const std::span<const std::byte> payload = std::span(p.message[i]).subspan(header);
    if (p.wire)
      p.wire->decode(payload, extents_of(x), out(x), torch_threads);
    else
      std::memcpy(x.mutable_data_ptr(), payload.data(), payload.size());
    return x.to(like.device());
  }
  /// Each of the two processes gets the other's message.
  void exchange(transport::Communicator& links, int number, Pair& p) {
    if (links.elsewhere().empty() || p.rank[0] == p.rank[1]) return;
    const int own = p.parameter[0].defined() ? 0 : 1;
    if (!p.parameter[own].defined()) return;
    p.message[1 - own].resize(p.message[own].size());
    transport::Transport& link = links.link(p.rank[own]);
    const auto received = link.receive(p.rank[1 - own], {number, 0, false}, p.message[1 - own]);
    const auto sends = link.send(p.rank[1 - own], {number, 0, false}, p.message[own]);
    link.wait(received);
    link.wait(sends);
    const auto n = static_cast<std::int64_t>(p.message[own].size());
    sent_ += {1, n, n, n};
  }

  std::vector<Pair> pairs_;
  runtime::Traffic sent_;
};

}  // namespace pcomp::detail
