#pragma once
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "../base/error.hpp"
#include "../transport/c10d/run_identity.hpp"
#include "atomic_file.hpp"
#include "manifest.hpp"

namespace pcomp::detail {

/// Keeps others out of a folder until the returned object goes; when its process ends, however it ends, so does the
/// lock.
///
/// Law: between processes and between pipelines of one process, also over a network file system that has locks; on one
///   without it keeps none out. The folder holds a file `in-use` meanwhile, which names the holder; left behind by a
///   process that was killed, it keeps nobody out.
/// Errors: `Error` that names folder and holder.
inline std::shared_ptr<void> lock_folder(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "in-use";
  for (;;) {
    const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0) return nullptr;  // what cannot be written here will say so itself
    const std::shared_ptr<void> open(nullptr, [file](void*) { ::close(file); });
    if (::flock(file, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return nullptr;
      char text[256];
      const auto n = ::pread(file, text, sizeof text, 0);
      std::string holder(text, static_cast<std::size_t>(n > 0 ? n : 0));
      if (holder.empty()) holder = "another process";
      throw Error("pcomp: cannot save into " + folder.string() + ": it is in use by " + holder +
                  (holder == this_process() ? ", this one, for another pipeline" : "") +
                  "; give every run a folder of its own, or wait for that one's end");
    }
    struct stat held {
    }, there{};
    if (::fstat(file, &held) != 0 || ::stat(path.c_str(), &there) != 0 || held.st_ino != there.st_ino ||
        held.st_dev != there.st_dev)
      continue;  // its holder removed it between our two calls
    const std::string own = this_process();
    if (::ftruncate(file, 0) != 0 || ::pwrite(file, own.data(), own.size(), 0) < 0) errno = 0;  // only a name
    struct Held {
      std::filesystem::path path;
      std::shared_ptr<void> open;
      ~Held() { ::unlink(path.c_str()); }
    };
    return std::shared_ptr<Held>(new Held{path, open});
  }
}

}  // namespace pcomp::detail

namespace pcomp {

/// A checkpoint, or a file of it, is missing, damaged or of another network: take another, or begin anew.
///
/// Example: docs/checkpoints.md
struct BadCheckpoint : Error {
  BadCheckpoint(const std::string& text, std::filesystem::path where) : Error(text), path(std::move(where)) {}
  std::filesystem::path path;  ///< of the file or, where no single one is to blame, of the folder
};

}  // namespace pcomp

namespace pcomp::checkpoint {

/// How the processes of a run save and load together; the defaults suit a single process.
struct Together {
  /// Exactly one process writes the manifest.
  bool writes_manifest = true;
  /// Every process calls it at the same points with its own error, or nothing, and waits for the others; all get the
  /// same answer: one of the errors, or nothing.
  std::function<std::string(const std::string&)> check_agreement = [](const std::string& error) {
    return error;
  };
  /// The caller holds the folder, with `CheckpointFolder::hold`, on the process that writes the manifest.
  bool held = false;
};

/// A folder with one checkpoint: a file for each part and, written last, the manifest that names them.
///
/// Law: at every moment the folder holds the last checkpoint intact, whatever crashes, fills up or is killed: new files
///   are kept beside the old ones until the new manifest is in place. Each process writes only its own parts. One save
///   at a time: the folder is locked.
/// Bytes: one checkpoint between saves, two during a save.
/// Errors: `Error` that names the folder and its holder if another run saves into it; `Error` that names the file,
///   the same on every process, if a save fails anywhere; `BadCheckpoint` for a file that is missing or not of the
///   manifest's length or checksum.
/// Example: docs/checkpoints.md
class CheckpointFolder {
 public:
  explicit CheckpointFolder(std::filesystem::path folder) : folder_(std::move(folder)) {}

  [[nodiscard]] bool holds_one() const { return std::filesystem::exists(folder_ / "manifest"); }
  [[nodiscard]] Manifest manifest() const {
    if (!holds_one())
      throw BadCheckpoint("pcomp: " + folder_.string() + ": there is no such checkpoint", folder_);
    const std::filesystem::path path = folder_ / "manifest";
    const std::string text = read_file(path);
    try {
      return parse_manifest(text, path.string());
    } catch (const Error& e) {
      throw BadCheckpoint(e.what(), path);
    }
  }

  /// Keeps every other run, and every other pipeline of this one, from saving here until the returned object goes.
  ///
  /// Errors: `Error` that names the folder and who holds it.
  std::shared_ptr<void> hold() const {
    std::error_code failed;
    std::filesystem::create_directories(folder_, failed);
    return failed ? nullptr : detail::lock_folder(folder_);  // `save` says what failed
  }
  /// The same for every way to write the folder's name.
  std::string name() const {
    std::error_code failed;
    const auto path = std::filesystem::weakly_canonical(std::filesystem::absolute(folder_, failed), failed);
    return (failed ? folder_ : path).string();
  }

