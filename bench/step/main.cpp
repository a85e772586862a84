// One side of bench/step: MobileNetV2 in stages, for as many steps as its standard input asks for.
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <pcomp/nn/loss.hpp>
#include <pcomp/runtime/engine.hpp>
#include <pcomp/runtime/process_setup.hpp>
#include <pcomp/runtime/report.hpp>
#include <pcomp/schedule/policies/gpipe.hpp>
#include <pcomp/schedule/policies/one_f_one_b.hpp>
#include <pcomp/viz/chrome_trace.hpp>

#include "../common/alternate.hpp"
#include "model/model.hpp"
#include "model/wires.hpp"

int main(int argc, char** argv) try {
  double width = 1;
  int after = 6, batch = 64, microbatches = 4, threads = 1;
  bool plain_malloc = false;
  std::string schedule = "1f1b", wire = "raw", trace;
  CLI::App app(
      "Reads a number of steps, or `mark`, or `predict BANDWIDTH LATENCY` a line; answers with seconds.",
      "bench-step");
  app.add_option("--width", width);
  app.add_option("--after", after, "the block behind which the network is cut")->check(CLI::Range(0, 16));
  app.add_option("--batch", batch);
  app.add_option("--micro-batches", microbatches);
  app.add_option("--threads", threads, "of each rank");
  app.add_option("--schedule", schedule)->check(CLI::IsMember({"gpipe", "1f1b"}));
  app.add_option("--wire", wire);
  app.add_flag("--plain-malloc", plain_malloc, "leave glibc's thresholds alone");
  app.add_option("--trace", trace, "the last step, for https://ui.perfetto.dev");
  CLI11_PARSE(app, argc, argv);

  const cifar::Cut cut{"", "", {0, after + 2}, {0, 1}, {0}};
  pcomp::World world = pcomp::World::from_env();
  world.threads_per_rank = threads;
  if (!plain_malloc) pcomp::runtime::keep_memory(world.processes() ? 1 : 2);
  auto table = schedule == "1f1b" ? make_schedule(pcomp::OneFOneB{}, 2, microbatches)
                                  : make_schedule(pcomp::GPipe{}, 2, microbatches);
  pcomp::Engine engine(world, cifar::stages(width, cut, 1), {cifar::find_wire(wire).ops}, std::move(table));
  engine.record(!trace.empty());
  const std::vector<at::Tensor> parameters = engine.parameters();
  const at::Tensor x = at::randn({batch, 3, 32, 32}), y = at::randint(10, {batch}, at::kLong);
  pcomp::runtime::Report before;
  const auto since = [&] {
    pcomp::runtime::Report now = pcomp::runtime::total_report(engine);
    now.steps -= before.steps;
    for (std::size_t i = 0; i < before.ranks.size(); ++i) now.ranks[i].steps -= before.ranks[i].steps;
    for (std::size_t i = 0; i < before.stages.size(); ++i) {
      now.stages[i].microbatches -= before.stages[i].microbatches;
      now.stages[i].sum.forward -= before.stages[i].sum.forward;
      now.stages[i].sum.backward -= before.stages[i].sum.backward;
    }
    return now;
  };
  for (std::string word; std::cin >> word;) {
    if (word == "mark") {
      before = pcomp::runtime::total_report(engine);
      std::cout << "0" << std::endl;
    } else if (word == "predict") {  // a step over another link, with the stages' times since the mark
      double bandwidth = 0, latency = 0;
      std::cin >> bandwidth >> latency;
      pcomp::runtime::Report now = since();
      now.predict(engine.schedule(), {pcomp::plan::LinkModel{bandwidth, latency}});
      std::cout << now.step.seconds << std::endl;
    } else {
      const int steps = std::stoi(word);
      const double seconds = bench::seconds([&] {
        for (int i = 0; i < steps; ++i) {
          for (const at::Tensor& p : parameters) p.mutable_grad() = at::Tensor();
          engine.step(x, y, pcomp::cross_entropy);
        }
      });
      std::cout << seconds / steps << std::endl;
    }
  }
  if (!trace.empty()) std::ofstream(trace) << pcomp::viz::ChromeTrace()(engine.trace());
} catch (const std::exception& e) {
  std::cerr << "bench-step: " << e.what() << "\n";
  return 1;
}
