#include <pcomp/core.hpp>
#include <pcomp/plan/simulate.hpp>
#include <pcomp/viz/chrome_trace.hpp>
#include <pcomp/viz/svg.hpp>

#include "catch.hpp"

using namespace pcomp;

namespace {

int count(const std::string& text, const std::string& part) {
  int n = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++n;
  return n;
}

}  // namespace

TEST_CASE("A table as text") {
  CHECK(Schedule<OneFOneB, 3, 4>::draw() ==
        "1F1B, 3 stages on 3 ranks, 4 micro-batches: 12 ticks, bubble 33.3 %\n"
        "rank  0 | F0 F1 F2 .  .  B0 F3 B1 .  B2 .  B3\n"
        "rank  1 | .  F0 F1 .  B0 F2 B1 F3 B2 .  B3 .\n"
        "rank  2 | .  .  F0 B0 F1 B1 F2 B2 F3 B3 .  .\n"
        "Fm, Bm: forward and backward of micro-batch m\n");
  CHECK(make_schedule(ZeroBubble{}, 2, 2, {0, 0}).draw() ==
        "zero bubble (ZB-H1), 2 stages on 1 rank, 2 micro-batches: 12 ticks, bubble 0.0 %\n"
        "rank  0 | F0.0 F1.0 F0.1 B1.0 F1.1 B0.0 B1.1 W0.0 W1.0 B0.1 W1.1 W0.1\n"
        "Fs.m, Bs.m: forward and backward of stage s, micro-batch m; W: gradients of weights\n");
}

TEST_CASE("A table that is too wide takes a column a tick, then several blocks") {
  const auto table = make_schedule(OneFOneB{}, 2, 12);
  CHECK(table.draw(schedule::TextChart{.width = 50}) ==
        "1F1B, 2 stages on 2 ranks, 12 micro-batches: 26 ticks, bubble 7.7 %\n"
        "rank  0 | 01.a2b3c4d5e6f7g8h9i0j1a.b\n"
        "rank  1 | .0a1b2c3d4e5f6g7h8i9j0a1b.\n"
        "a digit: forward of the micro-batch that ends in it; a letter: backward, a for 0\n");
  const std::string blocks = table.draw(schedule::TextChart{.width = 30});
  CHECK(blocks.find("rank  0 | 01.a2b3c4d5e6f7g8h9i\nrank  1 | .0a1b2c3d4e5f6g7h8i9\n"
                    "rank  0 | 0j1a.b\nrank  1 | j0a1b.\n") != std::string::npos);
  const std::string colours = table.draw(schedule::TextChart{.colour = true});
  CHECK(count(colours, "\033[0;30;104m") == 24);
  CHECK(count(colours, "\033[0;30;102m") == 24);
}

TEST_CASE("The same charts draw a trace in seconds") {
  plan::Costs c;
  c.stages.assign(2, {0.25, 0.5, 0});
  c.bytes = {{1000, 1000}};
  c.links = {{4000, 0}};
  const schedule::Trace trace = plan::simulate(make_schedule(OneFOneB{}, 2, 2), c).trace;
  CHECK(trace.end() == 2.75);
  CHECK(trace.draw(schedule::TextChart{.width = 54}) ==
        "1F1B, 2 stages on 2 ranks, 2 micro-batches, simulated: 2.75 s\n"
        "rank  0 | F0--F1--................B0------....B1------\n"
        "rank  1 | ........F0--B0------F1--B1------............\n"
        "Fm, Bm: forward and backward of micro-batch m; the whole is 2.75 s\n");
  const std::string svg = trace.draw(viz::SvgChart{});
  CHECK(count(svg, "<rect ") == 1 + 1 + 2 + 8 + 3);  // pattern, page, lanes, computations, legend
  CHECK(count(svg, "marker-end") == 4);
  const std::string json = trace.draw(viz::ChromeTrace{});
  CHECK(count(json, "\"cat\": \"Forward\"") == 4);
  CHECK(count(json, "\"cat\": \"Backward\"") == 4);
  CHECK(count(json, "\"ph\": \"s\"") == 4);
  CHECK(count(json, "\"ph\": \"f\"") == 4);
  CHECK(json.find("\"ts\": 250000.000, \"dur\": 250000.000") != std::string::npos);
}

TEST_CASE("Titles are escaped") {
  schedule::Trace trace;
  trace.title = "a < b & \"c\"\\";
  trace.ranks.resize(1);
  CHECK(trace.draw(viz::SvgChart{}).find("a &lt; b &amp; \"c\"\\</text>") != std::string::npos);
  CHECK(trace.draw(viz::ChromeTrace{}).find("\"a < b & \\\"c\\\"\\\\\"") != std::string::npos);
  CHECK(trace.draw() ==
        "a < b & \"c\"\\\nrank  0 |\nFm, Bm: forward and backward of micro-batch m; the whole is 0 s\n");
}

TEST_CASE("A chart that fits exactly is not squeezed, and one column less is") {
  const auto table = make_schedule(OneFOneB{}, 2, 4);  // 10 ticks of 3 columns, beside 10 for the rank
  CHECK(table.ticks == 10);
  const std::string whole = table.draw();
  CHECK(whole.find("rank  0 | F0 F1") != std::string::npos);
  CHECK(table.draw(schedule::TextChart{.width = 40}) == whole);
  CHECK(table.draw(schedule::TextChart{.width = 39}).find("rank  0 | 01.a") != std::string::npos);
  const auto twelve = make_schedule(GPipe{}, 12, 1);
  CHECK(twelve.draw().find("\nrank  9 | ") != std::string::npos);
  CHECK(twelve.draw().find("\nrank 10 | ") != std::string::npos);
  CHECK(twelve.draw().find("\nrank 11 | ") != std::string::npos);
}

TEST_CASE("The arrows of a chart go from lane to lane, and a tick is a millisecond") {
  const schedule::Trace trace =
      make_schedule(OneFOneB{}, 2, 1).trace();  // F on rank 0, F and B on rank 1, B on rank 0
  REQUIRE(trace.end() == 4);
  viz::SvgChart chart;
  chart.width = 58 + 14 + 400;  // so that a tick is 100 pixels
  const std::string svg = trace.draw(chart);
  // Down from the end of the forward to the next lane's top, up from the end of its backward to the first's bottom.
  CHECK(svg.find("<line x1=\"158.00\" y1=\"58.00\" x2=\"158.00\" y2=\"71.00\"") != std::string::npos);
  CHECK(svg.find("<line x1=\"358.00\" y1=\"71.00\" x2=\"358.00\" y2=\"58.00\"") != std::string::npos);
  const std::string json = trace.draw(viz::ChromeTrace{});
  CHECK(
      json.find("\"name\": \"B0\", \"cat\": \"Backward\", \"pid\": 0, \"tid\": 0, \"ts\": 3000.000, \"dur\": "
                "1000.000, \"args\": {\"stage\": 0, \"micro\": 0}}") != std::string::npos);
  CHECK(json.find("\"name\": \"gradient\", \"cat\": \"message\", \"pid\": 0, \"tid\": 1, \"ts\": 3000.000") !=
        std::string::npos);
}
