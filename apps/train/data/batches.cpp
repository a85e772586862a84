#include "batches.hpp"

#include <algorithm>

namespace cifar {
namespace {

constexpr std::size_t ahead = 4;
}  // namespace

Batches::Batches(const Images& images, const Normalisation& normalisation, const Order& order)
    : images_(images),
      values_(normalised_values(normalisation)),
      order_(order),
      shown_(shown(images.size(), order)) {
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
  const int n = static_cast<int>(shown_.size()), all = batch_count(images_.size(), order_);
  for (int b = 0; b < all; ++b) {
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
    const int index = shown_[static_cast<std::size_t>(first + i)];
    batch.sample_ids.push_back(index);
    batch.y.push_back(images_.labels[static_cast<std::size_t>(index)]);
    if (!order_.pictures) continue;
    const Crop cut = crop(order_, index);
    float* to = batch.x.data() + static_cast<std::size_t>(i) * pixels;
    for (int c = 0; c < 3; ++c) {
      const auto& value = values_[static_cast<std::size_t>(c)];
      if (cut.down != 0 || cut.right != 0) std::fill_n(to + c * side * side, side * side, value[0]);
      for (int y = std::max(0, -cut.down); y < std::min(side, side - cut.down); ++y) {
        const std::uint8_t* from = images_.image(index) + (c * side + y + cut.down) * side;
        float* row = to + (c * side + y) * side;
        for (int x = std::max(0, -cut.right); x < std::min(side, side - cut.right); ++x)
          row[cut.mirror ? side - 1 - x : x] = value[from[x + cut.right]];
      }
    }
  }
  return batch;
}

}  // namespace cifar
