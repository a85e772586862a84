// Recommends where to cut MobileNetV2, which wire, schedule and number of micro-batches: docs/planning.md.
#include <ATen/Parallel.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <c10/util/Exception.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <pcomp/nn/loss.hpp>
#include <pcomp/runtime/engine.hpp>
#include <pcomp/runtime/process_setup.hpp>
#include <pcomp/stage/measure.hpp>
#include <pcomp/transport/communicator.hpp>
#include <sstream>

#include "measure.hpp"
#include "model/model.hpp"
#include "model/wires.hpp"
#include "run/between.hpp"

namespace plan = pcomp::plan;

namespace {

using Json = nlohmann::ordered_json;

struct Settings {
  planner::Network network;
  std::vector<std::string> schedules{"gpipe", "1f1b", "zero-bubble"};
  std::string rate, latency, memory, recompute = "fit", save, from;
  double tolerance = 3;
  int top = 10, check = 0;
  bool alone = false, json = false;
  std::vector<std::string> given;  ///< the options of the command line

  bool gives(const char* option) const {
    return std::find(given.begin(), given.end(), option) != given.end();
  }
};

/// What `--check` found, in seconds per step.
struct Checked {
  plan::Candidate candidate;
  double predicted, measured;
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

plan::LinkModel link_of(const Settings& s) {
  plan::LinkModel link;
  if (!s.rate.empty())
    link.bandwidth = quantity(s.rate, "--rate", {{"kbit", 1e3 / 8}, {"mbit", 1e6 / 8}, {"gbit", 1e9 / 8}});
  if (!(link.bandwidth > 0)) throw pcomp::Error("--rate " + s.rate + ": expected more than nothing");
  if (!s.latency.empty())
    link.latency = quantity(s.latency, "--latency", {{"us", 1e-6}, {"ms", 1e-3}, {"s", 1}});
  return link;
}

/// Bytes of each rank; 0: no limit.
std::int64_t limit_of(const Settings& s) {
  if (s.memory.empty()) return 0;
  const double bytes = quantity(s.memory, "--memory", {{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}});
  if (!(bytes >= 1 && bytes <= 1e18))
    throw pcomp::Error("--memory " + s.memory + ": expected more than nothing and at most 1e9 gb");
  return static_cast<std::int64_t>(bytes);
}

bool costs_nothing(const plan::LinkModel& link) { return std::isinf(link.bandwidth) && link.latency == 0; }

std::string cut_text(const plan::Candidate& c) {
  const std::vector<int>& first = c.first;
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
    text += (s ? " | " : "") + name(first[s]) + (last > first[s] ? "-" + name(last) : "") +
            (c.recomputes(s) ? " again" : "");
  }
  return text;
}

Json json(const plan::Candidate& c) {
  return {{"first_rows", c.first},
          {"cut", cut_text(c)},
          {"wire", c.wire},
          {"schedule", c.schedule},
          {"micro_batches", c.microbatches},
          {"seconds", c.seconds},
          {"bubble", c.bubble},
          {"busy", c.busy},
          {"bytes", c.bytes},
          {"raw_bytes", c.raw_bytes},
          {"recompute", c.recompute},
          {"peak_bytes", c.fullest() > 0 ? Json(c.peak_bytes) : Json(nullptr)}};
}
Json json(const plan::Alone& a) {
  return {{"rank", a.machine},
          {"micro_batches", a.microbatches},
          {"recompute", a.recompute},
          {"seconds", a.seconds},
          {"peak_bytes", a.peak_bytes > 0 ? Json(a.peak_bytes) : Json(nullptr)},
          {"fits", a.fits}};
}
Json json(const plan::LinkModel& link) {
  if (costs_nothing(link)) return nullptr;
  const bool limited = std::isfinite(link.bandwidth);
  return {{"bytes_per_second", limited ? Json(link.bandwidth) : Json(nullptr)}, {"latency", link.latency}};
}

void print_json(const std::vector<plan::Candidate>& ranked, const plan::Candidate& best,
                const plan::Alone& alone, const plan::LinkModel& link, int top,
                const std::vector<Checked>& checks) {
  Json all{{"link", json(link)},
           {"alone", json(alone)},
           {"recommended", json(best)},
           {"speedup", alone.seconds / best.seconds},
           {"verdict", plan::verdict(best, alone)},
           {"candidates", Json::array()}};
  for (std::size_t i = 0; i < ranked.size() && i < static_cast<std::size_t>(top); ++i)
    all["candidates"].push_back(json(ranked[i]));
  for (const Checked& c : checks)
    all["checks"].push_back(
        {{"predicted", c.predicted}, {"measured", c.measured}, {"candidate", json(c.candidate)}});
  std::printf("%s\n", all.dump(1).c_str());
}

std::string megabytes(std::int64_t bytes) {
  char text[32] = "-";
  if (bytes > 0) std::snprintf(text, sizeof text, "%.1f", static_cast<double>(bytes) / 1e6);
  return text;
}
void print_line(const char* mark, const plan::Candidate& c) {
  std::printf(
      "%-4s%10.1f %7.1f%% %9s %12.1f %8.1f%%  %-16s %-12s %5d  %s\n", mark, 1e3 * c.seconds, 100 * c.bubble,
      megabytes(c.fullest()).c_str(), static_cast<double>(c.bytes) / 1e3,
      100 * static_cast<double>(c.bytes) / static_cast<double>(std::max<std::int64_t>(1, c.raw_bytes)),
      c.wire.c_str(), c.schedule.c_str(), c.microbatches, cut_text(c).c_str());
}
constexpr const char* header =
    "     ms a step   bubble        MB    kB a step   of raw  wire             schedule     micro  stages\n";

/// The median of a few measured steps of this candidate, in seconds.
double run(const pcomp::World& world, const Settings& s, const plan::Candidate& c) {
  cifar::Cut cut{"", "", c.first, {}, {}};
  std::vector<pcomp::runtime::StageSpec> stages = cifar::stages(s.network.width, cut, 1);
  for (std::size_t i = 0; i < stages.size(); ++i) stages[i].recompute = c.recomputes(i);
  pcomp::Engine engine(
      world, std::move(stages),
      std::vector<const pcomp::kernel::WireKernels*>(c.first.size() - 1, cifar::find_wire(c.wire).ops),
      plan::table_of(c.schedule, static_cast<int>(c.first.size()), c.microbatches));
  const at::Tensor x = at::randn({s.network.batch, 3, 32, 32}),
                   y = at::randint(10, {s.network.batch}, at::kLong);
  const auto parameters = engine.parameters();
  std::vector<double> all;
  for (int i = 0; i < s.network.times + 2; ++i) {
    for (const at::Tensor& p : parameters) p.mutable_grad() = at::Tensor();
    const auto start = std::chrono::steady_clock::now();
    engine.step(x, y, pcomp::cross_entropy);
    if (i >= 2)
      all.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}

std::vector<Checked> check(const pcomp::World& world, const Settings& s, const plan::Choices& choices,
                           const std::vector<plan::Candidate>& ranked, const plan::Candidate& best,
                           bool prints) {
  std::vector<plan::Candidate> chosen{best};
  for (int i = 0; i + 1 < s.check; ++i)  // from the fastest to the slowest
    chosen.push_back(ranked[(ranked.size() - 1) * static_cast<std::size_t>(i) /
                            static_cast<std::size_t>(std::max(1, s.check - 2))]);
  if (prints)
    std::printf("\npredicted  measured  measured/predicted   (ms, over %s)\n",
                world.processes() ? "this link" : "threads: no link");
  std::vector<Checked> all;
  for (const plan::Candidate& c : chosen) {
    plan::Choices here = choices;
    if (!world.processes()) here.link = {};
    const double predicted = plan::predict(here, c).seconds;
    const double measured = run(world, s, c);
    all.push_back({c, predicted, measured});
    if (!prints) continue;
    std::printf("%9.1f %9.1f %11.3f           %s, %s, %d micro-batches, %s\n", 1e3 * predicted,
                1e3 * measured, measured / predicted, c.wire.c_str(), c.schedule.c_str(), c.microbatches,
                cut_text(c).c_str());
    std::fflush(stdout);
  }
  return all;
}

/// Refuses what is known to be wrong before minutes of measuring.
void refuse_mistakes(const Settings& s, bool saves) {
  for (const std::string& name : s.network.wires) cifar::find_wire(name);
  for (const std::string& name : s.schedules) static_cast<void>(plan::table_of(name, 1, 1));
  if (!s.from.empty())
    for (const char* option : {"--check", "--save", "--times"})
      if (s.gives(option))
        throw pcomp::Error(std::string(option) +
                           " measures here, --from plans with what was measured before: give one of them");
  if (s.save.empty() || !saves) return;
  if (!std::ofstream(s.save, std::ios::app))
    throw pcomp::Error("--save " + s.save + ": it cannot be written: " + std::strerror(errno));
}

/// What was measured before, for the requested network and choices; those that no option gives are taken from the
/// file.
plan::Machine read_measured(Settings& s) {
  std::ifstream file(s.from);
  if (!file) throw pcomp::Error("--from " + s.from + ": there is no such file");
  std::stringstream text;
  text << file.rdbuf();
  plan::Machine machine = plan::read(text.str());
  if (machine.blocks.empty() || machine.wires.empty())
    throw pcomp::Error("--from " + s.from + ": it has no measured blocks or no wires");
  for (const auto* measured : {&machine.blocks, &machine.crowded})
    for (const auto& [microbatches, blocks] : *measured)
      if (blocks.size() != cifar::rows)
        throw pcomp::Error("--from " + s.from + ": " + std::to_string(blocks.size()) + " blocks with " +
                           std::to_string(microbatches) + " micro-batches, but the network has " +
                           std::to_string(cifar::rows) + " rows: measure them anew");
  /// `asked` must be among these, or becomes all of them.
  const auto choose = [&](const char* option, auto& asked, const auto& measured) {
    std::ostringstream known;
    std::remove_cvref_t<decltype(asked)> all;
    for (const auto& [key, value] : measured) {
      known << (all.empty() ? "" : ", ") << key;
      all.push_back(key);
    }
    if (!s.gives(option)) asked = all;
    for (const auto& one : asked)
      if (!measured.contains(one)) {
        std::ostringstream why;
        why << "--from " << s.from << ": it has no measurements of " << option << ' ' << one << ", but of "
            << known.str();
        throw pcomp::Error(why.str());
      }
  };
  choose("--wires", s.network.wires, machine.wires);
  choose("--micro-batches", s.network.microbatches, machine.blocks);
  const auto take = [&](const char* option, auto& asked, auto measured) {
    if (measured == 0) return;
    if (s.gives(option) && asked != measured) {
      std::ostringstream why;
      why << "--from " << s.from << ": it was measured with " << option << ' ' << measured << ", not "
          << asked;
      throw pcomp::Error(why.str());
    }
    asked = measured;
  };
  double width = 0;
  if (!machine.network.empty()) {
    std::istringstream(machine.network) >> width;
    if (planner::name_of(width) != machine.network || !(width > 0))
      throw pcomp::Error("--from " + s.from + ": it was measured with the network '" + machine.network +
                         "', which is no width of MobileNetV2");
  }
  take("--width", s.network.width, width);
  take("--batch", s.network.batch, machine.batch);
  if (s.alone) machine.crowded.clear();
  return machine;
}

/// The engine cuts a batch into at most as many micro-batches as it has images.
void fit_microbatches(Settings& s) {
  std::vector<int>& all = s.network.microbatches;
  const auto too_many = [&](int microbatches) { return microbatches > s.network.batch; };
  if (!s.gives("--micro-batches")) {
    std::erase_if(all, too_many);
    if (all.empty()) all.push_back(1);
  }
  for (const int microbatches : all)
    if (too_many(microbatches))
      throw pcomp::Error("--batch " + std::to_string(s.network.batch) +
                         " cannot be cut into --micro-batches " + std::to_string(microbatches));
}

int plan_for(Settings s) {
  pcomp::World world = pcomp::World::from_env();
  pcomp::runtime::keep_memory(world.processes() ? 1 : s.network.ranks);
  world.threads_per_rank = 1;
  const bool prints = world.rank() == 0;
  if (world.processes()) s.network.ranks = world.size();
  const int ranks = s.network.ranks;
  plan::Choices choices;
  choices.link = link_of(s);
  choices.memory_limit = limit_of(s);
  choices.recompute = s.recompute == "never"    ? plan::Recomputation::never
                      : s.recompute == "always" ? plan::Recomputation::always
                                                : plan::Recomputation::to_fit;
  choices.sample_bytes = 3 * 32 * 32 * 4;
  refuse_mistakes(s, prints);
  if (!s.from.empty()) choices.machines.assign(static_cast<std::size_t>(ranks), read_measured(s));
  fit_microbatches(s);
  choices.batch = s.network.batch;
  choices.schedules = s.schedules;
  const auto units = cifar::mobilenetv2(s.network.width);
  choices.activation = [units](int row, int samples) {
    const cifar::Unit& u = units[static_cast<std::size_t>(row)];
    return pcomp::Extents{samples, u.out, u.size, u.size};
  };
  if (s.from.empty()) {
    if (prints && !s.json) {
      std::printf("measuring %zu wires and %d rows of MobileNetV2, width %g, batch %d, one thread a rank\n",
                  s.network.wires.size(), cifar::rows, s.network.width, s.network.batch);
      std::fflush(stdout);
    }
    std::unique_ptr<pcomp::transport::Communicator> links;
    if (world.processes()) {
      std::vector<int> a_stage_each(static_cast<std::size_t>(ranks));
      std::iota(a_stage_each.begin(), a_stage_each.end(), 0);
      links = pcomp::transport::connect(world, ranks, a_stage_each);
    }
    if (links && s.rate.empty() && ranks == 2) {
      const plan::LinkModel measured = planner::measure_link(*links, world.rank());
      choices.link.bandwidth = measured.bandwidth;
      if (s.latency.empty()) choices.link.latency = measured.latency;
    }
    plan::Machine own;
    if (!links) {
      own = planner::measure(s.network, s.alone ? 1 : ranks);
    } else {  // each rank alone in turn, then all at once
      for (int r = 0; r < ranks; ++r) {
        if (r == world.rank()) own = planner::measure(s.network, 1);
        links->exchange("turn of rank " + std::to_string(r), "");
      }
      if (!s.alone) own.crowded = planner::measure(s.network, 1).blocks;
    }
    if (links)
      for (const std::string& text : pcomp::transport::gather<std::string>(*links, "measured costs", [&] {
                                       return plan::write(own);
                                     }).values())
        choices.machines.push_back(plan::read(text));
    else
      choices.machines.assign(static_cast<std::size_t>(ranks), own);
    if (!s.save.empty() && prints && !(std::ofstream(s.save) << plan::write(own) << std::flush))
      throw pcomp::Error("--save " + s.save + ": it cannot be written: " + std::strerror(errno));
  }
  choices.microbatches = s.network.microbatches;
  for (const std::string& name : s.network.wires)
    choices.wires.push_back(plan::choice_of(name, *cifar::find_wire(name).ops));

  const std::vector<plan::Candidate> ranked = plan::rank(choices);
  const plan::Candidate& best = plan::recommend(ranked, s.tolerance / 100);
  const plan::Alone alone = plan::alone(choices);
  if (prints && !s.json) {
    if (!s.from.empty())
      std::printf("MobileNetV2 of width %g, batch %d, as measured before\n", s.network.width,
                  s.network.batch);
    if (costs_nothing(choices.link))
      std::printf("%d ranks over a link that costs nothing; give --rate and --latency for another\n", ranks);
    else if (std::isinf(choices.link.bandwidth))
      std::printf("%d ranks over links of unlimited rate, %.3g ms\n", ranks, 1e3 * choices.link.latency);
    else
      std::printf("%d ranks over links of %.4g Mbit/s, %.3g ms\n", ranks, choices.link.bandwidth * 8e-6,
                  1e3 * choices.link.latency);
    if (choices.memory_limit > 0)
      std::printf("at most %s MB a rank\n", megabytes(choices.memory_limit).c_str());
    std::printf("one machine alone: %.1f ms a step of %d micro-batches%s", 1e3 * alone.seconds,
                alone.microbatches, alone.recompute ? ", recomputed" : "");
    if (alone.peak_bytes > 0) std::printf(", %s MB", megabytes(alone.peak_bytes).c_str());
    std::printf("%s\n", alone.fits ? "" : ", which do not fit");
    std::printf("%zu candidates, fastest first, as simulated\n\n%s", ranked.size(), header);
    for (std::size_t i = 0; i < ranked.size() && i < static_cast<std::size_t>(s.top); ++i)
      print_line(std::to_string(i + 1).c_str(), ranked[i]);
    std::printf("\nrecommended: what compresses least of all within %g %% of the fastest\n", s.tolerance);
    print_line("->", best);
    std::printf("%s\n", plan::verdict(best, alone).c_str());
  }
  std::vector<Checked> checks;
  if (s.check > 0) checks = check(world, s, choices, ranked, best, prints && !s.json);
  if (prints && s.json) print_json(ranked, best, alone, choices.link, s.top, checks);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings s;
  s.network.microbatches = {2, 4, 8, 16};
  s.network.wires = {"raw", "half", "quant8", "quant4", "topk10-quant8", "thin"};
  CLI::App app("Measures MobileNetV2 block by block and recommends cut, wire, schedule and micro-batches.",
               "pcomp-plan");
  app.get_formatter()->column_width(30);
  app.add_option("--width", s.network.width, "width of the network")
      ->check(cifar::between(0.05, 4.0))
      ->capture_default_str();
  app.add_option("--batch", s.network.batch, "images per step")
      ->check(cifar::between(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--ranks", s.network.ranks, "stages, one per rank [the launcher's processes]")
      ->check(cifar::between(1, 8))
      ->capture_default_str();
  app.add_option("--rate", s.rate, "rate of each link, such as 100mbit [measured between two processes]");
  app.add_option("--latency", s.latency, "latency of each link, such as 20ms");
  app.add_option("--memory", s.memory, "most memory of each rank, such as 500mb or 2gb");
  app.add_option("--recompute", s.recompute,
                 "stages that keep no activations: never, fit (where needed), always")
      ->check(CLI::IsMember({"never", "fit", "always"}))
      ->capture_default_str();
  app.add_option("--wires", s.network.wires, "wires to choose from")->delimiter(',')->capture_default_str();
  app.add_option("--schedules", s.schedules, "schedules to choose from")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--micro-batches", s.network.microbatches, "numbers of micro-batches to choose from")
      ->delimiter(',')
      ->check(cifar::between(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--tolerance", s.tolerance, "percent of a step that a wire which compresses less may cost")
      ->check(cifar::between(0.0, 100.0))
      ->capture_default_str();
  app.add_option("--times", s.network.times, "runs, of which the median counts")
      ->check(cifar::between(1, 1000))
      ->capture_default_str();
  app.add_flag("--alone", s.alone, "measure as if each rank had a machine of its own");
  app.add_option("--save", s.save, "write the measurements")->type_name("FILE");
  app.add_option("--from", s.from, "plan with saved measurements, for their width and batch")
      ->type_name("FILE");
  app.add_option("--check", s.check, "run N candidates and show them beside their predictions")
      ->check(cifar::between(0, 1000));
  app.add_option("--top", s.top, "candidates to list")
      ->check(cifar::between(1, 1 << 20))
      ->capture_default_str();
  app.add_flag("--json", s.json, "print JSON");
  CLI11_PARSE(app, argc, argv);
  for (const CLI::Option* option : app.get_options())
    if (option->count()) s.given.push_back("--" + option->get_lnames().front());
  try {
    return plan_for(std::move(s));
  } catch (const c10::Error& e) {
    std::fflush(stdout);
    std::fprintf(stderr, "pcomp-plan: %s\n", e.what_without_backtrace());
  } catch (const std::exception& e) {
    std::fflush(stdout);
    std::fprintf(stderr, "pcomp-plan: %s\n", e.what());
  }
  return 1;
}
