#pragma once
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randn.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <exception>
#include <set>
#include <thread>

#include "../../autograd/tensor.hpp"
#include "../cut.hpp"
#include "../entrances.hpp"
#include "../measure.hpp"
#include "../memory_meter.hpp"
#include "../split_backward.hpp"

namespace pcomp::detail {

template <class F>
double seconds_of(F&& f) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  f();
  return std::chrono::duration<double>(Clock::now() - start).count();
}
inline double median_of(std::vector<double> all) {
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}

/// A network as a chain of blocks, each with a graph of its own.
class BlockChain {
 public:
  explicit BlockChain(const std::vector<runtime::StageSpec>& blocks) {
    for (const runtime::StageSpec& s : blocks) {
      blocks_.push_back(s.build());
      names_.push_back(s.name);
      if (!blocks_.back().device.is_cpu())
        throw Error("pcomp: " + about(blocks_.size() - 1) + "is on " + blocks_.back().device.str() +
                    ": blocks are measured on the CPU");
    }
  }

  std::vector<std::shared_ptr<torch::nn::Module>> modules() const {
    std::vector<std::shared_ptr<torch::nn::Module>> all;
    for (const auto& b : blocks_) all.push_back(b.module);
    return all;
  }
  const std::vector<Extents>& shapes() const { return shapes_; }

  /// Seconds of the median of so many passes, and the bytes of one.
  std::vector<plan::BlockCost> costs(const at::Tensor& x, int microbatches, const plan::Effort& effort) {
    const SecondRun counted(nullptr);  // modules that count their forward passes do not count these
    const ModuleStateGuard state(modules());
    const at::AutoGradMode with_graph(true);
    x_ = x, count_ = microbatches;
    std::vector<std::array<std::vector<double>, 4>> times(blocks_.size());
    for (int i = 0; i <= effort.times; ++i) {
      const auto whole = pass(false, nullptr), split = pass(true, nullptr);
      for (std::size_t b = 0; b < times.size() && i > 0; ++b) {
        const double values[] = {whole[b].forward, whole[b].backward, split[b].inputs, split[b].weights};
        for (std::size_t k = 0; k < 4; ++k) times[b][k].push_back(values[k]);
      }
    }
    // With gradients there from the first pass on, as for all but a step's first micro-batch.
    pass(false, nullptr, true);
    std::vector<plan::BlockCost> whole, split;
    {
      MemoryMeter meter;
      if (meter.counts()) whole = pass(false, &meter, true), split = pass(true, &meter, true);
    }
    std::vector<plan::BlockCost> all;
    for (std::size_t b = 0; b < times.size(); ++b) {
      const auto& t = times[b];
      all.push_back({median_of(t[0]), median_of(t[1]), median_of(t[2]), median_of(t[3])});
      if (whole.empty()) continue;
      schedule::StageBytes& k = all.back().bytes;
      k = whole[b].bytes;
      k.fixed = fixed(blocks_[b].module.get(), effort.optimiser_states);
      k.backward = std::max(k.backward, split[b].bytes.backward);
      k.between = split[b].bytes.between, k.weights = split[b].bytes.weights;
    }
    return all;
  }

 private:
  std::string about(std::size_t b) const {
    return "block " + std::to_string(b) + " of " + std::to_string(names_.size()) + " (" + names_[b] + ") ";
  }

  at::Tensor forward(std::size_t b, const at::Tensor& h) const {
    Microbatch m;
    m.count = count_, m.samples = x_.size(0);
    runtime::Tensors made;
    try {
      made = blocks_[b].call({h}, m);
    } catch (const c10::Error& e) {
      throw Error("pcomp: " + about(b) + "fails: " + e.what_without_backtrace());
    } catch (const std::exception& e) {
      throw Error("pcomp: " + about(b) + "fails: " + bare(e.what()));
    }
    const auto expect = [&](bool ok, const char* what) {
      if (!ok) throw Error("pcomp: " + about(b) + what);
    };
    expect(made.size() == 1, "returns several tensors: the planner takes blocks that make one tensor of one");
    expect(made[0].defined() && made[0].is_floating_point(), "returns no floating-point tensor");
    expect(made[0].dim() > 0 && made[0].size(0) == x_.size(0),
           "returns a tensor whose first dimension is not that of the samples");
    return made[0];
  }

