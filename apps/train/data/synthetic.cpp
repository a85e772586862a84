#include <algorithm>
#include <cmath>

#include "images.hpp"
#include "random.hpp"

namespace cifar {
namespace {

bool inside(int shape, float x, float y) {
  const float r = std::hypot(x, y), square = std::max(std::abs(x), std::abs(y));
  switch (shape) {
    case 0:
      return r < 1;  // disc
    case 1:
      return square < 0.85f;  // square
    case 2:
      return y < 0.7f && std::abs(x) < (y + 1) * 0.6f;  // triangle
    case 3:
      return square < 1 && std::min(std::abs(x), std::abs(y)) < 0.3f;  // cross
    default:
      return r < 1 && r > 0.55f;  // ring
  }
}

/// Class c: shape c / 2, filled with stripes or a checkerboard.
void draw(std::uint8_t* image, int c, Random random) {
  float ground[3], ink[3][2];
  for (int k = 0; k < 3; ++k) ground[k] = random.between(40, 215);
  for (int k = 0; k < 3; ++k) {
    ink[k][0] = random.between(0, 255);
    ink[k][1] = std::fmod(ink[k][0] + random.between(90, 165), 255.f);
  }
  const float radius = random.between(9, 14), cx = random.between(12, 20), cy = random.between(12, 20);
  const float turn = random.between(-0.35f, 0.35f), period = random.between(3.5f, 5.5f);
  const float cosine = std::cos(turn), sine = std::sin(turn);
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x) {
      const float dx = static_cast<float>(x) - cx, dy = static_cast<float>(y) - cy;
      const float u = cosine * dx + sine * dy, v = cosine * dy - sine * dx;
      const bool filled = inside(c / 2, u / radius, v / radius);
      const bool row = std::fmod(v + 64, period) < period / 2,
                 column = std::fmod(u + 64, period) < period / 2;
      const bool second = c % 2 ? row != column : row;
      for (int k = 0; k < 3; ++k) {
        const float value = (filled ? ink[k][second] : ground[k]) + random.between(-30, 30);
        image[(k * side + y) * side + x] = static_cast<std::uint8_t>(std::clamp(value, 0.f, 255.f));
      }
    }
}

Images draw_all(std::uint64_t seed, int count, int which) {
  Images images;
  images.labels.resize(static_cast<std::size_t>(count));
  images.bytes.resize(static_cast<std::size_t>(count) * pixels);
  for (int i = 0; i < count; ++i) {
    const int c = i % 10;
    images.labels[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(c);
    draw(images.bytes.data() + static_cast<std::size_t>(i) * pixels, c, Random(seed, which, i));
  }
  return images;
}

}  // namespace

DataSet synthetic(std::uint64_t seed, int train, int test) {
  return {
      "a synthetic set of " + std::to_string(train) + " drawings (for CIFAR-10: ./dev data, or --data DIR)",
      "drawings", draw_all(seed, train, 0), draw_all(seed, test, 1)};
}

}  // namespace cifar
