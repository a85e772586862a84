// One problem under every policy: bubble, memory and the predicted step over a slow and a fast link, with and
// without compression; then the tables, drawn. With a folder as argument it also writes SVG and Chrome traces there.
#include <cstdio>
#include <fstream>
#include <pcomp/core.hpp>
#include <pcomp/plan/simulate.hpp>
#include <pcomp/viz/chrome_trace.hpp>
#include <pcomp/viz/svg.hpp>
#include <pcomp/viz/terminal.hpp>

using namespace pcomp;

namespace {

constexpr int ranks = 4, microbatches = 8;
using Act = Shape<8, 32, 32, 32>;  // of one micro-batch, 1 MiB of floats
constexpr auto thin = Downsample<2> | TopK<Ratio<1, 10>> | Quant<8>;

// Schedules are constants: what does not hold does not compile.
using Plan = Schedule<OneFOneB, ranks, microbatches>;
static_assert(Plan::deadlock_free && Plan::peak_live[0] == ranks &&
              Plan::ticks == 2 * (microbatches + ranks - 1));
static_assert(20 * Plan::bytes_per_step(0, thin, Act{}) < Plan::bytes_per_step(0, Raw, Act{}));

/// A network that takes 20 ms forward, 20 ms for gradients of activations and 20 ms for those of weights.
template <class W>
plan::Costs costs(const schedule::ScheduleTable& plan, W wire, plan::LinkModel link) {
  plan::Costs c;
  const double each = 0.020 * ranks / plan.stages;
  c.stages.assign(static_cast<std::size_t>(plan.stages), {each, each, each});
  c.bytes.assign(static_cast<std::size_t>(plan.stages - 1), codec::boundary_bytes(wire, Act{}));
  c.links.assign(static_cast<std::size_t>(plan.stages - 1), link);
  return c;
}

constexpr plan::LinkModel slow{100e6 / 8, 1e-3}, fast{10e9 / 8, 50e-6};

void line(const schedule::ScheduleTable& plan) {
  std::string live;
  for (int r = 0; r < plan.ranks; ++r)
    live += std::to_string(plan.peak_live[static_cast<std::size_t>(r)]) + (r + 1 < plan.ranks ? "," : "");
  std::printf("%-20s %6d %6d %7.1f%%  %-12s", plan.policy.c_str(), plan.stages, int{plan.ticks},
              100 * plan.bubble, live.c_str());
  for (const plan::LinkModel& link : {slow, fast})
    std::printf("  %7.0f %7.0f", 1e3 * simulate(plan, costs(plan, Raw, link)).seconds,
                1e3 * simulate(plan, costs(plan, thin, link)).seconds);
  std::printf("\n");
}

void critical_path(const char* what, const plan::Simulation& s) {
  double computing = 0;
  for (const plan::Segment& piece : s.critical)
    if (schedule::is_compute(piece.action.op)) computing += piece.end - piece.begin;
  std::printf(
      "%s: %.0f ms, of which the critical path computes %.0f and sends %.0f; rank 0 is busy %.0f %%\n", what,
      1e3 * s.seconds, 1e3 * computing, 1e3 * (s.seconds - computing), 100 * s.utilisation(0));
}

void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

}  // namespace

int main(int argc, char** argv) {
  const schedule::ScheduleTable plans[] = {
      make_schedule(GPipe{}, ranks, microbatches), Plan{},
      make_schedule(Interleaved{}, 2 * ranks, microbatches, round_robin(ranks)),
      make_schedule(ZeroBubble{}, ranks, microbatches)};
  std::printf("4 ranks, 8 micro-batches of 8x32x32x32; %s sends %lld bytes forward where Raw sends %lld\n\n",
              std::string(name(thin).view()).c_str(), static_cast<long long>(wire_bytes(thin, Act{})),
              static_cast<long long>(wire_bytes(Raw, Act{})));
  std::printf("%-20s %6s %6s %8s  %-12s  %15s  %15s\n", "", "", "", "", "alive on", "100 Mbit/s (ms)",
              "10 Gbit/s (ms)");
  std::printf("%-20s %6s %6s %8s  %-12s  %7s %7s  %7s %7s\n", "policy", "stages", "ticks", "bubble",
              "each rank", "raw", "thin", "raw", "thin");
  for (const schedule::ScheduleTable& plan : plans) line(plan);

  std::printf("\n");
  const plan::Simulation raw = plan::simulate(Plan{}, costs(Plan{}, Raw, slow));
  const plan::Simulation compressed = plan::simulate(Plan{}, costs(Plan{}, thin, slow));
  critical_path("1F1B over 100 Mbit/s, raw ", raw);
  critical_path("1F1B over 100 Mbit/s, thin", compressed);
  const schedule::ScheduleTable tuned =
      plans[1].freeze(2);  // fine-tunes the last two stages behind fixed ones
  critical_path("   ... with two stages frozen", plan::simulate(tuned, costs(tuned, thin, slow)));

  for (const schedule::ScheduleTable& plan : plans)
    std::printf("\n%s", plan.draw(viz::terminal_chart()).c_str());
  std::printf("\n%s", tuned.draw(viz::terminal_chart()).c_str());
  std::printf("\n%s", compressed.trace.draw(viz::terminal_chart()).c_str());

  if (argc > 1) {
    const std::string folder = argv[1];
    const char* const names[] = {"gpipe", "1f1b", "interleaved", "zero-bubble"};
    for (int i = 0; i < 4; ++i) {
      write(folder + "/" + names[i] + ".svg", plans[i].draw(viz::SvgChart{}));
      write(folder + "/" + names[i] + ".json", plans[i].draw(viz::ChromeTrace{}));
    }
    write(folder + "/1f1b-8x32.svg", make_schedule(OneFOneB{}, 8, 32).draw(viz::SvgChart{}));
    write(folder + "/slow-raw.svg", raw.trace.draw(viz::SvgChart{}));
    write(folder + "/slow-thin.svg", compressed.trace.draw(viz::SvgChart{.seconds = raw.seconds}));
    write(folder + "/slow-thin.json", compressed.trace.draw(viz::ChromeTrace{}));
  }
}
