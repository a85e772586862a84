#pragma once
#include <string>
#include <vector>

namespace cifar {

/// One epoch in metrics.csv.
struct Metrics {
  double epoch, loss, accuracy, lr, seconds, images_per_second;
  double forward_bytes, gradient_bytes;  ///< since the run began
};

std::string to_csv(const std::vector<Metrics>& epochs);

}  // namespace cifar
