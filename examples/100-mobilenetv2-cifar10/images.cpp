#include "images.hpp"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <pcomp/core/error.hpp>

#include "network.hpp"

namespace cifar {
namespace {

namespace fs = std::filesystem;

constexpr int records = 10000, record = pixels + 1;

void append(const fs::path& path, Images& images) {
  const auto fail = [&](const std::string& why) {
    throw pcomp::Error(path.string() + ": " + why + "; a CIFAR-10 file has " + std::to_string(records) +
                       " records of " + std::to_string(record) + " bytes, " +
                       std::to_string(records * record) + " in all");
  };
  std::error_code error;
  if (!fs::exists(path, error)) fail("there is no such file");
  const auto size = fs::file_size(path, error);
  if (error) fail(error.message());
  if (size != static_cast<std::uintmax_t>(records) * record)
    fail("it has " + std::to_string(size) + " bytes");
  std::vector<char> bytes(records * static_cast<std::size_t>(record));
  std::ifstream file(path, std::ios::binary);
  if (!file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) fail("it cannot be read");
  for (int r = 0; r < records; ++r) {
    const char* from = bytes.data() + static_cast<std::size_t>(r) * record;
    const auto label = static_cast<std::uint8_t>(*from);
    if (label >= classes)
      fail("record " + std::to_string(r) + " has the class " + std::to_string(label) + ", above 9");
    images.labels.push_back(label);
    images.bytes.insert(images.bytes.end(), from + 1, from + record);
  }
}

}  // namespace

Normalisation normalisation(const Images& images) {
  Normalisation n;
  constexpr int plane = side * side;
  for (int c = 0; c < 3; ++c) {
    std::uint64_t sum = 0, squares = 0;
    for (int i = 0; i < images.size(); ++i)
      for (int p = 0; p < plane; ++p) {
        const std::uint64_t v = images.image(i)[c * plane + p];
        sum += v, squares += v * v;
      }
    const double count = static_cast<double>(images.size()) * plane;
    const double mean = static_cast<double>(sum) / count;
    const double variance = static_cast<double>(squares) / count - mean * mean;
    n.mean[static_cast<std::size_t>(c)] = static_cast<float>(mean / 255);
    n.deviation[static_cast<std::size_t>(c)] =
        std::max(1e-3f, static_cast<float>(std::sqrt(std::max(0.0, variance)) / 255));
  }
  return n;
}

NormalisedValues normalised_values(const Normalisation& n) {
  NormalisedValues values;
  for (std::size_t c = 0; c < 3; ++c) {
    const float scale = 1 / (255 * n.deviation[c]), shift = -n.mean[c] / n.deviation[c];
    for (std::size_t byte = 0; byte < 256; ++byte) values[c][byte] = static_cast<float>(byte) * scale + shift;
  }
  return values;
}

DataSet read_cifar10(const fs::path& folder) {
  if (!fs::is_directory(folder)) throw pcomp::Error(folder.string() + ": there is no such folder");
  const fs::path inner = folder / "cifar-10-batches-bin";
  const fs::path from = fs::is_directory(inner) ? inner : folder;
  DataSet set{"CIFAR-10 from " + from.string(), {}, {}};
  for (int b = 1; b <= 5; ++b) append(from / ("data_batch_" + std::to_string(b) + ".bin"), set.train);
  append(from / "test_batch.bin", set.test);
  return set;
}

DataSet find_data(const std::string& folder) {
  if (!folder.empty()) return read_cifar10(folder);
  if (const char* variable = std::getenv("PCOMP_CIFAR10"); variable && *variable)
    return read_cifar10(variable);
  if (fs::exists("data/test_batch.bin") || fs::exists("data/cifar-10-batches-bin"))
    return read_cifar10("data");
  return synthetic(1, 10000, 2000);
}

}  // namespace cifar
