#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <pcomp/base/error.hpp>

#include "../../unit/cpu/catch.hpp"
#include "data/batches.hpp"
#include "data/images.hpp"
#include "model/network.hpp"
#include "model/wires.hpp"
#include "run/folders.hpp"
#include "run/options.hpp"
#include "run/progress.hpp"
#include "run/recipe.hpp"

using namespace cifar;
namespace fs = std::filesystem;

namespace {

struct Folder {
  fs::path path = fs::temp_directory_path() / ("pcomp-test-" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

constexpr int records = 10000, record = 3073;

/// A file in the official layout, in which every byte of image i is i mod 251 and its class is i mod 10.
void write_batch(const fs::path& path, int count = records, int bad = -1, int cut = 0) {
  std::string bytes(static_cast<std::size_t>(count) * record, '\0');
  for (int i = 0; i < count; ++i) {
    char* at = bytes.data() + static_cast<std::ptrdiff_t>(i) * record;
    std::fill_n(at, record, static_cast<char>(i % 251));
    *at = static_cast<char>(i == bad ? 77 : i % 10);
  }
  bytes.resize(bytes.size() - static_cast<std::size_t>(cut));
  std::ofstream(path, std::ios::binary) << bytes;
}

template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const pcomp::Error& e) {
    return e.what();
  }
  return "no error";
}

bool contains(const std::string& text, const std::string& part) {
  INFO(text);
  CHECK(text.find(part) != std::string::npos);
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("CIFAR-10's binary layout is read, and a file that is not it is named") {
  const Folder folder;
  const auto read = [&] { return read_cifar10(folder.path); };
  contains(error_of(read), "data_batch_1.bin: there is no such file");
  const fs::path inner = folder.path / "cifar-10-batches-bin";
  fs::create_directories(inner);
  for (int b = 1; b <= 5; ++b) write_batch(inner / ("data_batch_" + std::to_string(b) + ".bin"));
  write_batch(inner / "test_batch.bin");
  const DataSet set = read();
  CHECK(set.train.size() == 50000);
  CHECK(set.test.size() == 10000);
  CHECK(set.train.labels[12345] == 5);
  CHECK(set.train.image(12345)[3071] == 2345 % 251);

  write_batch(inner / "data_batch_3.bin", records, -1, 1);
  contains(error_of(read), "data_batch_3.bin: it has 30729999 bytes");
  write_batch(inner / "data_batch_3.bin", 5000);
  contains(error_of(read), "data_batch_3.bin: it has 15365000 bytes");
  write_batch(inner / "data_batch_3.bin", 0);
  contains(error_of(read), "data_batch_3.bin: it has 0 bytes");
  write_batch(inner / "data_batch_3.bin", records, 42);
  contains(error_of(read), "record 42 has the class 77");
  contains(error_of([] { read_cifar10("/nowhere"); }), "/nowhere: there is no such folder");
}

TEST_CASE("A part of CIFAR-10 in data/ is an error, not a reason for drawings") {
  struct Elsewhere {  // without $PCOMP_CIFAR10
    Folder folder;
    fs::path before = fs::current_path();
    std::optional<std::string> variable;
    Elsewhere() {
      if (const char* v = std::getenv("PCOMP_CIFAR10")) variable = v;
      unsetenv("PCOMP_CIFAR10");
      fs::current_path(folder.path);
    }
    ~Elsewhere() {
      fs::current_path(before);
      if (variable) setenv("PCOMP_CIFAR10", variable->c_str(), 1);
    }
  } elsewhere;
  fs::create_directories("data");
  CHECK(find_data("").kind == "drawings");
  write_batch("data/data_batch_2.bin", 1);
  contains(error_of([] { find_data(""); }), "data_batch_1.bin: there is no such file");
  fs::remove("data/data_batch_2.bin");
  write_batch("data/test_batch.bin", 1);
  contains(error_of([] { find_data(""); }), "data_batch_1.bin: there is no such file");
}

TEST_CASE("A data set's identity is of its images, labels and order, and not of its place") {
  DataSet set = synthetic(1, 20, 10);
  const std::string own = identity(set);
  contains(own, "drawings, 20 and 10 images, checksum ");
  set.what = "elsewhere";
  CHECK(identity(set) == own);
  ++set.test.bytes.back();
  CHECK(identity(set) != own);
  --set.test.bytes.back();
  std::swap(set.train.labels[3], set.train.labels[4]);
  CHECK(identity(set) != own);
}

TEST_CASE("A folder is held by one run at a time, until that ends") {
  const Folder folder;
  auto held = hold(folder.path);
  contains(error_of([&] { hold(folder.path); }), folder.path.string() + " is in use");
  held.reset();
  CHECK(error_of([&] { hold(folder.path); }) == "no error");
}

TEST_CASE("Batches depend on seed and epoch alone and show every image once") {
  const DataSet set = synthetic(3, 250, 50);
  const Normalisation n = normalisation(set.train);
  const auto pass = [&](Order order) {
    Batches batches(set.train, n, order);
    std::vector<Batch> all;
    for (Batch b; batches.next(b);) all.push_back(std::move(b));
    return all;
  };
  Order order;
  order.batch = 64, order.seed = 5, order.epoch = 2, order.least = 4;
  const auto a = pass(order), b = pass(order);
  REQUIRE(a.size() == 4);
  CHECK(a.back().size() == 250 - 3 * 64);
  CHECK(batch_count(250, order) == 4);
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].x == b[i].x);
    CHECK(a[i].y == b[i].y);
  }
  std::map<std::int64_t, int> seen;
  for (const Batch& batch : a)
    for (std::int64_t y : batch.y) ++seen[y];
  for (int c = 0; c < 10; ++c) CHECK(seen[c] == 25);
  order.epoch = 3;
  CHECK(pass(order).front().x != a.front().x);
  order.least = 59;
  CHECK(pass(order).size() == 3);
  order.limit = 100, order.least = 1;
  CHECK(pass(order).back().size() == 36);

  // Without augmentation: the images unchanged and in order, with mean 0 and deviation 1.
  order = {};
  order.augment = false, order.batch = 250;
  const auto plain = pass(order);
  double sum = 0, squares = 0;
  for (float v : plain[0].x) sum += v, squares += double{v} * v;
  const auto count = static_cast<double>(plain[0].x.size());
  CHECK(std::abs(sum / count) < 1e-3);
  CHECK(std::abs(squares / count - 1) < 1e-2);
  CHECK(plain[0].y[13] == set.train.labels[13]);
  const float expected =
      (static_cast<float>(set.train.image(13)[1024 + 77]) / 255 - n.mean[1]) / n.deviation[1];
  CHECK(plain[0].x[13 * 3072 + 1024 + 77] == Approx(expected).margin(1e-5));

  // A pass that is abandoned half-way ends its thread.
  order.batch = 1;
  Batches given_up(set.train, n, order);
  Batch first;
  CHECK(given_up.next(first));
}

