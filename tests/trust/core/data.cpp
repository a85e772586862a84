// The main job takes no drawings where CIFAR-10 lies in a layout that it does not read.
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <pcomp/base/error.hpp>

#include "../../../apps/train/data/images.hpp"
#include "../../unit/cpu/catch.hpp"

namespace fs = std::filesystem;

namespace {

/// An empty folder with data/ in it, as working folder, and no $PCOMP_CIFAR10.
struct Elsewhere {
  fs::path before = fs::current_path();
  fs::path base = fs::temp_directory_path() / ("pcomp-trust-data-" + std::to_string(getpid()));
  std::string variable = std::getenv("PCOMP_CIFAR10") ? std::getenv("PCOMP_CIFAR10") : "";
  Elsewhere() {
    fs::remove_all(base);
    fs::create_directories(base / "data");
    fs::current_path(base);
    unsetenv("PCOMP_CIFAR10");
  }
  ~Elsewhere() {
    fs::current_path(before);
    fs::remove_all(base);
    if (!variable.empty()) setenv("PCOMP_CIFAR10", variable.c_str(), 1);
  }
};

void touch(const fs::path& path) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << "not what is looked for";
}
/// 10,000 black images of class 0 in each file.
void binary(const fs::path& folder) {
  fs::create_directories(folder);
  for (const char* file : {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                           "data_batch_5.bin", "test_batch.bin"}) {
    std::ofstream(folder / file).put(0);
    fs::resize_file(folder / file, 30730000);
  }
}
std::string said(const std::string& folder = "") {
  try {
    return "no error: " + cifar::find_data(folder).kind;
  } catch (const pcomp::Error& e) {
    return e.what();
  }
}
bool has(const std::string& text, const char* part) {
  UNSCOPED_INFO(text);
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("CIFAR-10 in another layout than the binary one is named, and not replaced by drawings",
          "[trust]") {
  const char* needed =
      "needed is the binary version, data_batch_1.bin to data_batch_5.bin and test_batch.bin";
  for (const auto& [file, word] :
       {std::pair{"cifar-10-batches-py/data_batch_1", "Python layout"},
        std::pair{"cifar-10-batches-py/batches.meta", "Python layout"},
        std::pair{"data_batch_1", "Python layout"}, std::pair{"test_batch", "Python layout"},
        std::pair{"cifar-10-python.tar.gz", "Python layout"},
        std::pair{"cifar-10-batches-mat/test_batch.mat", "MATLAB layout"},
        std::pair{"data_batch_1.mat", "MATLAB layout"}, std::pair{"cifar-10-matlab.tar.gz", "MATLAB layout"},
        std::pair{"cifar-10-binary.tar.gz", "unpacked"}, std::pair{"CIFAR100/train.bin", "CIFAR100"},
        std::pair{"cifar-100-python.tar.gz", "cifar-100-python.tar.gz"}}) {
    const Elsewhere elsewhere;
    touch(fs::path("data") / file);
    INFO(file);
    CHECK(has(said(), "data: here is "));
    CHECK(has(said(), word));
    CHECK(has(said(), needed));
    CHECK(has(said("data"), word));
    CHECK(has(said("data"), needed));
    setenv("PCOMP_CIFAR10", "data", 1);
    CHECK(has(said(), needed));
  }
}

TEST_CASE("CIFAR-10's binary files are read a folder deeper, also beside other layouts", "[trust]") {
  for (const char* folder :
       {"data", "data/cifar-10-batches-bin", "data/mine", "data/cifar-10-binary/cifar-10-batches-bin"}) {
    const Elsewhere elsewhere;
    touch("data/cifar-10-python.tar.gz");
    binary(folder);
    INFO(folder);
    CHECK(said() == "no error: CIFAR-10");
  }
}

TEST_CASE("drawings are for where there is nothing of CIFAR, and a part of it is an error", "[trust]") {
  const Elsewhere elsewhere;
  touch("data/notes.txt");
  CHECK(said() == "no error: drawings");
  touch("data/cifar-10-batches-bin/readme.html");
  CHECK(has(said(), "data_batch_1.bin: there is no such file"));
}
