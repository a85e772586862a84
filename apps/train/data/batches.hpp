#pragma once
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "images.hpp"
#include "order.hpp"

namespace cifar {

/// A batch of normalised images in the layout [samples, 3, 32, 32].
struct Batch {
  std::vector<float> x;
  std::vector<std::int64_t> y, sample_ids;  ///< labels; indices in the data set
  int size() const { return static_cast<int>(y.size()); }
};

/// One pass over the images, prepared on its own thread, a few batches ahead.
///
/// Law: the batches depend only on the images and the order.
class Batches {
 public:
  Batches(const Images& images, const Normalisation& normalisation, const Order& order);
  ~Batches();
  Batches(const Batches&) = delete;

  /// The next batch; false after the last.
  bool next(Batch& batch);

 private:
  void prepare();
  Batch make(int first, int size) const;

  const Images& images_;
  NormalisedValues values_;
  Order order_;
  std::vector<int> shown_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Batch> ready_;
  bool stop_ = false, done_ = false;
  std::thread thread_;
};

}  // namespace cifar