TEST_CASE("Augmentation shifts by up to 4 into black and mirrors half of the images") {
  Images images;
  images.labels.assign(400, 0);
  images.bytes.assign(400 * 3072, 255);
  for (int i = 0; i < 400; ++i)  // the left half of every picture is grey
    for (int p = 0; p < 3072; ++p)
      if (p % 32 < 16) images.bytes[static_cast<std::size_t>(i * 3072 + p)] = 128;
  Normalisation n;
  n.deviation = {1, 1, 1};
  Order order;
  order.batch = 400;
  Batches batches(images, n, order);
  Batch b;
  REQUIRE(batches.next(b));
  int mirrored = 0, black_rows[9] = {};
  for (int i = 0; i < 400; ++i) {
    const float* image = b.x.data() + i * 3072;
    mirrored += image[16 * 32 + 8] == 1;
    int above = 0, below = 0;
    for (int y = 0; y < 4; ++y) above += image[y * 32 + 16] == 0, below += image[(31 - y) * 32 + 16] == 0;
    CHECK((above == 0 || below == 0));
    ++black_rows[4 + above - below];
  }
  CHECK(mirrored > 150);
  CHECK(mirrored < 250);
  for (int shift : black_rows) CHECK(shift > 20);
}

TEST_CASE("Each pixel that is shown is the stored one, moved and mirrored, or black") {
  const DataSet set = synthetic(4, 120, 10);
  Normalisation n;
  n.mean = {0.25f, 0.5f, 0.75f}, n.deviation = {0.5f, 0.25f, 1};
  Order order;
  order.batch = 120, order.seed = 9, order.epoch = 1;
  Batches batches(set.train, n, order);
  Batch shown_now;
  REQUIRE(batches.next(shown_now));
  bool to_the_side_alone = false, mirrors = false;
  for (int i = 0; i < 120; ++i) {
    const int index = static_cast<int>(shown_now.sample_ids[static_cast<std::size_t>(i)]);
    const Crop cut = crop(order, index);
    to_the_side_alone = to_the_side_alone || (cut.down == 0 && cut.right != 0);
    mirrors = mirrors || cut.mirror;
    int wrong = 0;
    for (int p = 0; p < pixels; ++p) {
      const int c = p / 1024, row = p / 32 % 32 + cut.down;
      const int column = (cut.mirror ? 31 - p % 32 : p % 32) + cut.right;
      const bool inside = row >= 0 && row < 32 && column >= 0 && column < 32;
      const float stored =
          inside ? static_cast<float>(set.train.image(index)[c * 1024 + row * 32 + column]) : 0;
      const auto at = static_cast<std::size_t>(c);
      const float expected = (stored / 255 - n.mean[at]) / n.deviation[at];
      wrong += std::abs(shown_now.x[static_cast<std::size_t>(i * pixels + p)] - expected) > 1e-5f;
    }
    CHECK(wrong == 0);
  }
  CHECK((to_the_side_alone && mirrors));

  bool first_stays = false, first_moves = false;
  for (order.epoch = 0; order.epoch < 40; ++order.epoch)
    (shown(2, order)[0] == 0 ? first_stays : first_moves) = true;
  CHECK((first_stays && first_moves));
}

