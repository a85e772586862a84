#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace cifar {

/// "3.4 MB", "12 s", "1 h 02 min".
std::string bytes_text(double bytes);
std::string time_text(double seconds);

/// An epoch's progress: a bar redrawn in place on a terminal; elsewhere a plain line now and then.
class Progress {
 public:
  Progress(std::string label, std::int64_t images, double seconds_between_lines = 30);
  void update(std::int64_t images_done, double loss, double bytes_sent);
  /// Erases the bar from a terminal; elsewhere does nothing.
  void finish();
  double seconds() const;

 private:
  std::string label_;
  std::int64_t images_;
  double between_;
  bool terminal_;
  std::chrono::steady_clock::time_point begin_, drawn_;
};

}  // namespace cifar
