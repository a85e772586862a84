#include "run/summary.hpp"

#include "../../unit/cpu/catch.hpp"

using namespace cifar;

TEST_CASE("A finished run says in JSON what it sent over which boundary, and quotes what needs it") {
  Settings settings;
  settings.wire = "quant8", settings.cut = "two", settings.lr = 5e-4;
  pcomp::runtime::Report traffic;
  traffic.boundaries.resize(1);
  traffic.boundaries[0].wire = "Quant<8>";
  traffic.boundaries[0].forward = {4, 33, 33, 128};
  traffic.boundaries[0].gradient = {4, 66, 66, 256};
  Summary s{settings, find_cut("two"), traffic};
  s.data = "a \"folder\" of\tC:\\images";
  s.images = 12;
  s.accuracy = 0.125;
  const std::string json = to_json(s);
  const auto has = [&](const std::string& part) {
    INFO(json << "\nlacks " << part);
    CHECK(json.find(part) != std::string::npos);
  };
  has("\"wire\": \"quant8\", \"cut\": \"two\"");
  has("\"lr\": 5e-04");
  has("\"seed\": 1}");
  has("\"device\": \"cpu\"");
  has("\"data\": \"a \\\"folder\\\" of\\u0009C:\\\\images\"");
  has("\"images\": 12");
  has("\"accuracy\": 0.125");
  has("{\"edge\": 0, \"compressed\": true, \"wire\": \"Quant<8>\",");
  has("\"forward\": {\"messages\": 4, \"bytes\": 33, \"raw\": 128}");
  has("\"gradient\": {\"messages\": 4, \"bytes\": 66, \"raw\": 256}");
}