TEST_CASE("The network's table has MobileNetV2's stages") {
  const auto units = mobilenetv2(1);
  REQUIRE(units.size() == rows);
  CHECK(units[18].in == 320);
  CHECK(units[18].out == 1280);
  CHECK(to_string(activation(units, find_cut("edge"), 0, 64)) == "64x16x32x32");
  CHECK(to_string(activation(units, find_cut("edge"), 3, 64)) == "64x320x4x4");
  CHECK(to_string(activation(units, find_cut("board"), 0, 64)) == "64x16x32x32");
  CHECK(to_string(activation(units, find_cut("cloud"), 0, 64)) == "64x32x32x32");
  CHECK(to_string(activation(units, find_cut("cloud"), 3, 64)) == "64x1280x4x4");
  CHECK(to_string(activation(units, find_cut("head"), 3, 64)) == "64x1280x4x4");
  CHECK(mobilenetv2(0.25)[1].out == 8);
  CHECK(mobilenetv2(0.35)[0].out == 16);  // 8 would be less than nine tenths of 11.2
  CHECK(error_of([] { find_cut("middle"); }) ==
        "there is no cut 'middle': edge, cloud, edge-cloud, cloud-edge, head, narrow, board, two and whole "
        "are known");
}

TEST_CASE("Wires are found by name, and a mistyped one suggests the right one") {
  CHECK(wires().size() == 50);
  CHECK(find_wire("thin").ops->name.view() == "Downsample<2> | TopK<1/10> | Quant<8>");
  contains(error_of([] { find_wire("topk1-quant8"); }), "did you mean 'topk10-quant8'?");
}

TEST_CASE("Each compressed boundary may have a wire of its own") {
  const Cut& edge = find_cut("edge");
  CHECK(wires_at("thin", edge).size() == 2);
  CHECK(wires_at("thin", find_cut("two")).size() == 1);
  const auto mixed = wires_at("thin+quant8", edge);
  REQUIRE(mixed.size() == 2);
  CHECK(mixed[0].ops == find_wire("thin").ops);
  CHECK(mixed[1].ops == find_wire("quant8").ops);
  CHECK(chains(mixed) == "Downsample<2> | TopK<1/10> | Quant<8> + Quant<8>");
  CHECK(error_of([&] { wires_at("raw+thin+quant8", edge); }) ==
        "--wire raw+thin+quant8 names 3 wires, but --cut edge has 2 compressed boundaries: expected one wire "
        "for "
        "all, or one for each");
  contains(error_of([&] { wires_at("raw+", edge); }), "there is no wire ''");
}

