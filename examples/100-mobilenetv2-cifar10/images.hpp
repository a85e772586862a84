#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace cifar {

inline constexpr int side = 32, pixels = 3 * side * side;

/// Images and their classes, as CIFAR-10's binary files have them: red, green, blue, row by row.
struct Images {
  std::vector<std::uint8_t> labels;
  std::vector<std::uint8_t> bytes;  ///< `pixels` for each label

  int size() const { return static_cast<int>(labels.size()); }
  const std::uint8_t* image(int i) const { return bytes.data() + static_cast<std::size_t>(i) * pixels; }
};

/// Mean and standard deviation of each channel, of values in [0, 1].
struct Normalisation {
  std::array<float, 3> mean{}, deviation{};
};
Normalisation normalisation(const Images& images);

/// What each byte of each channel stands for: looked up, so that every machine and device has the same floats.
using NormalisedValues = std::array<std::array<float, 256>, 3>;
NormalisedValues normalised_values(const Normalisation& normalisation);

struct DataSet {
  std::string what;  ///< one line for the user
  std::string kind;  ///< what it is, wherever it lies
  Images train, test;
};

/// Which images these are, for a checkpoint: kind, numbers and a checksum of every image and label in their order.
std::string identity(const DataSet& data);

/// Reads CIFAR-10 in its official binary layout, from the folder itself or its cifar-10-batches-bin.
///
/// Errors: `pcomp::Error` that names the file that is missing, truncated, empty or no CIFAR-10 file.
DataSet read_cifar10(const std::filesystem::path& folder);

/// Ten classes, each a texture within a shape, in any colour, size and place; a stand-in where CIFAR-10 is absent.
DataSet synthetic(std::uint64_t seed, int train, int test);

/// What is at `folder` if that is given, else at $PCOMP_CIFAR10, else in data/, else the synthetic set.
DataSet find_data(const std::string& folder);

}  // namespace cifar
