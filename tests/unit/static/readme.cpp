#include <cstdio>
#include <fstream>
#include <pcomp/core.hpp>
#include <sstream>

#include "../cpu/catch.hpp"

using namespace pcomp;

namespace {

std::string file(const std::string& name) {
  std::ifstream in(PCOMP_SOURCE_DIR "/" + name);
  REQUIRE(in);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string trimmed(std::string s) {
  const auto begin = s.find_first_not_of(' '), end = s.find_last_not_of(' ');
  return begin == std::string::npos ? "" : s.substr(begin, end - begin + 1);
}

/// The first cells of a wire's row in the README's table, beginning with the wire as the README spells it.
template <codec::AnyWire W>
std::string row(std::string spelling, W w) {
  using Act = Shape<64, 32, 32, 32>;
  const double elements = static_cast<double>(Extents(Act{}).size());
  for (std::size_t at = 0; (at = spelling.find('|', at)) != std::string::npos; at += 2)
    spelling.insert(at, "\\");  // a bar inside a cell
  char bits[64];
  std::snprintf(bits, sizeof bits, "` | %.2f | %.2f | ",
                8 * static_cast<double>(wire_bytes(w, Act{})) / elements,
                8 * static_cast<double>(grad_wire_bytes(w, Act{})) / elements);
  return "| `" + spelling + bits;
}
#define ROW(...) row(#__VA_ARGS__, __VA_ARGS__)

}  // namespace

TEST_CASE("the README's table of codecs is what wire_bytes says", "[readme]") {
  const std::vector<std::string> rows{ROW(Raw),
                                      ROW(Half),
                                      ROW(BFloat16),
                                      ROW(Quant<16>),
                                      ROW(Quant<8>),
                                      ROW(Quant<4>),
                                      ROW(Quant<4, PerTensor, Stochastic>),
                                      ROW(Hadamard<64> | Quant<4>),
                                      ROW(Quant<1>),
                                      ROW(Step<Ratio<1, 16>>),
                                      ROW(Downsample<2>),
                                      row("Downsample<2, Axes<1>>", Downsample<2, Axes<1>>),
                                      ROW(TopK<Ratio<1, 10>>),
                                      ROW(TopK<Ratio<1, 20>>),
                                      ROW(TopK<Ratio<1, 10>> | Quant<8>),
                                      ROW(Downsample<2> | TopK<Ratio<1, 10>> | Quant<8>),
                                      row("Wire<Quant<4>, Quant<8>>", Wire<Quant<4>, Quant<8>>{}),
                                      ROW(ErrorFeedback | TopK<Ratio<1, 10>> | Quant<8>),
                                      ROW(EF21 | Quant<4>),
                                      ROW(Delta<> | Quant<4>)};
  const std::string readme = file("README.md");
  const auto begin = readme.find("| wire | activation |"), end = readme.find("\n\n", begin);
  REQUIRE(end != std::string::npos);
  std::istringstream table(readme.substr(begin, end - begin));
  std::string line;
  std::getline(table, line), std::getline(table, line);  // the table's head
  for (const std::string& expected : rows) {
    REQUIRE(std::getline(table, line));
    CHECK(line.substr(0, expected.size()) == expected);
  }
  CHECK_FALSE(std::getline(table, line));
}

TEST_CASE("the README's program is made of lines of the example, in their order", "[readme]") {
  const std::string readme = file("README.md"), example = file("examples/050-first-program/main.cpp");
  const auto begin = readme.find("```cpp\n") + 7, end = readme.find("```", begin);
  REQUIRE(end != std::string::npos);
  std::istringstream program(readme.substr(begin, end - begin));
  std::size_t at = 0;
  for (std::string line; std::getline(program, line);) {
    CAPTURE(line);
    const auto found = example.find(trimmed(line), at);
    REQUIRE(found != std::string::npos);
    at = found + trimmed(line).size();
  }
}

TEST_CASE("the README's and the picture's schedule is the one that runs", "[readme]") {
  const std::string drawn = Schedule<OneFOneB, 3, 8>::draw();
  CHECK(file("README.md").find("```\n" + drawn + "```") != std::string::npos);
  std::string lanes, picture = file("docs/pipeline.svg");
  for (std::size_t at = 0; (at = drawn.find(" | ", at)) != std::string::npos;) {
    const auto end = drawn.find('\n', at);
    std::istringstream cells(drawn.substr(at + 3, end - at - 3));
    for (std::string cell; cells >> cell;) lanes += cell + ' ';
    at = end;
  }
  // In the picture a lane is a group, and a cell is an idle rectangle or a rectangle followed by its text.
  std::string shown;
  for (std::size_t at = 0; (at = picture.find("<g class=\"lane\">", at)) != std::string::npos;) {
    const auto end = picture.find("</g>", at);
    std::istringstream parts(picture.substr(at, end - at));
    for (std::string part; std::getline(parts, part);) {
      if (part.find("class=\"idle\"") != std::string::npos) shown += ". ";
      if (const auto text = part.find("</text>"); part.find("class=\"middle text-") != std::string::npos)
        shown += part.substr(part.rfind('>', text) + 1, text - part.rfind('>', text) - 1) + ' ';
    }
    at = end;
  }
  CHECK(shown == lanes);
}
