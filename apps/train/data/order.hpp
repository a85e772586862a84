#pragma once
#include <cstdint>
#include <vector>

namespace cifar {

/// Which images a pass shows, in which order and how.
struct Order {
  std::uint64_t seed = 0;
  int epoch = 0;
  bool augment = true;   ///< shuffle, crop from a black border of 4, mirror; else as they are
  bool pictures = true;  ///< false: only the labels are wanted here
  int batch = 128;
  int limit = 0;  ///< use only the first images; 0: all
  int least = 1;  ///< a last batch smaller than this is dropped
};

inline constexpr int border = 4;

/// How far down and right of the stored picture the shown one lies, before mirroring.
struct Crop {
  int down = 0, right = 0;
  bool mirror = false;
};

/// The number of batches in one pass over `images` images.
int batch_count(int images, const Order& order);
/// The images of a pass, batch after batch.
std::vector<int> shown(int images, const Order& order);
/// How a pass shows this image.
///
/// Law: depends only on the order's seed, epoch and `augment` and on the image's index in the set.
Crop crop(const Order& order, int image);

}  // namespace cifar
