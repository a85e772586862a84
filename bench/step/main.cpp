// One side of bench/step: MobileNetV2 in stages, as many steps as it is asked for on its standard input.
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <pcomp/pipeline/engine.hpp>
#include <pcomp/pipeline/loss.hpp>
#include <pcomp/schedule/gpipe.hpp>
#include <pcomp/schedule/one_f_one_b.hpp>

#include "../common/alternate.hpp"
#include "model.hpp"
#include "wires.hpp"

int main(int argc, char** argv) try {
  double width = 1;
  int after = 6, batch = 64, micros = 4, threads = 1;
  bool plain_malloc = false;
  std::string schedule = "1f1b", wire = "raw";
  CLI::App app("Reads a number of steps a line, runs them and prints the seconds of one.", "bench-step");
  app.add_option("--width", width);
  app.add_option("--after", after, "the block behind which the network is cut")->check(CLI::Range(0, 16));
  app.add_option("--batch", batch);
  app.add_option("--micro-batches", micros);
  app.add_option("--threads", threads, "of each rank");
  app.add_option("--schedule", schedule)->check(CLI::IsMember({"gpipe", "1f1b"}));
  app.add_option("--wire", wire);
  app.add_flag("--plain-malloc", plain_malloc, "leave glibc's thresholds alone");
  CLI11_PARSE(app, argc, argv);
  if (!plain_malloc) {
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
  }

  const cifar::Cut cut{"", "", {0, after + 2}, {0, 1}, {0}};
  pcomp::World world = pcomp::World::from_env();
  world.threads_per_rank = threads;
  auto table = schedule == "1f1b" ? make_schedule(pcomp::OneFOneB{}, 2, micros) : make_schedule(pcomp::GPipe{}, 2, micros);
  pcomp::Engine engine(world, cifar::stages(width, cut, 1), {cifar::find_wire(wire).ops}, std::move(table));
  const std::vector<at::Tensor> parameters = engine.parameters();
  const at::Tensor x = at::randn({batch, 3, 32, 32}), y = at::randint(10, {batch}, at::kLong);
  for (int steps = 0; std::cin >> steps;) {
    const double seconds = bench::seconds([&] {
      for (int i = 0; i < steps; ++i) {
        for (const at::Tensor& p : parameters) p.mutable_grad() = at::Tensor();
        engine.step(x, y, pcomp::cross_entropy);
      }
    });
    std::cout << seconds / steps << std::endl;
  }
} catch (const std::exception& e) {
  std::cerr << "bench-step: " << e.what() << "\n";
  return 1;
}
