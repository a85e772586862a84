#include "order.hpp"

#include <algorithm>
#include <numeric>

#include "random.hpp"

namespace cifar {
namespace {

int used(int images, const Order& o) { return o.limit > 0 ? std::min(o.limit, images) : images; }

}  // namespace

int batch_count(int images, const Order& o) {
  const int n = used(images, o), whole = n / o.batch, rest = n % o.batch;
  return whole + (rest >= o.least && rest > 0);
}

std::vector<int> shown(int images, const Order& o) {
  std::vector<int> all(static_cast<std::size_t>(used(images, o)));
  std::iota(all.begin(), all.end(), 0);
  if (o.augment) {
    Random random(o.seed, o.epoch, 1);
    for (std::size_t i = all.size(); i > 1; --i)
      std::swap(all[i - 1], all[static_cast<std::size_t>(random.below(static_cast<int>(i)))]);
  }
  return all;
}

Crop crop(const Order& o, int image) {
  if (!o.augment) return {};
  Random random(o.seed, o.epoch, 2, image);
  Crop c;
  c.down = random.below(2 * border + 1) - border;
  c.right = random.below(2 * border + 1) - border;
  c.mirror = random.below(2) == 1;
  return c;
}

}  // namespace cifar
