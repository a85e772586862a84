#include "options.hpp"

#include <CLI/CLI.hpp>
#include <charconv>
#include <limits>
#include <optional>
#include <pcomp/base/error.hpp>

#include "../model/network.hpp"
#include "../model/similar.hpp"
#include "../model/wires.hpp"
#include "between.hpp"

namespace cifar {
namespace {

std::string text(double v) {
  char buffer[32];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, v).ptr};
}

/// Accepts the names that `find` knows; for others, CLI11's error gives the reason.
template <class F>
CLI::Validator known(F find) {
  return CLI::Validator(
      [find](std::string& name) {
        try {
          find(name);
          return std::string();
        } catch (const pcomp::Error& e) {
          return std::string(e.what());
        }
      },
      "");
}

const int most = 1 << 30;

/// Binds every option to a field of `s`; an option left out keeps its field.
void bind(CLI::App& app, Settings& s) {
  const auto option = [&](const char* name, auto& field, const char* help, const char* type,
                          const CLI::Validator& check, bool shown) {
    CLI::Option* o = app.add_option(name, field, help)->check(check)->type_name(type);
    if (shown) o->capture_default_str();
    return o;
  };
  const auto any = CLI::Validator([](std::string&) { return std::string(); }, "");

  std::string group = "What crosses the boundaries";
  option("--wire", s.wire,
         "wire of the compressed boundaries (--list-wires shows all), or one for each: NAME+NAME", "NAME",
         known([](const std::string& n) { find_wires(n); }), true)
      ->group(group);
  option("--cut", s.cut,
         "edge, cloud, edge-cloud, cloud-edge, head, narrow: five stages; board, two: two stages; "
         "whole: one",
         "NAME", known([](const std::string& n) { find_cut(n); }), true)
      ->group(group);
  option("--raw-epochs", s.raw_epochs, "send everything raw for the first N epochs", "N", between(0, most),
         true)
      ->group(group);
  app.add_flag("--list-wires", s.list_wires,
               "show every wire with its bits per element at this cut, and exit")
      ->group(group);

  group = "Training (the recipe sets the others)";
  option("--recipe", s.recipe, "smoke: seconds; quick: minutes on two cores; seed: the published study's",
         "NAME", CLI::IsMember({"smoke", "quick", "seed"}).description(""), true)
      ->group(group);
  option("--epochs", s.epochs, "passes over the images", "N", between(1, most), false)->group(group);
  option("--width", s.width, "multiplies the number of channels", "X", between(0.05, 4.0), false)
      ->group(group);
  option("--batch", s.batch, "images per step", "N", between(1, most), false)->group(group);
  option("--micro-batches", s.microbatches, "parts that the pipeline splits a batch into", "N",
         between(1, most), false)
      ->group(group);
  option("--lr", s.lr, "learning rate after the warm-up; from there a cosine to 0", "X", between(1e-9, 1e3),
         false)
      ->group(group);
  option("--warmup", s.warmup, "epochs of linear warm-up, at most a fifth of all", "N", between(0, most),
         false)
      ->group(group);
  option("--momentum", s.momentum, "momentum of SGD", "X", between(0.0, 0.9999), false)->group(group);
  option("--weight-decay", s.weight_decay, "weight decay of SGD", "X", between(0.0, 1.0), false)
      ->group(group);
  option("--schedule", s.schedule, "gpipe, 1f1b or zero-bubble", "NAME",
         CLI::IsMember({"gpipe", "1f1b", "zero-bubble"}).description(""), true)
      ->group(group);
  app.add_flag("--deferred-batch-norm", s.deferred_batch_norm,
               "running statistics of whole batches, not of micro-batches")
      ->group(group);
  option("--amp", s.amp, "bf16: convolutions and matrix products in bfloat16, as in torch.autocast; off",
         "NAME", CLI::IsMember({"off", "bf16"}).description(""), true)
      ->group(group);
  option("--seed", s.seed, "of weights, order of images and augmentation", "N",
         between(std::uint64_t{0}, std::numeric_limits<std::uint64_t>::max()), true)
      ->group(group);
  option("--images", s.images, "train on the first N images; 0: all", "N", between(0, most), true)
      ->group(group);
  option("--test-images", s.test_images, "test on the first N images; 0: all", "N", between(0, most), true)
      ->group(group);

  group = "Where it computes";
  option("--device", s.device, "cpu, or cuda: all stages and the data on the first GPU, or a rank's own",
         "NAME", CLI::IsMember({"cpu", "cuda"}).description(""), true)
      ->group(group);
  option("--link", s.link, "between ranks that are processes: gloo, or nccl between GPUs", "NAME",
         CLI::IsMember({"gloo", "nccl"}).description(""), true)
      ->group(group);
  option("--threads", s.threads, "compute threads per rank; 0: cores divided by ranks", "N", between(0, 4096),
         true)
      ->group(group);

  group = "Data and results";
  option("--data", s.data, "CIFAR-10's binary files [$PCOMP_CIFAR10, else data/, else drawings]", "DIR", any,
         false)
      ->group(group);
  option("--out", s.out, "folder of the run [a new one in runs/; with --resume the latest]", "DIR", any,
         false)
      ->group(group);
  app.add_flag("--resume", s.resume, "continue after the last complete epoch, with the run's own settings")
      ->group(group);
  option("--trace", s.trace, "write the last step, operation by operation, for https://ui.perfetto.dev",
         "FILE", any, false)
      ->group(group);
  option("--timeout", s.timeout, "seconds that a rank waits for a peer", "N", between(1, most), true)
      ->group(group);
}

