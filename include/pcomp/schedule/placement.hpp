#pragma once
#include <algorithm>
#include <array>
#include <initializer_list>
#include <vector>

#include "../core/error.hpp"
#include "../core/refuse.hpp"
#include "policy.hpp"

namespace pcomp {

/// Stage s on rank s.
struct OneStagePerRank {
  static constexpr int rank(int stage) { return stage; }
};

/// Stage s on the s-th rank of the list; a rank may come again, as in `Placement<0, 1, 2, 3, 0>`.
///
/// Law: every rank from 0 up has a stage; neighbours on one rank exchange no messages.
/// Refusals: not one rank for every stage, or a rank left out.
/// Example: docs/schedules.md
template <int... Ranks>
struct Placement {
  static constexpr int size = sizeof...(Ranks);
  static constexpr int rank(int stage) {
    constexpr std::array<int, sizeof...(Ranks)> ranks{Ranks...};
    return ranks[static_cast<std::size_t>(stage)];
  }
};

/// Stage s on rank s mod `Ranks`.
template <int Ranks>
struct RoundRobin {
  static constexpr int rank(int stage) { return stage % Ranks; }
};

namespace detail {

/// How many ranks a map uses, or 0 where one below the highest is left out or negative.
template <class Map>
constexpr int count_ranks(const Map& rank_of) {
  int highest = -1;
  for (int r : rank_of) {
    if (r < 0) return 0;
    highest = std::max(highest, r);
  }
  if (highest >= static_cast<int>(rank_of.size())) return 0;
  auto used = filled<char>(static_cast<std::size_t>(highest) + 1, 0);
  for (int r : rank_of) used[static_cast<std::size_t>(r)] = 1;
  for (char u : used)
    if (!u) return 0;
  return highest + 1;
}

}  // namespace detail

/// Where each stage goes, at run time: a list of ranks, `round_robin(n)`, a placement type's value, or none.
///
/// Law: `RankMap(P{}).resolve(n)[s] == P::rank(s)`.
/// Errors: `resolve` throws `Error` with the text of the compile-time refusal.
/// Example: docs/schedules.md
class RankMap {
 public:
  RankMap() = default;
  RankMap(OneStagePerRank) {}
  RankMap(std::vector<int> ranks) : ranks_(std::move(ranks)) {}
  RankMap(std::initializer_list<int> ranks) : ranks_(ranks) {}
  template <int... Ranks>
  RankMap(Placement<Ranks...>) : ranks_{Ranks...} {}
  template <int Ranks>
  RankMap(RoundRobin<Ranks>) : modulus_(Ranks) {}
  static RankMap modulo(int ranks) {
    if (ranks < 1) throw Error("pcomp: round_robin needs at least 1 rank, not " + std::to_string(ranks));
    RankMap map;
    map.modulus_ = ranks;
    return map;
  }

  std::vector<int> resolve(int stages) const {
    std::vector<int> map = ranks_;
    if (map.empty())
      for (int s = 0; s < stages; ++s) map.push_back(modulus_ ? s % modulus_ : s);
    if (static_cast<int>(map.size()) != stages)
      throw Error("pcomp: a Placement names one rank for every stage: " + std::to_string(stages) +
                  " stages, but " + std::to_string(map.size()) + " ranks named");
    if (detail::count_ranks(map) == 0) {
      std::string list;
      for (int r : map) {
        if (!list.empty()) list += ',';
        list += std::to_string(r);
      }
      throw Error("pcomp: a Placement must use every rank from 0 up, not " + list);
    }
    return map;
  }

 private:
  std::vector<int> ranks_;
  int modulus_ = 0;
};

/// Stage s on rank s mod `ranks`, at run time.
inline RankMap round_robin(int ranks) { return RankMap::modulo(ranks); }

}  // namespace pcomp
