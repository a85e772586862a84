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

/// The value of each byte in each channel: a lookup table, so that every machine and device has the same floats.
using NormalisedValues = std::array<std::array<float, 256>, 3>;
NormalisedValues normalised_values(const Normalisation& normalisation);

struct DataSet {
  std::string what;  ///< one line for the user
  std::string kind;  ///< what it is, wherever it is stored
  Images train, test;
};

/// Which images these are, for a checkpoint: kind, counts and a checksum of every image and label in order.
std::string identity(const DataSet& data);

/// Reads CIFAR-10 in its official binary layout, from the folder itself, its cifar-10-batches-bin or one folder in it.
///
/// Errors: `pcomp::Error` that names the file that is missing, truncated, empty or not a CIFAR-10 file, or the other
///   layout of CIFAR that is there: Python's, MATLAB's, an archive.
DataSet read_cifar10(const std::filesystem::path& folder);

/// Ten classes, each a textured shape of any colour, size and position; a stand-in if CIFAR-10 is absent.
DataSet synthetic(std::uint64_t seed, int train, int test);

/// The data at `folder` if given, else at $PCOMP_CIFAR10, else in data/; the synthetic set if data/ has nothing of CIFAR.
///
/// Errors: as read_cifar10.
DataSet find_data(const std::string& folder);

}  // namespace cifar
