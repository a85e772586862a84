#include "metrics.hpp"

#include <cstdint>
#include <sstream>

namespace cifar {

std::string to_csv(const std::vector<Metrics>& epochs) {
  std::ostringstream csv;
  csv.precision(8);
  csv << "epoch,loss,accuracy,lr,seconds,images_per_second,forward_bytes,gradient_bytes\n";
  for (const Metrics& m : epochs)
    csv << m.epoch << ',' << m.loss << ',' << m.accuracy << ',' << m.lr << ',' << m.seconds << ','
        << m.images_per_second << ',' << std::int64_t(m.forward_bytes) << ','
        << std::int64_t(m.gradient_bytes) << '\n';
  return csv.str();
}

}  // namespace cifar
