// What a step needs in memory: measured, and predicted from one micro-batch of each stage.
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <pcomp/core.hpp>
#include <sstream>

#include "catch.hpp"
#include "net.hpp"

using namespace pcomp;
using torch::Tensor;

namespace {

constexpr std::int64_t features = 128, samples = 512;
/// Of one activation of a micro-batch, in a batch of 4 * samples.
constexpr std::int64_t activation = samples * features * 4;
constexpr std::int64_t weights = (features + 1) * features * 4;

/// Layers of which each keeps its output: tanh's gradient is made of it.
runtime::StageSpec deep(int layers) {
  return runtime::stage_spec([layers] {
    torch::nn::Sequential net;
    for (int i = 0; i < layers; ++i) {
      net->push_back(torch::nn::Linear(features, features));
      net->push_back(torch::nn::Tanh());
    }
    return net;
  });
}

Tensor loss_of(const Tensor& out, const Tensor& y) { return (out - y).square().mean(); }

runtime::Report after(Engine& pipe, std::int64_t batch, int steps = 2) {
  const Tensor x = torch::randn({batch, features}), y = torch::randn({batch, features});
  for (int i = 0; i < steps; ++i) pipe.step(x, y, loss_of);
  return pipe.report();
}

template <class W>
kernel::Wires wires(int stages, W w) {
  return std::vector<const kernel::WireKernels*>(static_cast<std::size_t>(stages - 1),
                                                 &kernel::wire_kernels(w));
}

}  // namespace

TEST_CASE("What a stage keeps of a micro-batch is measured") {
  at::set_num_threads(1);
  torch::manual_seed(1);
  const auto close = [](std::int64_t is, std::int64_t expected) {
    INFO(is << " bytes, expected " << expected);
    CHECK(std::abs(is - expected) <= expected / 50 + 4096);
  };
  for (const int microbatches : {1, 4}) {
    Engine pipe(net::one_thread_each(), {deep(6), deep(3)}, wires(2, Raw),
                make_schedule(GPipe{}, 2, microbatches));
    const runtime::Report r = after(pipe, microbatches * samples);
    const schedule::StageBytes first = r.stages[0].bytes, second = r.stages[1].bytes;
    // Up to two messages in each direction are on their way.
    const std::int64_t messages = 2 * std::min(2, microbatches) * activation;
    close(first.fixed, 2 * 6 * weights + messages);
    close(second.fixed, 2 * 3 * weights + messages);
    // Stage 0's input is a part of x; each layer has its product, which tanh frees, and its output.
    close(first.live, 6 * activation);
    close(first.forward, 7 * activation);
    // Stage 1 has its input too, and the last difference, squared and not.
    close(second.live, 5 * activation);
    REQUIRE(r.peak_bytes.size() == 2);
    close(r.peak_bytes[0], first.fixed + microbatches * first.live + first.backward);
  }
}

TEST_CASE("The predicted peak of memory is the measured one within a tenth, under every schedule") {
  at::set_num_threads(1);
  torch::manual_seed(2);
  const int stages = 4, microbatches = 8;
  for (const bool again : {false, true})
    for (const schedule::ScheduleTable& table :
         {make_schedule(GPipe{}, stages, microbatches), make_schedule(OneFOneB{}, stages, microbatches),
          make_schedule(ZeroBubble{}, stages, microbatches),
          make_schedule(Interleaved{}, stages, microbatches, round_robin(2))}) {
      Engine pipe(net::one_thread_each(), {deep(4), deep(8), deep(6), deep(2)}, wires(stages, Quant<8>),
                  table);
      if (again) pipe.recompute({0, 1, 2, 3});
      const runtime::Report r = after(pipe, microbatches * samples);
      REQUIRE(r.peak_bytes.size() == r.ranks.size());
      for (std::size_t k = 0; k < r.ranks.size(); ++k) {
        const double ratio = double(r.ranks[k].peak_bytes) / double(r.peak_bytes[k]);
        INFO(table.policy << ", rank " << k << (again ? ", recomputing: " : ": ") << r.ranks[k].peak_bytes
                          << " bytes measured, " << r.peak_bytes[k] << " predicted");
        CHECK(std::abs(ratio - 1) < 0.1);
      }
      std::ostringstream text;
      text << r;
      CHECK(text.str().find(std::to_string(r.ranks[1].peak_bytes)) != std::string::npos);
    }
}

