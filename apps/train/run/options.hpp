#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace cifar {

/// Everything that determines the results of a run, and where it is kept.
struct Settings {
  // The run: what a checkpoint records.
  std::string wire = "thin", cut = "edge", recipe = "quick", schedule = "gpipe", amp = "off";
  double width = 0.25, lr = 0.1, momentum = 0.9, weight_decay = 5e-4;
  int epochs = 6, warmup = 1, batch = 128, microbatches = 4, images = 0, test_images = 0, raw_epochs = 0;
  bool deferred_batch_norm = false;
  std::uint64_t seed = 1;
  // Around it.
  std::string device = "cpu", link = "gloo", data, out, trace;
  int threads = 0, timeout = 600;
  bool resume = false, list_wires = false;

  std::vector<std::string> given;  ///< the options of the command line, by their long names
};

/// What a recipe sets, unless an option says otherwise.
Settings recipe(const std::string& name);

/// The parsed command line; if --help or a mistake ends the program, `exit` is its exit code.
struct Parsed {
  Settings settings;
  bool go_on = true;
  int exit = 0;
};
Parsed parse(int argc, const char* const* argv);

/// The options that define a run with their values as text: `resumed` reads them back.
std::vector<std::pair<std::string, std::string>> identity(const Settings& settings);

/// The settings of a saved run, with the current folder, data, trace, device, threads and timeout.
///
/// Errors: `pcomp::Error` if a command-line option contradicts what was saved.
Settings resumed(const Settings& now, const std::vector<std::pair<std::string, std::string>>& saved);

}  // namespace cifar
