#include "summary.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <pcomp/base/error.hpp>
#include <string_view>

#include "../model/nominal.hpp"
#include "../model/wires.hpp"

namespace cifar {
namespace {

using Json = nlohmann::ordered_json;

bool is_number(std::string_view text) {
  double v = 0;
  const auto end = text.data() + text.size();
  return !text.empty() && (text[0] == '-' || (text[0] >= '0' && text[0] <= '9')) &&
         std::from_chars(text.data(), end, v).ptr == end;
}

Json json(const pcomp::runtime::Traffic& t) {
  return {{"messages", t.messages}, {"bytes", t.bytes}, {"raw", t.raw}};
}

/// The options in which a run differs from its recipe; wire, cut and seed are always given.
std::string overrides(const Settings& s) {
  std::string words;
  const auto usual = identity(recipe(s.recipe)), own = identity(s);
  for (std::size_t i = 0; i < own.size(); ++i) {
    const auto& [option, value] = own[i];
    if (option == "wire" || option == "cut" || option == "seed" || value == usual[i].second) continue;
    words += (words.empty() ? "--" : " --") + option + (value == "true" ? "" : " " + value);
  }
  return words;
}

}  // namespace

std::string to_json(const Summary& s) {
  Json settings = Json::object();
  for (const auto& [option, value] : identity(s.settings))
    settings[option] = is_number(value) ? Json::parse(value) : Json(value);
  Json boundaries = Json::array();
  const std::vector<NamedWire> chosen = wires_at(s.settings.wire, s.cut);
  for (const pcomp::runtime::BoundaryReport& b : s.traffic.boundaries) {
    Json boundary{
        {"edge", b.boundary},         {"compressed", false},          {"wire", b.wire},
        {"forward", json(b.forward)}, {"gradient", json(b.gradient)}, {"inference", json(b.inference)}};
    const auto at = std::ranges::find(s.cut.compressed, b.boundary);
    if (at != s.cut.compressed.end()) {
      const Nominal n = nominal(chosen[static_cast<std::size_t>(at - s.cut.compressed.begin())].name);
      boundary["compressed"] = true;
      boundary["nominal"] = {{"forward", n.forward}, {"gradient", n.gradient}};
    }
    boundaries.push_back(boundary);
  }
  const Json all{{"program", "mobilenetv2-cifar10"},
                 {"version", pcomp::version},
                 {"settings", settings},
                 {"options", overrides(s.settings)},
                 {"device", s.settings.device},
                 {"threads", s.settings.threads},
                 {"ranks", s.ranks},
                 {"data", s.data},
                 {"train_images", s.train_images},
                 {"test_images", s.test_images},
                 {"images", s.images},
                 {"accuracy", s.accuracy},
                 {"best_accuracy", s.best_accuracy},
                 {"seconds", s.seconds},
                 {"boundaries", boundaries}};
  // A path may hold bytes that are no UTF-8.
  return all.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace cifar