TEST_CASE("A stage that computes again keeps the payload alone") {
  at::set_num_threads(1);
  torch::manual_seed(3);
  const auto live = [](auto wire, bool again) {
    Engine pipe(net::one_thread_each(), {deep(1), deep(8), deep(1)}, wires(3, wire),
                make_schedule(GPipe{}, 3, 4));
    if (again) pipe.recompute({1});
    const runtime::Report r = after(pipe, 4 * samples);
    return r.stages[1].bytes.live;
  };
  constexpr auto thin = TopK<Ratio<1, 10>> | Quant<8>;
  const std::int64_t graph = live(thin, false), payload = live(thin, true);
  INFO(graph << " bytes of graph, " << payload << " of payload");
  CHECK(payload < graph / 20);
  const auto bytes = static_cast<std::int64_t>(kernel::wire_kernels(thin).bytes({samples, features}));
  CHECK(payload >= bytes);
  CHECK(payload < 2 * bytes + 5120);  // index blocks for the gradients, and the generator's state
  // What was measured before a stage began to compute again holds no longer.
  Engine pipe(net::one_thread_each(), {deep(1), deep(8)}, wires(2, thin), make_schedule(GPipe{}, 2, 4));
  const runtime::Report before = after(pipe, 4 * samples);
  pipe.recompute({1});
  const runtime::Report now = after(pipe, 4 * samples);
  CHECK(now.stages[1].bytes.live < before.stages[1].bytes.live / 20);
  CHECK(now.ranks[1].peak_bytes < before.ranks[1].peak_bytes / 2);
}

TEST_CASE("The step that needed most is reported, whatever came first") {
  at::set_num_threads(1);
  torch::manual_seed(5);
  Engine pipe(net::one_thread_each(), {deep(4), deep(4)}, wires(2, Quant<8>),
              make_schedule(ZeroBubble{}, 2, 4));
  const runtime::Report first = after(pipe, 2 * samples), large = after(pipe, 8 * samples);
  Engine other(net::one_thread_each(), {deep(4), deep(4)}, wires(2, Quant<8>),
               make_schedule(ZeroBubble{}, 2, 4));
  const runtime::Report alone = after(other, 8 * samples);
  const Tensor short_x = torch::randn({64, 2, features}), short_y = torch::randn({64, 2, features});
  pipe.step(short_x, short_y, loss_of);  // another kind
  const runtime::Report last = pipe.report();
  for (const std::size_t r : {0, 1}) {
    INFO("rank " << r << ": " << first.ranks[r].peak_bytes << ", " << large.ranks[r].peak_bytes << ", alone "
                 << alone.ranks[r].peak_bytes);
    CHECK(large.ranks[r].peak_bytes > 3 * first.ranks[r].peak_bytes);
    CHECK(std::abs(double(large.ranks[r].peak_bytes) / double(alone.ranks[r].peak_bytes) - 1) < 0.02);
    CHECK(std::abs(double(large.peak_bytes[r]) / double(alone.peak_bytes[r]) - 1) < 0.02);
    CHECK(last.ranks[r].peak_bytes == large.ranks[r].peak_bytes);
    CHECK(last.peak_bytes[r] == large.peak_bytes[r]);
  }
}

TEST_CASE("Measuring says nothing, though a module frees what was there before the step") {
  struct Keeps : torch::nn::Module {
    Keeps() { linear = register_module("linear", torch::nn::Linear(features, features)); }
    Tensor forward(const Tensor& x) {
      last = torch::tanh(linear(x)).detach();
      return torch::tanh(linear(x));
    }
    torch::nn::Linear linear{nullptr};
    Tensor last;
  };
  at::set_num_threads(1);
  const auto stage = runtime::stage_spec([] { return std::make_shared<Keeps>(); });
  Engine pipe(net::one_thread_each(), {stage, stage}, wires(2, Raw), make_schedule(GPipe{}, 2, 2));
  const std::string path = "/tmp/pcomp-memory-" + std::to_string(getpid());
  std::fflush(stderr);
  const int before = dup(2), file = open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
  REQUIRE(dup2(file, 2) == 2);
  const runtime::Report r = after(pipe, 64);
  after(pipe, 128);
  std::fflush(stderr);
  REQUIRE(dup2(before, 2) == 2);
  close(before), close(file);
  std::stringstream said;
  said << std::ifstream(path).rdbuf();
  std::filesystem::remove(path);
  CHECK(said.str() == "");
  CHECK(r.ranks[0].peak_bytes > 0);
}

TEST_CASE("While the program's own profiler is on, memory is not measured, and the profiler sees it") {
  struct Own : c10::MemoryReportingInfoBase {
    void reportMemoryUsage(void*, std::int64_t size, std::size_t, std::size_t, c10::Device) override {
      if (size > 0) taken += size;
    }
    bool memoryProfilingEnabled() const override { return true; }
    std::atomic<std::int64_t> taken{0};
  };
  at::set_num_threads(1);
  torch::manual_seed(4);
  Engine pipe(net::one_thread_each(), {deep(2), deep(2)}, wires(2, Raw), make_schedule(GPipe{}, 2, 4));
  const auto own = std::make_shared<Own>();
  runtime::Report r;
  {
    const c10::DebugInfoGuard watches(c10::DebugInfoKind::PROFILER_STATE, own);
    r = after(pipe, 4 * samples);
  }
  CHECK(own->taken > 4 * activation);
  CHECK((r.ranks[0].peak_bytes == 0 && r.peak_bytes.empty()));
  std::ostringstream text;
  text << r;
  CHECK(text.str().find("most memory") == std::string::npos);
}
