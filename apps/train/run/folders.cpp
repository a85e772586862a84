#include "folders.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <pcomp/base/error.hpp>

namespace cifar {

namespace fs = std::filesystem;

fs::path new_folder(const Settings& s) {
  fs::create_directories("runs");
  const std::string base = "runs/" + s.wire + "-" + s.cut;
  for (int n = 1;; ++n)
    if (const fs::path folder = n == 1 ? base : base + "-" + std::to_string(n); fs::create_directory(folder))
      return folder;
}

fs::path latest_run() {
  std::optional<fs::directory_entry> latest;
  std::error_code none;
  for (const auto& run : fs::directory_iterator("runs", none))
    if (const fs::directory_entry c(run.path() / "checkpoint" / "manifest");
        c.exists() && (!latest || c.last_write_time() > latest->last_write_time()))
      latest = c;
  if (!latest)
    throw pcomp::Error("--resume: there is no run in runs/ to go on with; name its folder with --out");
  return latest->path().parent_path().parent_path();
}

std::shared_ptr<void> hold(const fs::path& folder) {
  const fs::path path = folder / "in-use";  // not `lock`, which is the study's
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0) throw pcomp::Error("cannot write " + path.string() + ": " + std::strerror(errno));
  std::shared_ptr<void> held(nullptr, [file](void*) { ::close(file); });
  if (::flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    throw pcomp::Error(folder.string() +
                       " is in use: another run trains in it; wait for its end, or choose another --out");
  return held;
}

}  // namespace cifar
