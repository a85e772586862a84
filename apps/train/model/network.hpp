#pragma once
#include <pcomp/base/error.hpp>
#include <pcomp/base/shape.hpp>
#include <string>
#include <string_view>
#include <vector>

/// MobileNetV2 for 32x32 images as a table, and where it is cut into stages. No torch here.
namespace cifar {

inline constexpr int classes = 10;
inline constexpr int rows = 21;  ///< of the table

/// One row of the network; the stem includes its activation, the last row pools and classifies.
struct Unit {
  enum Kind { Stem, Block, LastConv, LastNorm, Classifier } kind;
  int in, out;  ///< channels
  int expansion, stride;
  int size;  ///< height and width of its output; 0 for the class scores
};

/// Rows 0: conv1, bn1; 1 to 17: blocks 0 to 16; 18: conv2; 19: bn2; 20: pooling, linear.
///
/// Shapes: the CIFAR variant, with stride 1 in the stem and in the first two groups of blocks. Width multiplies
///   channels, rounded to a multiple of 8; the last convolution's 1280 can only grow.
/// Source: MobileNetV2 (Sandler et al., 2018).
inline std::vector<Unit> mobilenetv2(double width) {
  const auto channels = [](double wanted) {
    const int rounded = static_cast<int>(wanted + 4) / 8 * 8;
    const int least = rounded < 8 ? 8 : rounded;
    return least < 0.9 * wanted ? least + 8 : least;
  };
  struct Group {
    int expansion, out, blocks, stride;
  };
  constexpr Group groups[] = {{1, 16, 1, 1}, {6, 24, 2, 1},  {6, 32, 3, 2}, {6, 64, 4, 2},
                              {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
  int in = channels(32 * width), size = 32;
  std::vector<Unit> units{{Unit::Stem, 3, in, 1, 1, size}};
  for (const Group& g : groups)
    for (int b = 0; b < g.blocks; ++b) {
      const int stride = b == 0 ? g.stride : 1, out = channels(g.out * width);
      size /= stride;
      units.push_back({Unit::Block, in, out, g.expansion, stride, size});
      in = out;
    }
  const int last = channels(1280 * (width > 1 ? width : 1));
  units.push_back({Unit::LastConv, in, last, 1, 1, size});
  units.push_back({Unit::LastNorm, last, last, 1, 1, size});
  units.push_back({Unit::Classifier, last, classes, 1, 1, 0});
  return units;
}

/// Where the network is cut, on which rank each stage is, and which boundaries carry the chosen wire.
struct Cut {
  std::string_view name, text;
  std::vector<int> first;       ///< each stage's first unit
  std::vector<int> ranks;       ///< each stage's rank
  std::vector<int> compressed;  ///< boundaries; the others are raw

  int stages() const { return static_cast<int>(first.size()); }
  int end(int stage) const {
    return stage + 1 < stages() ? first[static_cast<std::size_t>(stage) + 1] : rows;
  }
};

inline const std::vector<Cut>& cuts() {
  static const std::vector<Cut> all{
      {"edge",
       "conv1, bn1, block 0 | 1-6 | 7-13 | 14-16 | conv2, bn2, linear",
       {0, 2, 8, 15, 18},
       {0, 1, 2, 3, 0},
       {0, 3}},
      {"cloud",
       "conv1, bn1 | 0-6 | 7-13 | 14-16, conv2 | bn2, linear",
       {0, 1, 8, 15, 19},
       {0, 1, 2, 3, 0},
       {0, 3}},
      {"edge-cloud",
       "conv1, bn1, block 0 | 1-6 | 7-13 | 14-16, conv2 | bn2, linear",
       {0, 2, 8, 15, 19},
       {0, 1, 2, 3, 0},
       {0, 3}},
      {"cloud-edge",
       "conv1, bn1 | 0-6 | 7-13 | 14-16 | conv2, bn2, linear",
       {0, 1, 8, 15, 18},
       {0, 1, 2, 3, 0},
       {0, 3}},
      {"head",
       "conv1, bn1 | 0-6 | 7-13 | 14-16, conv2, bn2 | pooling, linear",
       {0, 1, 8, 15, 20},
       {0, 1, 2, 3, 0},
       {0, 3}},
      {"narrow",
       "conv1, bn1, blocks 0-6 | 7-11 | 12-15 | 16, conv2, bn2 | pooling, linear",
       {0, 8, 13, 17, 20},
       {0, 1, 2, 3, 0},
       {0, 3}},
      {"board", "conv1, bn1, block 0 | 1-16, conv2, bn2, linear", {0, 2}, {0, 1}, {0}},
      {"two", "conv1, bn1, blocks 0-6 | 7-16, conv2, bn2, linear", {0, 8}, {0, 1}, {0}},
      {"whole", "all units", {0}, {0}, {}}};
  return all;
}

inline const Cut& find_cut(std::string_view name) {
  for (const Cut& cut : cuts())
    if (cut.name == name) return cut;
  std::string known;
  for (const Cut& cut : cuts())
    known += (known.empty() ? "" : &cut == &cuts().back() ? " and " : ", ") + std::string(cut.name);
  throw pcomp::Error("there is no cut '" + std::string(name) + "': " + known + " are known");
}

/// What crosses a boundary for `samples` images.
inline pcomp::Extents activation(const std::vector<Unit>& units, const Cut& cut, int boundary, int samples) {
  const Unit& last = units[static_cast<std::size_t>(cut.end(boundary)) - 1];
  return {samples, last.out, last.size, last.size};
}

}  // namespace cifar
