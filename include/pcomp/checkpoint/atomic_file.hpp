#pragma once
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>

#include "../base/error.hpp"

namespace pcomp::checkpoint {

/// Writes a file whole or not at all: a crash, a full disk or a kill at any point leaves the old one as it was.
///
/// Law: on return the new bytes are on disk under `path`; after `Error` nothing there has changed.
/// Errors: `Error` that names the file, what failed and why.
/// Example: apps/train
inline void atomic_write_file(const std::filesystem::path& path, std::string_view bytes) {
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  const std::string temporary = path.string() + ".part";
  const auto fail = [&](const char* what, int error) {
    ::unlink(temporary.c_str());
    throw Error("pcomp: cannot save " + path.string() + ": " + what + ": " + std::strerror(error) +
                "; the file that was there before is unchanged");
  };
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) fail("opening a file beside it", errno);
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::write(file, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      ::close(file);
      fail("writing", error);
    }
    done += static_cast<std::size_t>(n);
  }
  if (::fsync(file) != 0) {
    const int error = errno;
    ::close(file);
    fail("flushing to the disk", error);
  }
  if (::close(file) != 0) fail("closing", errno);
  if (::rename(temporary.c_str(), path.c_str()) != 0) fail("renaming", errno);
  if (const int f = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); f >= 0) {
    ::fsync(f);
    ::close(f);
  }
}

}  // namespace pcomp::checkpoint
