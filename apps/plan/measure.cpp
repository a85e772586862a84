#include "measure.hpp"

#include <ATen/ops/randn.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <pcomp/stage/measure.hpp>
#include <pcomp/transport/communicator.hpp>

#include "model/model.hpp"
#include "model/wires.hpp"

namespace planner {
namespace {

template <class F>
double seconds(F&& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

std::string name_of(double width) {
  char text[32];  // in full, so that it reads back unchanged
  *std::to_chars(text, text + sizeof text - 1, width).ptr = '\0';
  return text;
}

pcomp::plan::Machine measure(const Network& n, int at_once) {
  cifar::Cut each{"", "", {}, {}, {}};
  for (int b = 0; b < cifar::rows; ++b) each.first.push_back(b);
  pcomp::plan::Effort effort;
  effort.ranks = 1, effort.at_once = at_once, effort.times = n.times;
  effort.microbatches = n.microbatches;
  effort.optimiser_states = 1;  // SGD with momentum, as the main job
  effort.network = name_of(n.width);
  for (const std::string& name : n.wires) effort.wires.emplace_back(name, cifar::find_wire(name).ops);
  return pcomp::plan::measure(cifar::stages(n.width, each, 1), at::randn({n.batch, 3, 32, 32}), effort)
      .machines.front();
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
  std::sort(small.begin(), small.end());
  const double empty = small[small.size() / 2];
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