TEST_CASE("Options: recipes, what overrides them, and what a saved run does not allow") {
  const auto read = [](std::vector<const char*> words) {
    words.insert(words.begin(), "program");
    return parse(static_cast<int>(words.size()), words.data());
  };
  const Parsed seed = read({"--width", "0.5", "--recipe", "seed"});
  REQUIRE(seed.go_on);
  CHECK(seed.settings.width == 0.5);
  CHECK(seed.settings.batch == 1024);
  CHECK(seed.settings.epochs == 200);
  CHECK(seed.settings.warmup == 20);
  CHECK(seed.settings.lr == 0.4);
  CHECK(seed.settings.weight_decay == 1e-4);
  CHECK(seed.settings.given == std::vector<std::string>{"recipe", "width"});

  const Settings smoke = recipe("smoke");
  CHECK(smoke.width == 0.05);
  CHECK(smoke.images == 128);
  CHECK(smoke.test_images == 64);
  CHECK(resumed(read({"--resume"}).settings, identity(smoke)).images == 128);

  const auto saved = identity(
      read({"--wire", "quant4", "--lr", "0.07", "--raw-epochs", "2", "--deferred-batch-norm"}).settings);
  const Settings again = resumed(read({"--resume", "--threads", "2"}).settings, saved);
  CHECK(identity(again) == saved);
  CHECK(again.raw_epochs == 2);
  CHECK(again.deferred_batch_norm);
  CHECK(again.threads == 2);
  CHECK(resumed(read({"--resume", "--wire", "quant4"}).settings, saved).wire == "quant4");
  contains(error_of([&] {
             resumed(read({"--wire", "raw"}).settings, saved);
           }),
           "--wire raw: the run to resume has --wire quant4");

  for (const auto& [option, value] : saved)
    if (option == "seed" || option == "images" || option == "epochs")
      contains(error_of([&, name = "--" + option] {
                 resumed(read({name.c_str(), "77"}).settings, saved);
               }),
               "the run to resume has --" + option + " " + value);

  // The device may change; what determines the numbers may not. Runs from before --amp existed are without it.
  const auto amp = identity(read({"--amp", "bf16"}).settings);
  CHECK(resumed(read({"--resume", "--device", "cuda"}).settings, amp).device == "cuda");
  CHECK(resumed(read({"--resume"}).settings, amp).amp == "bf16");
  CHECK(resumed(read({"--resume"}).settings, {{"wire", "quant4"}}).amp == "off");
  contains(error_of([&] {
             resumed(read({"--amp", "off"}).settings, amp);
           }),
           "--amp off: the run to resume has --amp bf16");

  // What is not a number is refused, and so is what would be read as another number.
  const auto refuses = [&](const char* option, std::vector<const char*> values) {
    for (const char* value : values) {
      INFO(option << ' ' << value);
      CHECK_FALSE(read({option, value}).go_on);
    }
  };
  for (const char* option : {"--width", "--lr", "--momentum", "--weight-decay"})
    refuses(option, {"nan", "-nan", "inf", "-1", "1x"});
  refuses("--seed", {"-1", "99999999999999999999", "18446744073709551616", "010", "0x10", "1.5", "one"});
  refuses("--epochs", {"0", "-1", "010", "99999999999"});
  CHECK(read({"--seed", "18446744073709551615"}).settings.seed == 18446744073709551615u);

  // One stage has no boundary, and so no wire.
  CHECK(read({"--cut", "whole"}).settings.wire == "raw");
  CHECK(read({"--cut", "two"}).settings.wire == "thin");
}

TEST_CASE("The learning rate warms up, reaches its height once and falls to nearly 0") {
  Settings s;
  s.epochs = 10, s.warmup = 1, s.lr = 0.4;
  CHECK(learning_rate(s, 0, 100) == Approx(0.004));
  CHECK(learning_rate(s, 99, 100) == Approx(0.4));
  CHECK(learning_rate(s, 100, 100) == Approx(0.4));
  CHECK(learning_rate(s, 550, 100) == Approx(0.2));
  CHECK(learning_rate(s, 999, 100) < 1e-5);
  s.epochs = 1;
  CHECK(learning_rate(s, 19, 100) == Approx(0.4));
  CHECK(learning_rate(s, 0, 1) > 0);
}

TEST_CASE("Numbers are short on the progress line") {
  CHECK(bytes_text(999) == "999 B");
  CHECK(bytes_text(1234) == "1.23 kB");
  CHECK(bytes_text(45.6e6) == "45.6 MB");
  CHECK(time_text(59) == "59 s");
  CHECK(time_text(61) == "1 min 01 s");
  CHECK(time_text(7300) == "2 h 01 min");
}

TEST_CASE("Real CIFAR-10, where $PCOMP_CIFAR10 names it") {
  const char* folder = std::getenv("PCOMP_CIFAR10");
  if (!folder || !*folder) {
    WARN("skipped: PCOMP_CIFAR10 is not set");
    return;
  }
  const DataSet set = read_cifar10(folder);
  const Normalisation n = normalisation(set.train);
  CHECK(n.mean[0] == Approx(0.4914).margin(0.003));
  CHECK(n.mean[2] == Approx(0.4465).margin(0.003));
  CHECK(n.deviation[1] == Approx(0.2435).margin(0.005));
  std::vector<int> count(10);
  for (std::uint8_t label : set.train.labels) ++count[label];
  CHECK(count == std::vector<int>(10, 5000));
}
