#include "run/summary.hpp"

#include <nlohmann/json.hpp>

#include "../../unit/cpu/catch.hpp"
#include "model/nominal.hpp"

using namespace cifar;

namespace {

constexpr bool is(Nominal n, double forward, double gradient) {
  const auto near = [](double a, double b) { return a - b < 1e-9 && b - a < 1e-9; };
  return near(n.forward, forward) && near(n.gradient, gradient);
}
using namespace pcomp;
static_assert(is(nominal(Raw), 1, 1) && is(nominal(Half), 0.5, 0.5) &&
              is(nominal(Quant<3>), 3 / 32., 3 / 32.));
static_assert(is(nominal(Downsample<2>), 0.25, 0.25) && is(nominal(Downsample<4, Axes<1>>), 0.25, 0.25));
static_assert(is(nominal(ErrorFeedback | TopK<Ratio<1, 20>, PerGroup<256>> | Quant<8>), 0.0125, 0.0125));
static_assert(is(nominal(Delta<> | Hadamard<64> | Quant<2>), 0.0625, 0.0625));
static_assert(is(nominal(Wire<Downsample<2> | Quant<4>, TopK<Ratio<1, 10>> | Quant<8>>{}), 0.03125, 0.00625));

}  // namespace

TEST_CASE("A finished run says in JSON what it sent over which boundary, and quotes what needs it") {
  Settings settings;
  settings.wire = "quant8", settings.cut = "two", settings.lr = 5e-4;
  pcomp::runtime::Report traffic;
  traffic.boundaries.resize(2);
  traffic.boundaries[0].wire = "Quant<8>";
  traffic.boundaries[0].forward = {4, 33, 33, 128};
  traffic.boundaries[0].gradient = {4, 66, 66, 256};
  traffic.boundaries[0].inference = {1, 8, 8, 32};
  traffic.boundaries[1].boundary = 7;
  Summary s{settings, find_cut("two"), traffic};
  s.data = "a \"folder\" of\tC:\\images \xff";
  s.images = 12;
  s.accuracy = 0.125;
  const auto json = nlohmann::json::parse(to_json(s));
  CHECK((json["settings"]["wire"] == "quant8" && json["settings"]["cut"] == "two"));
  CHECK((json["settings"]["lr"] == 5e-4 && json["settings"]["seed"] == 1));
  CHECK((json["device"] == "cpu" && json["version"] == pcomp::version));
  CHECK(json["options"] == "--lr 5e-04");
  CHECK(json["data"] == "a \"folder\" of\tC:\\images \xEF\xBF\xBD");
  CHECK((json["images"] == 12 && json["accuracy"] == 0.125));
  const auto& first = json["boundaries"][0];
  CHECK((first["edge"] == 0 && first["compressed"] == true && first["wire"] == "Quant<8>"));
  CHECK(first["forward"] == nlohmann::json({{"messages", 4}, {"bytes", 33}, {"raw", 128}}));
  CHECK(first["gradient"] == nlohmann::json({{"messages", 4}, {"bytes", 66}, {"raw", 256}}));
  CHECK(first["nominal"] == nlohmann::json({{"forward", 0.25}, {"gradient", 0.25}}));
  CHECK(first["inference"] == nlohmann::json({{"messages", 1}, {"bytes", 8}, {"raw", 32}}));
  CHECK((json["boundaries"][1]["edge"] == 7 && json["boundaries"][1]["compressed"] == false));
}
