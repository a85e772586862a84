// The memory of a deep stage with and without recomputation: that of the process beside Report::peak_bytes. run.py starts
// two ranks as processes.
#include <malloc.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <pcomp/pcomp.hpp>
#include <pcomp/runtime/report.hpp>
#include <string>

namespace nn = torch::nn;
using namespace pcomp;

namespace {

constexpr std::int64_t features = 256, samples = 2048;
constexpr int layers = 24, microbatches = 8;

nn::Sequential deep(int n) {
  nn::Sequential net;
  for (int i = 0; i < n; ++i) net->push_back(nn::Linear(features, features)), net->push_back(nn::Tanh());
  return net;
}

/// Of this process, in bytes: a line of /proc/self/status.
std::int64_t status(const char* line) {
  std::ifstream file("/proc/self/status");
  for (std::string text; std::getline(file, text);)
    if (text.starts_with(line)) return 1024 * std::stoll(text.substr(std::strlen(line)));
  return 0;
}

/// Two stages, the second one deep, after a few steps of a batch.
class Trained {
 public:
  Trained(const World& world, const std::string& schedule, bool recompute, std::int64_t batch)
      : pipe_(world,
              {runtime::stage_spec([] { return deep(1); }), runtime::stage_spec([] { return deep(layers); })},
              {&kernel::wire_kernels(TopK<Ratio<1, 10>> | Quant<8>)},
              schedule == "gpipe" ? make_schedule(GPipe{}, 2, microbatches)
                                  : make_schedule(OneFOneB{}, 2, microbatches)) {
    if (recompute) pipe_.recompute({1});
    const auto x = torch::randn({batch, features}), y = torch::randn({batch, features});
    for (int step = 0; step < 3; ++step) {
      for (const auto& p : pipe_.parameters()) p.mutable_grad() = at::Tensor();
      pipe_.step(x, y, [](const auto& out, const auto& target) { return (out - target).square().mean(); });
    }
  }
  Engine& pipe() { return pipe_; }

 private:
  Engine pipe_;
};

int measure(const std::string& schedule, bool recompute) {
  World world = World::from_env();
  world.threads_per_rank = 1;
  torch::manual_seed(1);
  Trained(world, schedule, recompute, microbatches);  // the libraries' own memory
  const std::int64_t before = status("VmRSS:");
  Trained net(world, schedule, recompute, microbatches * samples);
  const std::int64_t batch = 2 * microbatches * samples * features * 4;
  const std::int64_t resident = status("VmHWM:") - before - batch;
  const runtime::Report all = runtime::total_report(net.pipe());
  if (world.rank() == 1)
    std::printf("%-8s %-8s %10.1f %12.1f %10.1f %16.2f\n", schedule.c_str(), recompute ? "payload" : "graph",
                double(resident) / 1e6, double(all.ranks[1].peak_bytes) / 1e6,
                double(all.peak_bytes.at(1)) / 1e6, double(all.stages[1].bytes.live) / 1e6);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  // Every large block has pages of its own: glibc before 2.38 cannot reuse the hole that an aligned block leaves, and takes
  // up to twice as much otherwise.
  if (!std::getenv("MALLOC_MMAP_THRESHOLD_")) mallopt(M_MMAP_THRESHOLD, 65536);
  if (argc != 3) return std::fprintf(stderr, "bench-memory gpipe|1f1b graph|payload, as two ranks\n"), 2;
  try {
    return measure(argv[1], std::strcmp(argv[2], "payload") == 0);
  } catch (const std::exception& e) {
    return std::fprintf(stderr, "bench-memory: %s\n", e.what()), 1;
  }
}
