#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <chrono>
#include <fstream>
#include <pcomp/checkpoint/folder.hpp>
#include <random>
#include <sstream>

#include "catch.hpp"

using namespace pcomp;
namespace fs = std::filesystem;

namespace {

struct Folder {
  Folder() {
    std::string name = (fs::temp_directory_path() / "pcomp-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()));
    path = name;
  }
  ~Folder() { fs::remove_all(path); }
  fs::path path;
};

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}
void write(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

checkpoint::Manifest filled() {
  checkpoint::Manifest m;
  m.epoch = 2, m.step = 480, m.stages = 2;
  m.schedule = "1F1B, 2 stages on 2 ranks, 4 micro-batches";
  m.wires = {"TopK<1/10> | Quant<8>"};
  m.notes = {{"width", "0.25"}, {"empty", ""}, {"two", "words here"}};
  return m;
}

const std::vector<std::string> parts{"stage-0", "stage-1", "run"};

/// Three parts: in each, every byte after the part's name is the number of the save.
std::map<std::string, std::string> bytes_of(int save, std::size_t size = 50000) {
  std::map<std::string, std::string> all;
  for (const std::string& part : parts) all[part] = part + std::string(size, static_cast<char>(save));
  return all;
}

/// What is wrong with a folder that should hold this save, or "nothing".
std::string content(const checkpoint::CheckpointFolder& folder, int save, std::size_t size = 50000) {
  return thrown([&] {
    const checkpoint::Manifest m = folder.manifest();
    for (const auto& [part, bytes] : bytes_of(save, size))
      if (folder.read(m, part) != bytes) throw Error("other bytes");
  });
}

}  // namespace

TEST_CASE("A file's sum is zlib's CRC-32") {
  CHECK(pcomp::detail::crc32("123456789") == 0xcbf43926u);
  CHECK(pcomp::detail::crc32("") == 0u);
}

TEST_CASE("A manifest's text is read back as it was, and refused where one letter differs") {
  checkpoint::Manifest m = filled();
  m.generation = 3;
  m.files = {{"stage-0", "stage-0.3.pt", 12345678901, 0xdeadbeef}, {"run", "run.3.pt", 0, 7}};
  const std::string text = checkpoint::to_text(m);
  CHECK((checkpoint::parse_manifest(text, "here") == m));
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    changed[i] ^= 1;
    CHECK_THROWS_AS(checkpoint::parse_manifest(changed, "here"), Error);
    CHECK_THROWS_AS(checkpoint::parse_manifest(text.substr(0, i), "here"), Error);
  }
  CHECK_THROWS_AS(checkpoint::parse_manifest(text + "x", "here"), Error);
  CHECK(thrown([] { (void)checkpoint::parse_manifest("PK\3\4...\n", "a/manifest"); }) ==
        "pcomp: a/manifest: this is no manifest of a checkpoint");
  CHECK(thrown([] { (void)checkpoint::parse_manifest("pcomp checkpoint 9\n", "a/manifest"); }) ==
        "pcomp: a/manifest: this checkpoint has version 9, expected 1");
  m.notes = {{"two words", ""}};
  CHECK_THROWS_AS(checkpoint::to_text(m), Error);
  m.notes = {{"key", "two\nlines"}};
  CHECK_THROWS_AS(checkpoint::to_text(m), Error);
  m.notes.clear();
  for (const char* name : {"my run", "my/run", ""}) {
    m.files = {{name, "run.3.pt", 0, 7}};
    CHECK_THROWS_AS(checkpoint::to_text(m), Error);
    m.files = {{"run", name, 0, 7}};
    CHECK_THROWS_AS(checkpoint::to_text(m), Error);
  }
}

