#pragma once
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <string>

#include "../base/error.hpp"
#include "../transport/run_identity.hpp"

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
