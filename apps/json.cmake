# nlohmann_json::nlohmann_json for the programs that write JSON.
include(${CMAKE_CURRENT_LIST_DIR}/header_library.cmake)
header_library(nlohmann_json::nlohmann_json nlohmann_json nlohmann/json.hpp https://github.com/nlohmann/json v3.11.3)