  std::vector<plan::BlockCost> pass(bool split, MemoryMeter* meter, bool keep_gradients = false) {
    const std::size_t n = blocks_.size();
    std::vector<plan::BlockCost> costs(n);
    runtime::Tensors outputs(n), input_grads(n);
    std::vector<std::shared_ptr<torch::autograd::Node>> entrances(n);
    /// Seconds of `f`; `most` and `stays`: the bytes that it needs at once and that are left.
    const auto timed = [&](auto f, std::int64_t& most, std::int64_t& stays) {
      const std::int64_t before = meter ? meter->now() : 0;
      if (meter) meter->take_peak();
      const double taken = seconds_of(f);
      if (meter) {
        most = std::max(most, meter->take_peak() - before);
        stays = std::max<std::int64_t>(0, meter->now() - before);
      }
      return taken;
    };
    std::int64_t none = 0;
    shapes_.clear();
    at::Tensor h = x_.detach();
    for (std::size_t b = 0; b < n; ++b) {
      plan::BlockCost& c = costs[b];
      const at::Tensor empty = at::empty({0}, h.options());
      if (b > 0) {
        h = entrance(h, &input_grads[b]);
        entrances[b] = h.grad_fn();
      }
      c.forward = timed(
          [&] {
            outputs[b] = forward(b, h);
            if (!meter) return;
            // Within a stage, what a block is given lives on only where a graph has saved it: the graph's end is enough
            // to come back to.
            h = at::Tensor();
            if (b > 0) outputs[b - 1].set_data(empty);
          },
          c.bytes.forward, c.bytes.live);
      shapes_.push_back(extents_of(outputs[b]));
      h = outputs[b].detach();
    }
    h = at::Tensor();
    at::Tensor grad = at::ones_like(outputs.back());
    for (std::size_t b = n; b-- > 0 && grad.defined();) {
      plan::BlockCost& c = costs[b];
      if (!outputs[b].requires_grad()) break;  // nothing to learn from here on
      if (split) {
        SplitBackward halves;
        std::vector<std::shared_ptr<torch::autograd::Node>> entered;
        if (entrances[b]) entered.push_back(entrances[b]);
        c.inputs = timed(
            [&] {
              const runtime::Tensors came = halves.inputs({outputs[b]}, {grad}, entered);
              if (!came.empty()) input_grads[b] = came[0];
            },
            c.bytes.backward, c.bytes.between);
        c.weights = timed([&] { halves.weights(); }, c.bytes.weights, none);
      } else {
        c.backward = timed([&] { outputs[b].backward(grad); }, c.bytes.backward, none);
      }
      outputs[b] = at::Tensor(), entrances[b].reset();
      grad = std::exchange(input_grads[b], at::Tensor());
      if (blocks_[b].module && !keep_gradients)
        for (const at::Tensor& p : blocks_[b].module->parameters()) p.mutable_grad() = at::Tensor();
    }
    return costs;
  }

  static std::int64_t fixed(const torch::nn::Module* m, int optimiser_states) {
    std::int64_t bytes = 0;
    if (!m) return bytes;
    for (const at::Tensor& p : m->parameters())
      bytes += static_cast<std::int64_t>(p.nbytes()) * (p.requires_grad() ? 2 + optimiser_states : 1);
    for (const at::Tensor& b : m->buffers())
      if (b.defined()) bytes += static_cast<std::int64_t>(b.nbytes());
    return bytes;
  }

  std::vector<runtime::StageModule> blocks_;
  std::vector<std::string> names_;
  std::vector<Extents> shapes_;
  at::Tensor x_;
  int count_ = 1;
};

inline void check_effort(const plan::Effort& e, std::size_t blocks, const at::Tensor& batch) {
  const auto expect = [](bool ok, const std::string& what) {
    if (!ok) throw Error("pcomp: " + what);
  };
  expect(blocks > 0, "there is no block to measure");
  expect(e.ranks >= 1 && static_cast<std::size_t>(e.ranks) <= blocks,
         std::to_string(blocks) + " blocks cannot be put on " + std::to_string(e.ranks) + " ranks");
  expect(batch.defined() && batch.dim() > 0 && batch.is_cpu(),
         "a batch to measure with is a tensor on the CPU");
  expect(!e.microbatches.empty() && !e.wires.empty(),
         "there is no number of micro-batches, or no wire, to measure");
  for (const int n : e.microbatches)
    expect(n >= 1 && n <= batch.size(0), "a batch of " + std::to_string(batch.size(0)) +
                                             " samples cannot be cut into " + std::to_string(n) +
                                             " micro-batches");
  for (const auto& [name, kernels] : e.wires) expect(kernels, "the wire " + name + " has no kernels");
  expect(e.times >= 1 && e.at_once >= 1 && e.threads >= 1, "times, at_once and threads are at least 1");
  expect(e.optimiser_states >= 0, "an optimiser keeps at least 0 tensors for a weight");
  expect(autocast().empty(),
         "autocast is on: blocks are measured without it, so leave it off and let them cast");
}

}  // namespace pcomp::detail

