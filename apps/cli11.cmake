# CLI11::CLI11 for the programs with options.
include(${CMAKE_CURRENT_LIST_DIR}/header_library.cmake)
header_library(CLI11::CLI11 CLI11 CLI/CLI.hpp https://github.com/CLIUtils/CLI11 v2.3.2)
