#include "images.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <pcomp/base/error.hpp>
#include <pcomp/checkpoint/manifest.hpp>

#include "../model/network.hpp"

namespace cifar {
namespace {

namespace fs = std::filesystem;

constexpr int records = 10000, record = pixels + 1;
constexpr const char* training_files[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                          "data_batch_4.bin", "data_batch_5.bin"};
constexpr const char* test_file = "test_batch.bin";

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

bool holds_binary_files(const fs::path& folder) {
  return fs::exists(folder / test_file) ||
         std::ranges::any_of(training_files, [&](const char* file) { return fs::exists(folder / file); });
}

/// The folder itself, its cifar-10-batches-bin or another folder in it with binary files; the folder if there is none.
fs::path binary_folder(const fs::path& folder) {
  const fs::path inner = folder / "cifar-10-batches-bin";
  if (holds_binary_files(folder)) return folder;
  if (fs::is_directory(inner)) return inner;
  std::vector<fs::path> deeper;
  for (const auto& entry : fs::directory_iterator(folder, fs::directory_options::skip_permission_denied)) {
    if (!entry.is_directory()) continue;
    for (const fs::path& path : {entry.path(), entry.path() / "cifar-10-batches-bin"})
      if (holds_binary_files(path)) deeper.push_back(path);
  }
  return deeper.size() == 1 ? deeper.front() : folder;
}

/// What there is of CIFAR that is not the binary layout, in words; empty if there is nothing.
std::string other_layout(const fs::path& folder) {
  const auto has = [&](const char* file) { return fs::exists(folder / file); };
  if (has("data_batch_1") || has("test_batch") || has("batches.meta"))
    return "the Python layout of CIFAR-10 (data_batch_1, ..., test_batch)";
  if (has("data_batch_1.mat") || has("test_batch.mat"))
    return "the MATLAB layout of CIFAR-10 (data_batch_1.mat, ..., test_batch.mat)";
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder, fs::directory_options::skip_permission_denied))
    names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  for (const std::string& name : names) {
    std::string start = name.substr(0, 5);
    std::ranges::transform(start, start.begin(), [](unsigned char c) { return std::tolower(c); });
    if (start != "cifar" || name == "cifar-10-batches-bin") continue;
    const bool packed = !fs::is_directory(folder / name);
    if (name.starts_with("cifar-10-binary"))
      return name + (packed ? ", the binary archive, which is to be unpacked here (tar -xzf)"
                            : ", without its files");
    return name + (name.starts_with("cifar-10-batches-py") || name.starts_with("cifar-10-python")
                       ? ", the Python layout of CIFAR-10"
                   : name.starts_with("cifar-10-batches-mat") || name.starts_with("cifar-10-matlab")
                       ? ", the MATLAB layout of CIFAR-10"
                       : "");
  }
  return "";
}

/// An error if only another layout of CIFAR is there: no reason to use drawings.
void expect_binary_layout(const fs::path& folder) {
  if (!fs::is_directory(folder)) return;
  const fs::path from = binary_folder(folder);
  if (holds_binary_files(from)) return;
  if (const std::string other = other_layout(folder); !other.empty())
    throw pcomp::Error(
        folder.string() + ": here is " + other +
        "; needed is the binary version, data_batch_1.bin to data_batch_5.bin and test_batch.bin: "
        "./dev data DIR fetches it, or unpack cifar-10-binary.tar.gz");
}

}  // namespace

std::string identity(const DataSet& data) {
  const auto sum = [](const auto& bytes) {
    char text[16];
    std::snprintf(text, sizeof text, "%08x",
                  pcomp::detail::crc32({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
    return std::string(text);
  };
  std::string sums;
  for (const Images* images : {&data.train, &data.test}) sums += sum(images->labels) + sum(images->bytes);
  return data.kind + ", " + std::to_string(data.train.size()) + " and " + std::to_string(data.test.size()) +
         " images, checksum " + sum(sums);
}

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
  expect_binary_layout(folder);
  const fs::path from = binary_folder(folder);
  DataSet set{"CIFAR-10 from " + from.string(), "CIFAR-10", {}, {}};
  for (const char* file : training_files) append(from / file, set.train);
  append(from / test_file, set.test);
  return set;
}

DataSet find_data(const std::string& folder) {
  if (!folder.empty()) return read_cifar10(folder);
  if (const char* variable = std::getenv("PCOMP_CIFAR10"); variable && *variable)
    return read_cifar10(variable);
  const fs::path here = "data";
  expect_binary_layout(here);
  if (fs::is_directory(here) &&
      (holds_binary_files(binary_folder(here)) || fs::exists(here / "cifar-10-batches-bin")))
    return read_cifar10(here);
  return synthetic(1, 10000, 2000);
}

}  // namespace cifar