TEST_CASE("A folder holds the last save and nothing of the one before") {
  const Folder base;
  const checkpoint::CheckpointFolder folder(base.path / "new" / "folder");
  CHECK_FALSE(folder.holds_one());
  CHECK(thrown([&] { (void)folder.manifest(); }).find("there is no such checkpoint") != std::string::npos);
  for (int save : {1, 2, 3}) {
    folder.save(filled(), parts, bytes_of(save));
    CHECK(content(folder, save) == "nothing");
    CHECK(std::distance(fs::directory_iterator(base.path / "new" / "folder"), {}) == 4);
  }
  checkpoint::Manifest m = folder.manifest();
  CHECK(m.generation == 3);
  m.generation = 0, m.files.clear();
  CHECK((m == filled()));
}

TEST_CASE("Files that are not the checkpoint's own are left alone") {
  const Folder base;
  for (const char* name : {"weights.pt", "stage-0.mine.pt", "stage-10.1.pt", "run.csv"})
    write(base.path / name, "mine");
  const checkpoint::CheckpointFolder folder(base.path);
  for (int save : {1, 2}) folder.save(filled(), parts, bytes_of(save));
  for (const char* name : {"weights.pt", "stage-0.mine.pt", "stage-10.1.pt", "run.csv"})
    CHECK(text_of(base.path / name) == "mine");
}

TEST_CASE("A damaged, missing or foreign file is one error that names it") {
  const Folder base;
  const checkpoint::CheckpointFolder folder(base.path);
  folder.save(filled(), parts, bytes_of(1));
  const fs::path part = base.path / "stage-1.1.pt";
  const std::string whole = text_of(part);
  std::string flipped = whole;
  flipped[777] ^= 4;
  for (const std::string& bytes : {flipped, whole.substr(0, 100), std::string(), whole + "x"}) {
    write(part, bytes);
    CHECK(content(folder, 1).find("stage-1.1.pt: this file is damaged: the manifest says 50007 bytes") !=
          std::string::npos);
  }
  fs::remove(part);
  CHECK(content(folder, 1).find("cannot read") != std::string::npos);
  write(base.path / "manifest", "pcomp checkpoint 1\nstep 4");
  CHECK(content(folder, 1).find("this manifest is damaged") != std::string::npos);
}

TEST_CASE("What is wrong with a checkpoint is a BadCheckpoint that holds the path") {
  const Folder base;
  const checkpoint::CheckpointFolder folder(base.path);
  const auto bad = [](auto&& call) {
    try {
      call();
    } catch (const BadCheckpoint& e) {
      return e.path;
    }
    return fs::path("none");
  };
  CHECK(bad([&] { (void)folder.manifest(); }) == base.path);
  folder.save(filled(), parts, bytes_of(1));
  const checkpoint::Manifest m = folder.manifest();
  CHECK(bad([&] { (void)folder.read(m, "nothing"); }) == base.path);
  const fs::path part = base.path / "stage-1.1.pt";
  write(part, text_of(part) + "x");
  CHECK(bad([&] { (void)folder.read(m, "stage-1"); }) == part);
  fs::remove(part);
  CHECK(bad([&] { (void)folder.read(m, "stage-1"); }) == part);
  write(base.path / "manifest", "pcomp checkpoint 1\nstep 4");
  CHECK(bad([&] { (void)folder.manifest(); }) == base.path / "manifest");
}

