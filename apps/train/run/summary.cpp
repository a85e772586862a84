#include "summary.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <pcomp/base/error.hpp>
#include <string_view>

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

}  // namespace

std::string to_json(const Summary& s) {
  Json settings = Json::object();
  for (const auto& [option, value] : identity(s.settings))
    settings[option] = is_number(value) ? Json::parse(value) : Json(value);
  Json boundaries = Json::array();
  for (const pcomp::runtime::BoundaryReport& b : s.traffic.boundaries)
    boundaries.push_back({{"edge", b.boundary},
                          {"compressed", std::ranges::count(s.cut.compressed, b.boundary) > 0},
                          {"wire", b.wire},
                          {"forward", json(b.forward)},
                          {"gradient", json(b.gradient)},
                          {"inference", json(b.inference)}});
  const Json all{{"program", "mobilenetv2-cifar10"},
                 {"version", pcomp::version},
                 {"settings", settings},
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
