#include "printed.hpp"

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "../model/wires.hpp"
#include "progress.hpp"

namespace cifar {
namespace {

std::string raw_at_first(int epochs) {
  return epochs == 0   ? ""
         : epochs == 1 ? ", raw in the first epoch"
                       : ", raw in the first " + std::to_string(epochs) + " epochs";
}

}  // namespace

void print_beginning(const Summary& run, const pcomp::schedule::ScheduleTable& schedule,
                     std::int64_t parameters, const std::string& folder, int done) {
  const Settings& s = run.settings;
  std::printf("data      %s: %d for training, %d for testing\n", run.data.c_str(), run.train_images,
              run.test_images);
  std::printf("network   MobileNetV2, width %g, %lld parameters, cut %s: %s\n", s.width,
              static_cast<long long>(parameters), s.cut.c_str(), std::string(run.cut.text).c_str());
  if (run.cut.stages() == 1)
    std::printf("wire      none: one stage has no boundary\n");
  else
    std::printf("wire      %s: %s%s\n", s.wire.c_str(), chains(find_wires(s.wire)).c_str(),
                raw_at_first(s.raw_epochs).c_str());
  std::printf("schedule  %s, %d micro-batch%s of %d images, %d rank%s, bubble %.0f %%\n",
              schedule.policy.c_str(), s.microbatches, s.microbatches == 1 ? "" : "es",
              (s.batch + s.microbatches - 1) / s.microbatches, schedule.ranks, schedule.ranks == 1 ? "" : "s",
              100 * schedule.bubble);
  std::printf("recipe    %s: %d epoch%s, batch %d, lr %g, weight decay %g, seed %llu\n", s.recipe.c_str(),
              s.epochs, s.epochs == 1 ? "" : "s", s.batch, s.lr, s.weight_decay,
              static_cast<unsigned long long>(s.seed));
  if (s.device != "cpu" || s.amp != "off")
    std::printf("computes  on %s%s\n", s.device == "cpu" ? "the CPU" : "the GPU",
                s.amp == "off" ? "" : ", convolutions and products in bfloat16");
  std::printf("results   %s", folder.c_str());
  if (done > 0) std::printf(", resumed after epoch %d", done);
  std::printf("\n");
  std::fflush(stdout);
}

void print_epoch(const Settings& s, const Metrics& m, double sent) {
  std::printf("epoch %.0f/%d  loss %.4f  test accuracy %.2f %%  %.0f images/s  %s  %s sent\n", m.epoch,
              s.epochs, m.loss, 100 * m.accuracy, m.images_per_second, time_text(m.seconds).c_str(),
              bytes_text(sent).c_str());
  std::fflush(stdout);
}

void print_result(const Summary& run) {
  std::printf("\ntest accuracy %.2f %% (best %.2f %%, epoch %d), wire %s, cut %s\n", 100 * run.accuracy,
              100 * run.best_accuracy, run.best_epoch, run.settings.wire.c_str(), run.settings.cut.c_str());
  std::fflush(stdout);
  if (run.traffic.boundaries.empty()) return;
  run.traffic.print_traffic(std::cout);
  std::cout.flush();
  const auto share = [&](const char* what, auto counts) {
    double bytes = 0, raw = 0;
    for (const pcomp::runtime::BoundaryReport& b : run.traffic.boundaries)
      if (counts(b.boundary)) {
        bytes += static_cast<double>(b.forward.bytes + b.gradient.bytes);
        raw += static_cast<double>(b.forward.raw + b.gradient.raw);
      }
    std::printf("%s: %s for each of %lld images trained, 1/%.1f of raw\n", what,
                bytes_text(bytes / static_cast<double>(run.images)).c_str(),
                static_cast<long long>(run.images), raw / bytes);
  };
  share("compressed boundaries", [&](int edge) {
    return std::find(run.cut.compressed.begin(), run.cut.compressed.end(), edge) != run.cut.compressed.end();
  });
  share("all boundaries", [](int) { return true; });
  if (run.settings.amp != "off")
    std::printf(
        "raw counts 4 bytes an element; --wire bfloat16 sends what the stages compute as it is, in 2\n");
  std::fflush(stdout);
}

}  // namespace cifar