TEST_CASE("A save that fails is one error and leaves the last checkpoint whole") {
  const Folder base;
  const checkpoint::CheckpointFolder folder(base.path / "run");
  folder.save(filled(), parts, bytes_of(1));
  SECTION("a full disk") {
    // No file may grow above a limit, as if there were no more room: 60 kB stops a part, 100 bytes the manifest.
    signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    for (const rlim_t most : {rlim_t{60000}, rlim_t{100}}) {
      const rlimit limit{most, before.rlim_max};
      setrlimit(RLIMIT_FSIZE, &limit);
      const std::string error =
          thrown([&] { folder.save(filled(), parts, bytes_of(2, most == 100 ? 10 : 70000)); });
      setrlimit(RLIMIT_FSIZE, &before);
      CHECK(error.find(most == 100 ? "cannot save" : "run.2.pt: writing: File too large") !=
            std::string::npos);
      CHECK(error.find("the file that was there before is unchanged") != std::string::npos);
      CHECK(content(folder, 1) == "nothing");
      CHECK(std::distance(fs::directory_iterator(base.path / "run"), {}) == 4);
    }
  }
  SECTION("a folder that cannot be made") {
    write(base.path / "file", "");
    CHECK(thrown([&] {
            checkpoint::CheckpointFolder(base.path / "file" / "run").save(filled(), parts, bytes_of(2));
          }).find("cannot make the folder") != std::string::npos);
  }
  SECTION("another rank that fails") {
    checkpoint::Together together;
    together.check_agreement = [](const std::string&) { return "pcomp: rank 1 cannot save"; };
    CHECK(thrown([&] { folder.save(filled(), parts, bytes_of(2), together); }) ==
          "pcomp: rank 1 cannot save");
    CHECK(std::distance(fs::directory_iterator(base.path / "run"), {}) == 4);
  }
  SECTION("a part whose name a manifest cannot hold") {
    CHECK(thrown([&] {
            folder.save(filled(), {"my run"}, {{"my run", "new"}});
          }).find("are one word without a slash, not 'my run'") != std::string::npos);
    CHECK(std::distance(fs::directory_iterator(base.path / "run"), {}) == 4);
  }
  SECTION("a rank whose folder is another") {
    auto mine = bytes_of(2);
    mine.erase("stage-1");
    CHECK(thrown([&] {
            folder.save(filled(), parts, mine);
          }).find("stage-1.2.pt is not there: every rank must see the same folder") != std::string::npos);
  }
  CHECK(content(folder, 1) == "nothing");
  folder.save(filled(), parts, bytes_of(3));
  CHECK(content(folder, 3) == "nothing");
}

TEST_CASE("A save that is killed anywhere leaves the old checkpoint or the new one") {
  const Folder base;
  const checkpoint::CheckpointFolder folder(base.path);
  folder.save(filled(), parts, bytes_of(0));
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 3; ++i) folder.save(filled(), parts, bytes_of(0));
  const std::chrono::duration<double, std::micro> three = std::chrono::steady_clock::now() - start;
  std::mt19937 random(1);
  int saves = 0, killed = 0;
  // A busy machine gets as many more rounds as it needs until some saves have ended before their kill.
  for (int round = 0; round < 60 || (saves < 5 && round < 5000); ++round) {
    int begun[2];
    REQUIRE(pipe(begun) == 0);
    const pid_t child = fork();
    if (child == 0) {
      if (::write(begun[1], "", 1) != 1) _exit(1);
      for (int save = 1; save < 100; ++save) folder.save(filled(), parts, bytes_of(save));
      _exit(0);
    }
    char byte = 0;
    REQUIRE(read(begun[0], &byte, 1) == 1);
    close(begun[0]), close(begun[1]);
    usleep(static_cast<useconds_t>(three.count() * static_cast<double>(random()) / 0x1p32));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    killed += WIFSIGNALED(status);
    const std::string bytes = folder.read(folder.manifest(), "run");
    REQUIRE(bytes.size() == 50003);
    saves += bytes.back() != 0;
    REQUIRE(content(folder, bytes.back()) == "nothing");
  }
  CHECK(killed >= 50);
  CHECK(saves >= 5);
}

namespace {
/// The CRC-32 of RFC 1952, bit by bit.
std::uint32_t checksum(const std::string& text) {
  std::uint32_t c = 0xffffffffu;
  for (const char letter : text) {
    c ^= static_cast<unsigned char>(letter);
    for (int b = 0; b < 8; ++b) c = (c >> 1) ^ (c & 1 ? 0xedb88320u : 0u);
  }
  return ~c;
}
std::string with_checksum(const std::string& text) {
  char end[16];
  std::snprintf(end, sizeof end, "end %08x\n", checksum(text));
  return text + end;
}
}  // namespace

