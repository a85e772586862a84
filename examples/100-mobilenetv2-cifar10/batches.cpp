#include "batches.hpp"

#include <algorithm>
#include <numeric>

#include "random.hpp"

namespace cifar {
namespace {

constexpr std::size_t ahead = 4;
constexpr int border = 4;

int used(int images, const Order& o) { return o.limit > 0 ? std::min(o.limit, images) : images; }

}  // namespace

Batches::Batches(const Images& images, const Normalisation& normalisation, const Order& order)
    : images_(images), normalisation_(normalisation), order_(order) {
  permutation_.resize(static_cast<std::size_t>(used(images.size(), order)));
  std::iota(permutation_.begin(), permutation_.end(), 0);
  if (order.augment) {
    Random random(order.seed, order.epoch, 1);
    for (std::size_t i = permutation_.size(); i > 1; --i)
      std::swap(permutation_[i - 1],
                permutation_[static_cast<std::size_t>(random.below(static_cast<int>(i)))]);
  }
  thread_ = std::thread([this] { prepare(); });
}

Batches::~Batches() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

int Batches::count(int images, const Order& o) {
  const int n = used(images, o), whole = n / o.batch, rest = n % o.batch;
  return whole + (rest >= o.least && rest > 0);
}

bool Batches::next(Batch& batch) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return done_ || !ready_.empty(); });
  if (ready_.empty()) return false;
  batch = std::move(ready_.front());
  ready_.pop_front();
  changed_.notify_all();
  return true;
}

void Batches::prepare() {
  const int n = static_cast<int>(permutation_.size()), batches = count(n, order_);
  for (int b = 0; b < batches; ++b) {
    const int first = b * order_.batch;
    Batch batch = make(first, std::min(order_.batch, n - first));
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stop_ || ready_.size() < ahead; });
    if (stop_) return;
    ready_.push_back(std::move(batch));
    changed_.notify_all();
  }
  std::lock_guard lock(mutex_);
  done_ = true;
  changed_.notify_all();
}

Batch Batches::make(int first, int size) const {
  Batch batch;
  if (order_.pictures) batch.x.resize(static_cast<std::size_t>(size) * pixels);
  for (int i = 0; i < size; ++i) {
    const int index = permutation_[static_cast<std::size_t>(first + i)];
    batch.ids.push_back(index);
    batch.y.push_back(images_.labels[static_cast<std::size_t>(index)]);
    if (!order_.pictures) continue;
    int down = 0, right = 0;
    bool mirror = false;
    if (order_.augment) {
      Random random(order_.seed, order_.epoch, 2, index);
      down = random.below(2 * border + 1) - border;
      right = random.below(2 * border + 1) - border;
      mirror = random.below(2) == 1;
    }
    float* to = batch.x.data() + static_cast<std::size_t>(i) * pixels;
    for (int c = 0; c < 3; ++c) {
      const auto k = static_cast<std::size_t>(c);
      const float scale = 1 / (255 * normalisation_.deviation[k]);
      const float shift = -normalisation_.mean[k] / normalisation_.deviation[k];
      if (down != 0 || right != 0) std::fill_n(to + c * side * side, side * side, shift);
      for (int y = std::max(0, -down); y < std::min(side, side - down); ++y) {
        const std::uint8_t* from = images_.image(index) + (c * side + y + down) * side;
        float* row = to + (c * side + y) * side;
        for (int x = std::max(0, -right); x < std::min(side, side - right); ++x)
          row[mirror ? side - 1 - x : x] = static_cast<float>(from[x + right]) * scale + shift;
      }
    }
  }
  return batch;
}

}  // namespace cifar
