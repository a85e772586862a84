#include <catch2/catch.hpp>
#include <cstdint>
#include <limits>
#include <pcomp/transport/communicator.hpp>

using namespace pcomp;

namespace {

/// Several processes of which each says its text in turn; the last call sees them all.
struct Processes {
  std::vector<std::string> texts;
  std::vector<std::string> exchange(const std::string&, const std::string& text) {
    texts.push_back(text);
    return texts;
  }
};
struct Pair {
  std::int64_t a;
  double b;
};

}  // namespace

TEST_CASE("Values of any kind come from every process as they were") {
  Processes numbers, texts, pairs;
  for (const double own : {0.1, -std::numeric_limits<double>::infinity()})
    transport::gather<double>(numbers, "number", [&] { return own; });
  CHECK(transport::gather<double>(numbers, "number", [] { return 1e-310; }).values() ==
        std::vector<double>{0.1, -std::numeric_limits<double>::infinity(), 1e-310});
  const std::string odd("!\0\n+\t", 5);
  transport::gather<std::string>(texts, "text", [] { return ""; });
  const auto said = transport::gather<std::string>(texts, "text", [&] { return odd; });
  CHECK((said.failure().empty() && said.of(0).empty() && said.of(1) == odd));
  transport::gather<std::vector<Pair>>(pairs, "pairs", [] { return std::vector<Pair>(); });
  const auto all = transport::gather<std::vector<Pair>>(pairs, "pairs", [] {
                     return std::vector<Pair>{{-1, 0.5}, {std::int64_t{1} << 62, 2}};
                   }).values();
  REQUIRE((all.size() == 2 && all[0].empty() && all[1].size() == 2));
  CHECK((all[1][0].a == -1 && all[1][1].a == std::int64_t{1} << 62 && all[1][1].b == 2));
}

TEST_CASE("What one process throws is thrown with its type where its value is asked for, and nowhere else") {
  Processes some;
  transport::gather<int>(some, "number", [] { return 7; });
  transport::gather<int>(some, "number", []() -> int { throw Timeout("pcomp: rank 1 was silent", 1, 2, 3); });
  const auto said = transport::gather<int>(some, "number", []() -> int { throw Error("pcomp: no"); });
  CHECK(said.of(0) == 7);
  CHECK((said.failure(0).empty() && said.failure(2).text == "pcomp: no"));
  CHECK(said.failure().text == "pcomp: rank 1 was silent");
  Processes quiet;
  CHECK_THROWS_AS(transport::gather<int>(quiet, "number", []() -> int { throw Error(""); }).of(0), Error);
  for (const bool all : {false, true}) try {
      if (all)
        said.values();
      else
        said.of(1);
      FAIL("nothing was thrown");
    } catch (const Timeout& e) {
      CHECK((e.rank == 1 && e.stage == 2 && e.microbatch == 3));
    }
}

TEST_CASE("A value of another size than this program's is a mismatch") {
  Processes some;
  transport::gather<std::int32_t>(some, "sum", [] { return 7; });
  const auto said = transport::gather<std::int64_t>(some, "sum", [] { return std::int64_t{8}; });
  CHECK(said.of(1) == 8);
  CHECK_THROWS_AS(said.of(0), Mismatch);
  CHECK(said.failure().text == "pcomp: the sum has 4 bytes on one rank");
  const auto list = transport::gather<std::vector<Pair>>(some, "list", [] { return std::vector<Pair>(2); });
  CHECK_THROWS_AS(list.of(0), Mismatch);
}
