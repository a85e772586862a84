#pragma once
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "../schedule/draw.hpp"

namespace pcomp::viz {

/// The text chart for standard output: as wide as the terminal and in colour, where there is one.
///
/// Law: no colour without a terminal, with a non-empty NO_COLOR, or with TERM unset or dumb.
/// Example: examples/040-schedules
inline schedule::TextChart terminal_chart() {
  schedule::TextChart chart;
  if (!::isatty(STDOUT_FILENO)) return chart;
  winsize window{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0) chart.width = window.ws_col;
  const char* const no_colour = std::getenv("NO_COLOR");
  const char* const kind = std::getenv("TERM");
  chart.colour = !(no_colour && *no_colour) && kind && std::string_view(kind) != "dumb";
  return chart;
}

}  // namespace pcomp::viz