std::string recipe_line(const char* name) {
  const Settings r = recipe(name);
  const std::string images =
      r.images > 0 ? std::to_string(r.images) + ", " + std::to_string(r.test_images) : "all";
  char line[160];
  std::snprintf(line, sizeof line, "%-6s %7g %7d %6d %14d %4g %7d %9g %13g  %s\n", name, r.width, r.epochs,
                r.batch, r.microbatches, r.lr, r.warmup, r.momentum, r.weight_decay, images.c_str());
  return line;
}

std::unique_ptr<CLI::App> make_app(Settings& s) {
  auto app = std::make_unique<CLI::App>("Trains MobileNetV2 on CIFAR-10 through compressed boundaries.",
                                        "mobilenetv2-cifar10");
  app->footer("recipe   width  epochs  batch  micro-batches   lr  warmup  momentum  weight-decay  images\n" +
              recipe_line("smoke") + recipe_line("quick") + recipe_line("seed"));
  app->get_formatter()->column_width(28);
  app->set_help_flag("-h,--help", "show this text and exit")->group("Data and results");
  bind(*app, s);
  return app;
}

/// Parses the same words twice: first for the recipe, then to override what it sets.
Settings read(const std::vector<std::string>& words, CLI::App** failed, std::unique_ptr<CLI::App>& app) {
  const std::vector<std::string> backwards(words.rbegin(), words.rend());
  Settings first;
  app = make_app(first);
  *failed = app.get();
  auto again = backwards;
  app->parse(again);
  Settings s = recipe(first.recipe);
  app = make_app(s);
  *failed = app.get();
  again = backwards;
  app->parse(again);
  if (find_cut(s.cut).stages() == 1 && app->count("--wire") == 0) s.wire = "raw";
  for (const CLI::Option* option : app->get_options())
    if (option->count()) s.given.push_back(option->get_lnames().front());
  return s;
}

/// The error for words that belong to no option: CLI11's own lists them backwards and suggests nothing.
std::string unknown(const CLI::App& app) {
  std::string word = app.remaining().front();
  if (!word.starts_with("-"))
    return "'" + word + "' belongs to no option: an option begins with --, see --help";
  word = word.substr(0, word.find('='));
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) names.push_back("--" + option->get_lnames().front());
  const std::string meant = most_similar(word, names);
  return "there is no option '" + word + "'" +
         (2 * edits(meant, word) <= word.size() ? ": did you mean '" + meant + "'? --help shows all"
                                                : "; --help shows all");
}

}  // namespace

Settings recipe(const std::string& name) {
  Settings s;
  s.recipe = name;
  if (name == "smoke") {
    s.width = 0.05, s.batch = 32, s.epochs = 2;
    s.images = 128, s.test_images = 64;
  } else if (name == "seed") {
    s.width = 1, s.lr = 0.4, s.batch = 1024, s.microbatches = 4, s.weight_decay = 1e-4;
    s.epochs = 200, s.warmup = 20;
  }
  return s;
}

Parsed parse(int argc, const char* const* argv) {
  Parsed p;
  std::unique_ptr<CLI::App> app;
  CLI::App* failed = nullptr;
  try {
    p.settings = read({argv + 1, argv + argc}, &failed, app);
  } catch (const CLI::ExtrasError& e) {
    std::fprintf(stderr, "mobilenetv2-cifar10: %s\n", unknown(*failed).c_str());
    p.go_on = false;
    p.exit = e.get_exit_code();
  } catch (const CLI::ParseError& e) {
    p.go_on = false;
    p.exit = failed->exit(e);
  }
  return p;
}

std::vector<std::pair<std::string, std::string>> identity(const Settings& s) {
  return {{"wire", s.wire},
          {"cut", s.cut},
          {"recipe", s.recipe},
          {"schedule", s.schedule},
          {"width", text(s.width)},
          {"lr", text(s.lr)},
          {"momentum", text(s.momentum)},
          {"weight-decay", text(s.weight_decay)},
          {"epochs", std::to_string(s.epochs)},
          {"warmup", std::to_string(s.warmup)},
          {"batch", std::to_string(s.batch)},
          {"micro-batches", std::to_string(s.microbatches)},
          {"raw-epochs", std::to_string(s.raw_epochs)},
          {"deferred-batch-norm", s.deferred_batch_norm ? "true" : "false"},
          {"amp", s.amp},
          {"images", std::to_string(s.images)},
          {"test-images", std::to_string(s.test_images)},
          {"seed", std::to_string(s.seed)}};
}

Settings resumed(const Settings& now, const std::vector<std::pair<std::string, std::string>>& saved) {
  std::vector<std::string> words;
  for (const auto& [option, value] : saved) words.push_back("--" + option + "=" + value);
  std::unique_ptr<CLI::App> app;
  CLI::App* failed = nullptr;
  Settings s;
  try {
    s = read(words, &failed, app);
  } catch (const CLI::ParseError& e) {
    throw pcomp::Error(std::string("the checkpoint's settings are not this program's: ") + e.what());
  }
  const auto current = identity(now), kept = identity(s);
  for (std::size_t i = 0; i < kept.size(); ++i)
    for (const std::string& option : now.given)
      if (option == kept[i].first && current[i].second != kept[i].second)
        throw pcomp::Error("--" + option + " " + current[i].second + ": the run to resume has --" + option +
                           " " + kept[i].second);
  s.data = now.data, s.out = now.out, s.trace = now.trace;
  s.device = now.device, s.threads = now.threads, s.timeout = now.timeout;
  s.resume = true, s.given = now.given;
  return s;
}

}  // namespace cifar
