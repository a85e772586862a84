#pragma once
#include <pcomp/runtime/report.hpp>

#include "../model/network.hpp"
#include "options.hpp"

namespace cifar {

/// What a finished run leaves for other programs: ./dev study collects it.
struct Summary {
  const Settings& settings;
  const Cut& cut;
  const pcomp::runtime::Report& traffic;
  std::string data = "";  ///< one line about the images
  int train_images = 0, test_images = 0;
  int ranks = 0;
  std::int64_t images = 0;  ///< trained on, over all epochs
  double accuracy = 0, best_accuracy = 0;
  int best_epoch = 0;
  double seconds = 0;  ///< of the epochs, without tests
};

/// One JSON object. The bytes of each boundary are exact, so that bytes per image and bits per element (raw counts four
/// bytes per element) follow.
std::string to_json(const Summary& s);

}  // namespace cifar