namespace pcomp::plan {

PCOMP_IMPL WireCost measure(const kernel::WireKernels& w, int times) {
  using namespace detail;
  const detail::RngStateGuard random;
  const at::Tensor x = at::randn({16, 32, 16, 16});
  at::Tensor y = at::randn({16, 32, 16, 16});
  const Extents shape = extents_of(x);
  std::vector<std::byte> payload(w.bytes(shape)), gradient(w.grad_bytes(shape));
  std::vector<double> all[4];
  for (int i = 0; i <= times; ++i) {
    const double t[] = {seconds_of([&] { w.encode(in(x), shape, payload, torch_threads); }),
                        seconds_of([&] { w.decode(payload, shape, out(y), torch_threads); }),
                        seconds_of([&] { w.encode_grad(in(x), shape, payload, gradient, torch_threads); }),
                        seconds_of([&] { w.decode_grad(gradient, shape, payload, out(y), torch_threads); })};
    for (std::size_t k = 0; k < 4 && i > 0; ++k) all[k].push_back(t[k] / static_cast<double>(shape.size()));
  }
  return {median_of(all[0]), median_of(all[1]), median_of(all[2]), median_of(all[3])};
}

PCOMP_IMPL WireChoice choice_of(const std::string& name, const kernel::WireKernels& wire) {
  return {name, [&wire](const Extents& shape) {
            return schedule::BoundaryBytes{static_cast<std::int64_t>(wire.bytes(shape)),
                                           static_cast<std::int64_t>(wire.grad_bytes(shape))};
          }};
}

PCOMP_IMPL Choices measure(const std::vector<runtime::StageSpec>& blocks, const at::Tensor& batch,
                           const Effort& effort) {
  detail::check_effort(effort, blocks.size(), batch);
  const detail::RngStateGuard random;
  std::vector<std::unique_ptr<detail::BlockChain>>
      chains;  // one after the other: one generator draws the weights
  std::set<const void*> weights;
  for (int t = 0; t < effort.at_once; ++t) {
    chains.push_back(std::make_unique<detail::BlockChain>(blocks));
    std::set<const void*> own;
    for (const auto& m : chains.back()->modules())
      if (m) own.insert(m.get());
    for (const void* m : own)
      if (!weights.insert(m).second)
        throw Error(
            "pcomp: blocks that are built twice share a module, so they cannot be measured at once: let "
            "`build` "
            "make a new one each time, or set at_once to 1");
  }
  Machine machine;
  machine.network = effort.network;
  machine.batch = static_cast<int>(batch.size(0));
  std::barrier together(effort.at_once);
  std::vector<std::exception_ptr> errors(chains.size());
  std::vector<std::thread> threads;
  const int threads_before = at::get_num_threads();
  for (std::size_t t = 0; t < chains.size(); ++t)
    threads.emplace_back([&, t] {
      try {
        at::set_num_threads(effort.threads);
        for (const int n : effort.microbatches) {
          const at::Tensor x = batch.narrow(0, 0, (batch.size(0) + n - 1) / n).detach().clone();
          if (t == 0) machine.blocks[n] = chains[0]->costs(x, n, effort);
          together.arrive_and_wait();
          if (chains.size() == 1) continue;
          const auto crowded = chains[t]->costs(x, n, effort);
          if (t == 0) machine.crowded[n] = crowded;
          together.arrive_and_wait();
        }
        for (const auto& [name, kernels] : effort.wires)
          if (t == 0) machine.wires[name] = measure(*kernels, effort.times);
      } catch (...) {
        errors[t] = std::current_exception();
        together.arrive_and_drop();
      }
    });
  for (std::thread& t : threads) t.join();
  at::set_num_threads(threads_before);
  for (const auto& e : errors)
    if (e) std::rethrow_exception(e);
  Choices choices;
  choices.machines.assign(static_cast<std::size_t>(effort.ranks), machine);
  for (const auto& [name, kernels] : effort.wires) choices.wires.push_back(choice_of(name, *kernels));
  choices.microbatches = effort.microbatches;
  choices.batch = machine.batch;
  choices.sample_bytes = static_cast<std::int64_t>(batch.nbytes()) / batch.size(0);
  choices.activation = [shapes = chains[0]->shapes()](int block, int samples) {
    return shapes.at(static_cast<std::size_t>(block)).with(0, samples);
  };
  return choices;
}

PCOMP_IMPL Choices measure(const torch::nn::Sequential& net, const at::Tensor& batch, const Effort& effort) {
  std::vector<int> each;
  for (int b = 1; b < static_cast<int>(net->size()); ++b) each.push_back(b);
  if (net->is_empty()) throw Error("pcomp: there is no block to measure");
  return measure(cut(net, each), batch, effort);
}

}  // namespace pcomp::plan

namespace pcomp {

PCOMP_IMPL std::vector<runtime::StageSpec> cut(const torch::nn::Sequential& net,
                                               const plan::Candidate& candidate) {
  if (candidate.first.empty() || candidate.first[0] != 0)
    throw Error("pcomp: a candidate's first stage begins at block 0");
  std::vector<runtime::StageSpec> stages =
      cut(net, std::vector<int>(candidate.first.begin() + 1, candidate.first.end()));
  for (std::size_t s = 0; s < stages.size(); ++s) stages[s].recompute = candidate.recomputes(s);
  return stages;
}

}  // namespace pcomp
