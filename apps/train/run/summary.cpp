#include "summary.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <pcomp/base/error.hpp>
#include <string_view>

namespace cifar {
namespace {

std::string json_text(std::string_view text) {
  std::string q = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      q += '\\';
      q += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
      q += code;
    } else {
      q += c;
    }
  }
  return q + '"';
}

std::string number(double v) {
  char buffer[32];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, v).ptr};
}

bool is_number(std::string_view text) {
  double v = 0;
  const auto end = text.data() + text.size();
  return !text.empty() && (text[0] == '-' || (text[0] >= '0' && text[0] <= '9')) &&
         std::from_chars(text.data(), end, v).ptr == end;
}

std::string traffic(const pcomp::runtime::Traffic& t) {
  return "{\"messages\": " + std::to_string(t.messages) + ", \"bytes\": " + std::to_string(t.bytes) +
         ", \"raw\": " + std::to_string(t.raw) + "}";
}

}  // namespace

std::string to_json(const Summary& s) {
  std::string json =
      "{\n  \"program\": \"mobilenetv2-cifar10\",\n  \"version\": " + json_text(pcomp::version) +
      ",\n  \"settings\": {";
  const char* between = "";
  for (const auto& [option, value] : identity(s.settings)) {
    json += between + json_text(option) + ": " + (is_number(value) ? value : json_text(value));
    between = ", ";
  }
  json += "},\n  \"device\": " + json_text(s.settings.device) +
          ",\n  \"threads\": " + std::to_string(s.settings.threads) +
          ",\n  \"ranks\": " + std::to_string(s.ranks) + ",\n  \"data\": " + json_text(s.data) +
          ",\n  \"train_images\": " + std::to_string(s.train_images) +
          ",\n  \"test_images\": " + std::to_string(s.test_images) +
          ",\n  \"images\": " + std::to_string(s.images) + ",\n  \"accuracy\": " + number(s.accuracy) +
          ",\n  \"best_accuracy\": " + number(s.best_accuracy) + ",\n  \"seconds\": " + number(s.seconds) +
          ",\n  \"boundaries\": [";
  between = "\n";
  for (const pcomp::runtime::BoundaryReport& b : s.traffic.boundaries) {
    const bool compressed =
        std::find(s.cut.compressed.begin(), s.cut.compressed.end(), b.boundary) != s.cut.compressed.end();
    json += between;
    json += "    {\"edge\": " + std::to_string(b.boundary) +
            ", \"compressed\": " + (compressed ? "true" : "false") + ", \"wire\": " + json_text(b.wire) +
            ",\n     \"forward\": " + traffic(b.forward) + ",\n     \"gradient\": " + traffic(b.gradient) +
            ",\n     \"inference\": " + traffic(b.inference) + "}";
    between = ",\n";
  }
  return json + "\n  ]\n}\n";
}

}  // namespace cifar
