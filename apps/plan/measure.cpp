#include "measure.hpp"

#include <ATen/ops/ones_like.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <barrier>
#include <charconv>
#include <chrono>
#include <pcomp/autograd/tensor.hpp>
#include <pcomp/runtime/boundary_ends.hpp>
#include <pcomp/stage/split_backward.hpp>
#include <pcomp/transport/communicator.hpp>
#include <thread>

#include "model/model.hpp"
#include "model/wires.hpp"

namespace planner {
namespace {

using namespace pcomp::plan;

using Clock = std::chrono::steady_clock;

template <class F>
double seconds(F&& f) {
  const auto start = Clock::now();
  f();
  return std::chrono::duration<double>(Clock::now() - start).count();
}
double median(std::vector<double> all) {
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}

/// The network as a chain of single blocks, each with its own graph.
class Chain {
 public:
  explicit Chain(double width) {
    cifar::Cut each{"", "", {}, {}, {}};
    for (int b = 0; b < cifar::rows; ++b) each.first.push_back(b);
    for (const pcomp::runtime::StageSpec& s : cifar::stages(width, each, 1)) blocks_.push_back(s.build());
  }

  /// Seconds of one pass: [block][forward, backward] or, with `split`, [forward, inputs, weights].
  std::vector<std::vector<double>> pass(const at::Tensor& x, bool split) {
    const std::size_t n = blocks_.size();
    std::vector<std::vector<double>> times(n);
    std::vector<at::Tensor> outputs(n), input_grads(n);
    std::vector<std::shared_ptr<torch::autograd::Node>> entrances(n);
    const at::Tensor anchor = at::zeros({}).requires_grad_();
    at::Tensor h = x;
    for (std::size_t b = 0; b < n; ++b) {
      if (b > 0) {
        const at::Tensor received = h;
        h = pcomp::detail::ReceivedActivation::apply(anchor, &received, &input_grads[b]);
        entrances[b] = h.grad_fn();
      }
      times[b].push_back(seconds([&] { outputs[b] = blocks_[b].forward(h); }));
      h = outputs[b].detach();
    }
    at::Tensor grad = at::ones_like(outputs.back());
    for (std::size_t b = n; b-- > 0;) {
      if (split) {
        pcomp::detail::SplitBackward halves;
        std::vector<std::shared_ptr<torch::autograd::Node>> entrance;
        if (entrances[b]) entrance.push_back(entrances[b]);
        times[b].push_back(seconds([&] {
          const std::vector<at::Tensor> came = halves.inputs({outputs[b]}, {grad}, entrance);
          if (!came.empty()) input_grads[b] = came[0];
        }));
        times[b].push_back(seconds([&] { halves.weights(); }));
      } else {
        times[b].push_back(seconds([&] { outputs[b].backward(grad); }));
      }
      outputs[b] = at::Tensor();
      grad = input_grads[b];
      for (at::Tensor& p : blocks_[b].module->parameters()) p.mutable_grad() = at::Tensor();
    }
    return times;
  }

