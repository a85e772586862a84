#pragma once
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "images.hpp"

namespace cifar {

/// Normalised images, batch after batch, in the layout [samples, 3, 32, 32].
struct Batch {
  std::vector<float> x;
  std::vector<std::int64_t> y, ids;  ///< labels; places in the data set
  int size() const { return static_cast<int>(y.size()); }
};

struct Order {
  std::uint64_t seed = 0;
  int epoch = 0;
  bool augment = true;   ///< shuffle, crop from a black border of 4, mirror; else as they are
  bool pictures = true;  ///< false: only the labels are wanted here
  int batch = 128;
  int limit = 0;  ///< use the first images alone; 0: all
  int least = 1;  ///< a last batch smaller than this is left out
};

/// One pass over the images, prepared on a thread of its own, a few batches ahead.
///
/// Law: the batches depend on the images and the order alone.
class Batches {
 public:
  Batches(const Images& images, const Normalisation& normalisation, const Order& order);
  ~Batches();
  Batches(const Batches&) = delete;

  static int count(int images, const Order& order);
  /// The next batch; false after the last.
  bool next(Batch& batch);

 private:
  void prepare();
  Batch make(int first, int size) const;

  const Images& images_;
  Normalisation normalisation_;
  Order order_;
  std::vector<int> permutation_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Batch> ready_;
  bool stop_ = false, done_ = false;
  std::thread thread_;
};

}  // namespace cifar
