#include "progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace cifar {
namespace {

double since(std::chrono::steady_clock::time_point t) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - t).count();
}

template <class... A>
std::string print(const char* format, A... a) {
  char buffer[256];
  std::snprintf(buffer, sizeof buffer, format, a...);
  return buffer;
}

int columns() {
  winsize w{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
}

}  // namespace

std::string bytes_text(double bytes) {
  const char* units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  int u = 0;
  while (bytes >= 1000 && u < 5) bytes /= 1000, ++u;
  return print(u == 0 || bytes >= 100 ? "%.0f %s" : bytes >= 10 ? "%.1f %s" : "%.2f %s", bytes, units[u]);
}

std::string time_text(double seconds) {
  const auto s = static_cast<long>(seconds + 0.5);
  if (s < 60) return print("%ld s", s);
  if (s < 3600) return print("%ld min %02ld s", s / 60, s % 60);
  return print("%ld h %02ld min", s / 3600, s % 3600 / 60);
}

Progress::Progress(std::string label, std::int64_t images, double seconds_between_lines)
    : label_(std::move(label)),
      images_(images),
      between_(seconds_between_lines),
      terminal_(isatty(STDOUT_FILENO) == 1),
      begin_(std::chrono::steady_clock::now()),
      drawn_(begin_) {}

double Progress::seconds() const { return since(begin_); }

void Progress::update(std::int64_t done, double loss, double sent) {
  if (since(drawn_) < (terminal_ ? 0.1 : between_)) return;
  drawn_ = std::chrono::steady_clock::now();
  const double share = static_cast<double>(done) / static_cast<double>(std::max<std::int64_t>(1, images_));
  const double rate = static_cast<double>(done) / std::max(1e-9, seconds());
  const double left = static_cast<double>(images_ - done) / std::max(1e-9, rate);
  const std::string facts = print(" %3.0f %%  loss %.3f  %.0f images/s  %s left  %s sent", 100 * share, loss,
                                  rate, time_text(left).c_str(), bytes_text(sent).c_str());
  if (!terminal_) {
    std::printf("%s%s\n", label_.c_str(), facts.c_str());
    std::fflush(stdout);
    return;
  }
  const int room = columns() - 1 - static_cast<int>(label_.size() + facts.size()) - 3;
  std::string bar;
  if (room >= 5) {
    const int width = std::min(room, 30), full = static_cast<int>(share * width);
    bar = " [" + std::string(static_cast<std::size_t>(full), '=') +
          std::string(static_cast<std::size_t>(width - full), ' ') + "]";
  }
  const std::string line =
      (label_ + bar + facts).substr(0, static_cast<std::size_t>(std::max(1, columns() - 1)));
  std::printf("\r\033[K%s", line.c_str());
  std::fflush(stdout);
}

void Progress::finish() {
  if (!terminal_) return;
  std::printf("\r\033[K");
  std::fflush(stdout);
}

}  // namespace cifar