TEST_CASE("A manifest whose checksum is made right is refused all the same where a field is not") {
  const std::string head = "pcomp checkpoint 1\n", file = "file run run.1.pt 10 0000002a\n";
  const auto says = [](const std::string& text) {
    return thrown([&] { static_cast<void>(checkpoint::parse_manifest(with_checksum(text), "m")); });
  };
  CHECK(says(head + "generation 1\nepoch 2\nstep 3\nstages 2\nschedule s\nwire Raw\nnote k v\n" + file) ==
        "nothing");
  CHECK(checkpoint::parse_manifest(with_checksum(head + file), "m").files.at(0).crc == 42);
  const std::string damaged = "pcomp: m: this manifest is damaged or no manifest of a checkpoint";
  for (const char* line : {"file run ../run.1.pt 10 0000002a",
                           "file run a/b 10 0000002a",
                           "file run /etc/passwd 10 0000002a",
                           "file run  10 0000002a",
                           "file run run.1.pt 10",
                           "file run run.1.pt ten 0000002a",
                           "file run run.1.pt 10x 0000002a",
                           "file run run.1.pt -1 0000002a",
                           "file run run.1.pt 10 0000002g",
                           "file run run.1.pt 10 100000000",
                           "file run run.1.pt 99999999999999999999 0000002a",
                           "file run",
                           "file",
                           "epoch",
                           "epoch x",
                           "epoch 1x",
                           "step ",
                           "step 0x10",
                           "stages 1.5",
                           "stages 99999999999",
                           "generation one",
                           "something else",
                           "",
                           "End 00000000"}) {
    INFO(line);
    CHECK(says(head + line + "\n") == damaged);
  }
  CHECK(says(head + file + "end 00000000\n") == damaged);  // two ends
  CHECK(says("pcomp checkpoint\n") == damaged);
  CHECK(says("pcomp checkpoint 1x\n") == damaged);
  CHECK(says("pcomp checkpoint 2\n") == "pcomp: m: this checkpoint has version 2, expected 1");
  CHECK(says("pcomp  checkpoint 1\n") == "pcomp: m: this is no manifest of a checkpoint");
}

TEST_CASE("A clean-up removes this checkpoint's older parts, and nothing that is not the checkpoint's own") {
  const Folder base;
  const checkpoint::CheckpointFolder folder(base.path);
  for (int save : {1, 2, 3}) folder.save(filled(), parts, bytes_of(save));
  const std::vector<std::string> foreign{"stage-0.1.txt", "stage-0.1",       "stage-0.1.npz", "stage-0.x.pt",
                                         "stage-0..pt",   "stage-0.9.pt",    "stage-00.1.pt", "xstage-0.1.pt",
                                         "stage-01.pt",   "stage-0.mine.pt", "run.csv",       "stage-2.1.pt"};
  for (const std::string& name : foreign) write(base.path / name, "mine");
  write(base.path / "stage-0.1.pt", "left by a crash");
  write(base.path / "run.2.pt.part", "left by a crash");
  folder.save(filled(), parts, bytes_of(4));
  for (const std::string& name : foreign) {
    INFO(name);
    CHECK(text_of(base.path / name) == "mine");
  }
  CHECK_FALSE(fs::exists(base.path / "stage-0.1.pt"));
  CHECK_FALSE(fs::exists(base.path / "run.2.pt.part"));
  CHECK(content(folder, 4) == "nothing");
}

TEST_CASE("A folder in a part's place is a file that cannot be read, not one that is damaged") {
  const Folder base;
  const checkpoint::CheckpointFolder folder(base.path);
  folder.save(filled(), parts, bytes_of(1));
  const fs::path part = base.path / "stage-1.1.pt";
  fs::remove(part);
  fs::create_directory(part);
  CHECK(content(folder, 1) == "pcomp: cannot read " + part.string());
}
