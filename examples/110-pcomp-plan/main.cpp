// Recommends where to cut MobileNetV2, which wire, schedule and number of micro-batches: docs/planning.md.
#include <ATen/Parallel.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <pcomp/core/keep_memory.hpp>
#include <pcomp/pipeline/engine.hpp>
#include <pcomp/pipeline/loss.hpp>
#include <sstream>

#include "measure.hpp"
#include "model.hpp"
#include "wires.hpp"

namespace {

struct Settings {
  plan::Effort effort;
  std::vector<std::string> schedules{"gpipe", "1f1b", "zero-bubble"};
  std::string rate, latency, save, from;
  double tolerance = 3;
  int top = 10, check = 0;
  bool alone = false, json = false;
};

/// "100mbit", "20ms": a number and one of the units.
double quantity(const std::string& text, const char* option,
                const std::vector<std::pair<std::string, double>>& units) {
  std::size_t end = 0;
  double value = -1;
  try {
    value = std::stod(text, &end);
  } catch (const std::exception&) {
  }
  std::string known;
  for (const auto& [name, factor] : units) {
    if (value >= 0 && text.substr(end) == name) return value * factor;
    known += (known.empty() ? "" : ", ") + name;
  }
  throw pcomp::Error(std::string(option) + " " + text + ": expected a number and one of " + known);
}

pcomp::Link link_of(const Settings& s) {
  pcomp::Link link;
  if (!s.rate.empty())
    link.bandwidth = quantity(s.rate, "--rate", {{"kbit", 1e3 / 8}, {"mbit", 1e6 / 8}, {"gbit", 1e9 / 8}});
  if (!s.latency.empty())
    link.latency = quantity(s.latency, "--latency", {{"us", 1e-6}, {"ms", 1e-3}, {"s", 1}});
  return link;
}

std::string cut_text(const std::vector<int>& first) {
  static const auto name = [](int row) {
    return row == 0    ? std::string("conv1")
           : row <= 17 ? std::to_string(row - 1)
           : row == 18 ? "conv2"
           : row == 19 ? "bn2"
                       : "linear";
  };
  std::string text;
  for (std::size_t s = 0; s < first.size(); ++s) {
    const int last = s + 1 < first.size() ? first[s + 1] - 1 : cifar::rows - 1;
    text += (s ? " | " : "") + name(first[s]) + (last > first[s] ? "-" + name(last) : "");
  }
  return text;
}

void print_json(const std::vector<plan::Candidate>& ranked, const plan::Candidate& best,
                const pcomp::Link& link, int top) {
  const auto one = [](const plan::Candidate& c) {
    std::string first;
    for (int f : c.first) first += (first.empty() ? "" : ", ") + std::to_string(f);
    char text[400];
    std::snprintf(text, sizeof text,
                  "{\"first_rows\": [%s], \"cut\": \"%s\", \"wire\": \"%s\", \"schedule\": \"%s\", "
                  "\"micro_batches\": %d, "
                  "\"seconds\": %.6g, \"bubble\": %.4f, \"bytes\": %lld, \"raw_bytes\": %lld}",
                  first.c_str(), cut_text(c.first).c_str(), c.wire.c_str(), c.schedule.c_str(),
                  c.micro_batches, c.seconds, c.bubble, static_cast<long long>(c.bytes),
                  static_cast<long long>(c.raw_bytes));
    return std::string(text);
  };
  if (std::isinf(link.bandwidth))
    std::printf("{\"link\": null,\n");
  else
    std::printf("{\"link\": {\"bytes_per_second\": %.6g, \"latency\": %.6g},\n", link.bandwidth,
                link.latency);
  std::printf(" \"recommended\": %s,\n \"candidates\": [", one(best).c_str());
  for (std::size_t i = 0; i < ranked.size() && i < static_cast<std::size_t>(top); ++i)
    std::printf("%s\n  %s", i ? "," : "", one(ranked[i]).c_str());
  std::printf("]}\n");
}

void print_line(const char* mark, const plan::Candidate& c) {
  std::printf(
      "%-4s%10.1f %7.1f%% %12.1f %8.1f%%  %-16s %-12s %5d  %s\n", mark, 1e3 * c.seconds, 100 * c.bubble,
      static_cast<double>(c.bytes) / 1e3,
      100 * static_cast<double>(c.bytes) / static_cast<double>(std::max<std::int64_t>(1, c.raw_bytes)),
      c.wire.c_str(), c.schedule.c_str(), c.micro_batches, cut_text(c.first).c_str());
}
constexpr const char* header =
    "     ms a step   bubble    kB a step   of raw  wire             schedule     micro  stages\n";

/// The median of a few steps of this candidate as it is.
double run(const pcomp::World& world, const Settings& s, const plan::Candidate& c) {
  cifar::Cut cut{"", "", c.first, {}, {}};
  pcomp::Engine engine(
      world, cifar::stages(s.effort.width, cut, 1),
      std::vector<const pcomp::BoundaryOps*>(c.first.size() - 1, cifar::find_wire(c.wire).ops),
      plan::table_of(c.schedule, static_cast<int>(c.first.size()), c.micro_batches));
  const at::Tensor x = at::randn({s.effort.batch, 3, 32, 32}),
                   y = at::randint(10, {s.effort.batch}, at::kLong);
  const auto parameters = engine.parameters();
  std::vector<double> all;
  for (int i = 0; i < s.effort.times + 2; ++i) {
    for (const at::Tensor& p : parameters) p.mutable_grad() = at::Tensor();
    const auto start = std::chrono::steady_clock::now();
    engine.step(x, y, pcomp::cross_entropy);
    if (i >= 2)
      all.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}

void check(const pcomp::World& world, const Settings& s, const plan::Choices& choices,
           const std::vector<plan::Candidate>& ranked, const plan::Candidate& best, bool prints) {
  std::vector<plan::Candidate> chosen{best};
  for (int i = 0; i + 1 < s.check; ++i)  // from the fastest to the slowest
    chosen.push_back(ranked[(ranked.size() - 1) * static_cast<std::size_t>(i) /
                            static_cast<std::size_t>(std::max(1, s.check - 2))]);
  if (prints)
    std::printf("\npredicted  measured  measured/predicted   (ms, over %s)\n",
                world.processes() ? "this link" : "threads: no link");
  for (const plan::Candidate& c : chosen) {
    plan::Choices here = choices;
    if (!world.processes()) here.link = {};
    const double predicted = plan::predict(here, c).seconds;
    const double measured = run(world, s, c);
    if (!prints) continue;
    std::printf("%9.1f %9.1f %11.3f           %s, %s, %d micro-batches, %s\n", 1e3 * predicted,
                1e3 * measured, measured / predicted, c.wire.c_str(), c.schedule.c_str(), c.micro_batches,
                cut_text(c.first).c_str());
    std::fflush(stdout);
  }
}

int plan_for(Settings s) {
  pcomp::World world = pcomp::World::from_env();
  pcomp::keep_memory(world.processes() ? 1 : s.effort.ranks);
  world.threads_per_rank = 1;
  const bool prints = world.rank() == 0;
  if (world.processes()) s.effort.ranks = world.size();
  const int ranks = s.effort.ranks;
  if (s.check > 0 && !s.from.empty())
    throw pcomp::Error(
        "--check runs candidates here, --from plans for machines that may be others: give one of them");

  plan::Choices choices;
  choices.link = link_of(s);
  choices.batch = s.effort.batch;
  choices.schedules = s.schedules;
  const auto units = cifar::mobilenetv2(s.effort.width);
  choices.activation = [units](int row, int samples) {
    const cifar::Unit& u = units[static_cast<std::size_t>(row)];
    return pcomp::Extents{samples, u.out, u.size, u.size};
  };
  if (!s.from.empty()) {
    std::ifstream file(s.from);
    if (!file) throw pcomp::Error("--from " + s.from + ": there is no such file");
    std::stringstream text;
    text << file.rdbuf();
    const plan::Machine machine = plan::read(text.str());
    choices.machines.assign(static_cast<std::size_t>(ranks), machine);
    s.effort.wires.clear(), s.effort.micro_batches.clear();
    for (const auto& [name, cost] : machine.wires) s.effort.wires.push_back(name);
    for (const auto* measured : {&machine.blocks, &machine.crowded})
      for (const auto& [micros, blocks] : *measured)
        if (blocks.size() != cifar::rows)
          throw pcomp::Error("--from " + s.from + ": " + std::to_string(blocks.size()) + " blocks with " +
                             std::to_string(micros) + " micro-batches, but the network has " +
                             std::to_string(cifar::rows) + " rows: measure them anew");
    for (const auto& [micros, blocks] : machine.blocks) s.effort.micro_batches.push_back(micros);
  } else {
    if (prints && !s.json) {
      std::printf("measuring %zu wires and %d rows of MobileNetV2, width %g, batch %d, one thread a rank\n",
                  s.effort.wires.size(), cifar::rows, s.effort.width, s.effort.batch);
      std::fflush(stdout);
    }
    std::unique_ptr<pcomp::Links> links;
    if (world.processes()) {
      std::vector<int> a_stage_each(static_cast<std::size_t>(ranks));
      std::iota(a_stage_each.begin(), a_stage_each.end(), 0);
      links = pcomp::connect(world, ranks, a_stage_each);
    }
    if (links && s.rate.empty() && ranks == 2) choices.link = plan::measure_link(*links, world.rank());
    plan::Machine own;
    if (!links) {
      own = plan::measure(s.effort, s.alone ? 1 : ranks);
    } else {  // each alone in its turn, then all at once
      for (int r = 0; r < ranks; ++r) {
        if (r == world.rank()) own = plan::measure(s.effort, 1);
        links->exchange("turn of rank " + std::to_string(r), "");
      }
      if (!s.alone) own.crowded = plan::measure(s.effort, 1).blocks;
    }
    if (links)
      for (const std::string& text : links->exchange("measured costs", plan::write(own)))
        choices.machines.push_back(plan::read(text));
    else
      choices.machines.assign(static_cast<std::size_t>(ranks), own);
    if (!s.save.empty() && prints) std::ofstream(s.save) << plan::write(own);
  }
  choices.micro_batches = s.effort.micro_batches;
  for (const std::string& name : s.effort.wires) {
    const pcomp::BoundaryOps* ops = cifar::find_wire(name).ops;
    choices.wires.push_back({name, [ops](const pcomp::Extents& shape) {
                               return pcomp::EdgeBytes{static_cast<std::int64_t>(ops->bytes(shape)),
                                                       static_cast<std::int64_t>(ops->grad_bytes(shape))};
                             }});
  }

  const std::vector<plan::Candidate> ranked = plan::rank(choices);
  const plan::Candidate& best = plan::recommend(ranked, s.tolerance / 100);
  if (prints && s.json) print_json(ranked, best, choices.link, s.top);
  if (prints && !s.json) {
    if (std::isinf(choices.link.bandwidth))
      std::printf("%d ranks over a link that costs nothing; give --rate and --latency for another\n", ranks);
    else
      std::printf("%d ranks over links of %.4g Mbit/s, %.3g ms\n", ranks, choices.link.bandwidth * 8e-6,
                  1e3 * choices.link.latency);
    std::printf("%zu candidates, fastest first, as simulated\n\n%s", ranked.size(), header);
    for (std::size_t i = 0; i < ranked.size() && i < static_cast<std::size_t>(s.top); ++i)
      print_line(std::to_string(i + 1).c_str(), ranked[i]);
    std::printf("\nrecommended: what compresses least of all within %g %% of the fastest\n", s.tolerance);
    print_line("->", best);
  }
  if (s.check > 0) check(world, s, choices, ranked, best, prints && !s.json);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings s;
  s.effort.micro_batches = {2, 4, 8, 16};
  s.effort.wires = {"raw", "half", "quant8", "quant4", "topk10-quant8", "thin"};
  CLI::App app("Measures MobileNetV2 block by block and recommends cut, wire, schedule and micro-batches.",
               "pcomp-plan");
  app.get_formatter()->column_width(30);
  app.add_option("--width", s.effort.width, "of the network")
      ->check(CLI::Range(0.05, 4.0))
      ->capture_default_str();
  app.add_option("--batch", s.effort.batch)->check(CLI::Range(1, 1 << 20))->capture_default_str();
  app.add_option("--ranks", s.effort.ranks, "stages, each on a rank; under a launcher its processes")
      ->check(CLI::Range(1, 8))
      ->capture_default_str();
  app.add_option("--rate", s.rate, "of each link, such as 100mbit [measured between two processes]");
  app.add_option("--latency", s.latency, "of each link, such as 20ms");
  app.add_option("--wires", s.effort.wires, "to choose from")->delimiter(',')->capture_default_str();
  app.add_option("--schedules", s.schedules, "to choose from")->delimiter(',')->capture_default_str();
  app.add_option("--micro-batches", s.effort.micro_batches, "to choose from")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--tolerance", s.tolerance, "percent of a step that a wire may cost if it compresses less")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  app.add_option("--times", s.effort.times, "runs of which the median is taken")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_flag("--alone", s.alone, "measure as if each rank had a machine of its own");
  app.add_option("--save", s.save, "write what was measured");
  app.add_option("--from", s.from, "plan with what was measured before");
  app.add_option("--check", s.check,
                 "run so many candidates, from fastest to slowest, beside their predictions")
      ->check(CLI::Range(0, 1000));
  app.add_option("--top", s.top, "lines of the table")->check(CLI::Range(1, 1 << 20))->capture_default_str();
  app.add_flag("--json", s.json, "the table as JSON");
  CLI11_PARSE(app, argc, argv);
  try {
    return plan_for(std::move(s));
  } catch (const std::exception& e) {
    std::fflush(stdout);
    std::fprintf(stderr, "pcomp-plan: %s\n", e.what());
    return 1;
  }
}