 private:
  std::vector<pcomp::runtime::StageModule> blocks_;
};

std::vector<BlockCost> blocks(Chain& chain, const at::Tensor& x, int times) {
  std::vector<BlockCost> costs;
  std::vector<std::vector<double>> all[5];
  for (int i = 0; i <= times; ++i) {
    const auto whole = chain.pass(x, false), split = chain.pass(x, true);
    if (i == 0) continue;
    for (std::size_t b = 0; b < whole.size(); ++b) {
      const double values[] = {whole[b][0], whole[b][1], split[b][1], split[b][2]};
      for (std::size_t k = 0; k < 4; ++k) {
        all[k].resize(whole.size());
        all[k][b].push_back(values[k]);
      }
    }
  }
  for (std::size_t b = 0; b < all[0].size(); ++b)
    costs.push_back({median(all[0][b]), median(all[1][b]), median(all[2][b]), median(all[3][b])});
  return costs;
}

/// Seconds per element, on a medium-sized tensor.
WireCost wire(const pcomp::kernel::WireKernels& w, int times) {
  using namespace pcomp::detail;
  const at::Tensor x = at::randn({16, 32, 16, 16});
  at::Tensor y = at::randn({16, 32, 16, 16});
  const pcomp::Extents shape = extents_of(x);
  std::vector<std::byte> payload(w.bytes(shape)), gradient(w.grad_bytes(shape));
  std::vector<double> all[4];
  for (int i = 0; i <= times; ++i) {
    const double t[] = {seconds([&] { w.encode(in(x), shape, payload, torch_threads); }),
                        seconds([&] { w.decode(payload, shape, out(y), torch_threads); }),
                        seconds([&] { w.encode_grad(in(x), shape, payload, gradient, torch_threads); }),
                        seconds([&] { w.decode_grad(gradient, shape, payload, out(y), torch_threads); })};
    for (std::size_t k = 0; k < 4 && i > 0; ++k) all[k].push_back(t[k] / static_cast<double>(shape.size()));
  }
  return {median(all[0]), median(all[1]), median(all[2]), median(all[3])};
}

}  // namespace

std::string name_of(double width) {
  char text[32];  // in full, so that it reads back unchanged
  *std::to_chars(text, text + sizeof text - 1, width).ptr = '\0';
  return text;
}

Machine measure(const Effort& effort, int at_once) {
  std::vector<std::unique_ptr<Chain>> chains;  // one after the other: one generator draws the weights
  for (int t = 0; t < at_once; ++t) chains.push_back(std::make_unique<Chain>(effort.width));
  Machine first;
  first.network = name_of(effort.width), first.batch = effort.batch;
  std::barrier together(at_once);
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(at_once));
  std::vector<std::thread> threads;
  for (int t = 0; t < at_once; ++t)
    threads.emplace_back([&, t] {
      const auto own = static_cast<std::size_t>(t);
      try {
        at::set_num_threads(1);
        for (int microbatches : effort.microbatches) {
          const at::Tensor x = at::randn({(effort.batch + microbatches - 1) / microbatches, 3, 32, 32});
          if (t == 0) first.blocks[microbatches] = blocks(*chains[own], x, effort.times);
          together.arrive_and_wait();
          if (at_once == 1) continue;
          const auto crowded = blocks(*chains[own], x, effort.times);
          if (t == 0) first.crowded[microbatches] = crowded;
          together.arrive_and_wait();
        }
        if (t == 0)
          for (const std::string& name : effort.wires)
            first.wires[name] = wire(*cifar::find_wire(name).ops, effort.times);
      } catch (...) {
        errors[own] = std::current_exception();
        together.arrive_and_drop();
      }
    });
  for (std::thread& t : threads) t.join();
  for (const auto& e : errors)
    if (e) std::rethrow_exception(e);
  return first;
}

pcomp::plan::LinkModel measure_link(pcomp::transport::Communicator& links, int rank) {
  pcomp::transport::Transport& link = links.link(rank);
  const int peer = 1 - rank;
  std::vector<std::byte> out(1), in(1);
  /// One message there and one back.
  const auto round_trip = [&](std::size_t there) {
    return seconds([&] {
      for (const bool back : {false, true}) {
        const bool sends = (rank == 0) != back;
        auto& buffer = sends ? out : in;
        buffer.resize(back ? 1 : there);
        link.wait(sends ? link.send(peer, {0, 0, back}, buffer) : link.receive(peer, {0, 0, back}, buffer));
      }
    });
  };
  const auto at_first_rank = [&](const char* about, double own) {
    return pcomp::transport::gather<double>(links, about, [&] { return own; }).of(0);
  };
  std::vector<double> small;
  for (int i = 0; i < 11; ++i)
    if (const double t = round_trip(1); i > 0) small.push_back(t);
  const double empty = median(small);
  // Doubles the size until it takes a quarter of a second or reaches 64 MB: both ranks must stop at the same size.
  double taken = 0;
  std::size_t size = 1 << 14;
  for (;; size *= 2) {
    taken = round_trip(size);
    if (at_first_rank("time of a message", taken) > 0.25 || size >= std::size_t{64} << 20) break;
  }
  const double t0 = at_first_rank("time of the last message", taken);
  const double e0 = at_first_rank("time of an empty message", empty);
  return {static_cast<double>(size) / std::max(1e-9, t0 - e0), e0 / 2};
}

}  // namespace planner