  /// The bytes of one part.
  [[nodiscard]] std::string read(const Manifest& m, std::string_view part) const {
    for (const Manifest::File& f : m.files)
      if (f.part == part) {
        const std::filesystem::path path = folder_ / f.name;
        std::string bytes = read_file(path);
        if (bytes.size() != f.size || detail::crc32(bytes) != f.crc)
          throw BadCheckpoint("pcomp: " + path.string() + ": this file is damaged: the manifest says " +
                                  std::to_string(f.size) + " bytes with checksum " + hex(f.crc) +
                                  ", these are " + std::to_string(bytes.size()) + " with " +
                                  hex(detail::crc32(bytes)),
                              path);
        return bytes;
      }
    throw BadCheckpoint(
        "pcomp: " + folder_.string() + ": the manifest names no file for " + std::string(part), folder_);
  }

  /// Writes `mine`, keyed by part; `parts` are those of all processes.
  void save(Manifest m, const std::vector<std::string>& parts, const std::map<std::string, std::string>& mine,
            const Together& together = {}) const {
    std::vector<std::filesystem::path> written;
    const auto step = [&](auto&& body) {
      std::string error;
      try {
        body();
      } catch (const std::exception& e) {
        error = e.what();
      }
      if (error = together.check_agreement(error); error.empty()) return;
      std::error_code none;
      for (const auto& path : written) std::filesystem::remove(path, none);
      throw Error(error);
    };
    std::shared_ptr<void> held;
    if (!together.held)
      step([&] {
        if (together.writes_manifest) held = hold();
      });
    step([&] {
      std::error_code failed;
      std::filesystem::create_directories(folder_, failed);
      if (failed) throw Error("pcomp: cannot make the folder " + folder_.string() + ": " + failed.message());
      m.generation = holds_one() ? manifest().generation + 1 : 1;
      for (const auto& [part, bytes] : mine) {
        written.push_back(folder_ / file_name(part, m.generation));
        atomic_write_file(written.back(), bytes);
      }
    });
    step([&] {
      if (!together.writes_manifest) return;
      m.files.clear();
      for (const std::string& part : parts) m.files.push_back(entry(part, m.generation));
      atomic_write_file(folder_ / "manifest", to_text(m));
    });
    if (together.writes_manifest) remove_older(m);
  }

 private:
  static std::string file_name(const std::string& part, std::int64_t generation) {
    return part + "." + std::to_string(generation) + ".pt";
  }
  static std::string hex(std::uint32_t crc) {
    char text[16];
    std::snprintf(text, sizeof text, "%08x", crc);
    return text;
  }

  Manifest::File entry(const std::string& part, std::int64_t generation) const {
    const std::string name = file_name(part, generation);
    if (!std::filesystem::exists(folder_ / name))
      throw Error("pcomp: cannot save " + folder_.string() + ": " + name +
                  " is not there: every rank must see the same folder");
    const std::string bytes = read_file(folder_ / name);
    return {part, name, bytes.size(), detail::crc32(bytes)};
  }

  static std::string read_file(const std::filesystem::path& path) {
    std::string bytes;
    std::FILE* const file = std::fopen(path.c_str(), "rb");
    if (!file) throw BadCheckpoint("pcomp: cannot read " + path.string() + ": " + std::strerror(errno), path);
    char chunk[1 << 16];
    for (std::size_t n = 0; (n = std::fread(chunk, 1, sizeof chunk, file)) > 0;) bytes.append(chunk, n);
    const bool failed = std::ferror(file) != 0;
    std::fclose(file);
    if (failed) throw BadCheckpoint("pcomp: cannot read " + path.string(), path);
    return bytes;
  }

  /// Removes files of these parts that older saves left; one that cannot be removed does no harm.
  void remove_older(const Manifest& m) const {
    std::error_code none;
    std::vector<std::filesystem::path> old;
    for (const auto& entry : std::filesystem::directory_iterator(folder_, none)) {
      const std::string name = entry.path().filename().string();
      for (const Manifest::File& f : m.files)
        if (const std::size_t n = f.part.size() + 1; name.starts_with(f.part + ".")) {
          std::int64_t generation = m.generation;
          const char* const end = name.data() + name.size();
          const auto number = std::from_chars(name.data() + n, end, generation);
          if (number.ec == std::errc() && generation < m.generation &&
              std::string_view(number.ptr, end).starts_with(".pt"))
            old.push_back(entry.path());
        }
    }
    for (const auto& path : old) std::filesystem::remove(path, none);
  }

  std::filesystem::path folder_;
};

}  // namespace pcomp::checkpoint
