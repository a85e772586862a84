#pragma once
#include <array>
#include <initializer_list>
#include <span>

#include "../base/error.hpp"
#include "../base/refuse.hpp"
#include "policy.hpp"

namespace pcomp::schedule {

/// Stage s on rank s.
struct OneStagePerRank {
  static constexpr int rank(int stage) { return stage; }
};

}  // namespace pcomp::schedule

namespace pcomp {

/// Stage s on the s-th rank of the list; a rank may repeat, as in `Placement<0, 1, 2, 3, 0>`.
///
/// Law: every rank from 0 up has a stage; neighbouring stages on one rank exchange no messages.
/// Refusals: other than one rank for every stage, or a rank left out.
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
  static constexpr int rank(int stage) { return Ranks > 0 ? stage % (Ranks > 0 ? Ranks : 1) : -1; }
};

}  // namespace pcomp

namespace pcomp::detail {

/// Messages of a step over one boundary and in one direction: none where both stages are on one rank.
constexpr int messages(std::span<const int> rank_of, int microbatches, int boundary) {
  const int boundaries = static_cast<int>(rank_of.size()) - 1;
  if (boundary < 0 || boundary >= boundaries) {
    LongText text;
    text << "pcomp: there is no boundary " << boundary << ": " << boundaries + 1 << " stages have "
         << boundaries;
    throw Error(text.string());
  }
  const auto i = static_cast<std::size_t>(boundary);
  return rank_of[i] == rank_of[i + 1] ? 0 : microbatches;
}

/// How many ranks a map uses, or 0 if one is negative or one below the highest is left out.
constexpr int count_ranks(std::span<const int> rank_of) {
  const int stages = static_cast<int>(rank_of.size());
  const Buffer<char> used(rank_of.size());
  int ranks = 0;
  for (int r : rank_of) {
    if (r < 0 || r >= stages) return 0;
    used.data()[r] = 1;
    if (r >= ranks) ranks = r + 1;
  }
  for (int r = 0; r < ranks; ++r)
    if (!used.data()[r]) return 0;
  return ranks;
}

/// "0,1,0".
inline LongText& list(LongText& text, std::span<const int> rank_of) {
  for (std::size_t s = 0; s < rank_of.size(); ++s) text << (s ? "," : "") << rank_of[s];
  return text;
}

}  // namespace pcomp::detail

namespace pcomp::schedule {

/// Where each stage goes, at run time: a list of ranks, `round_robin(n)`, a placement type's value, or nothing.
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
  RankMap(RoundRobin<Ranks>) : RankMap(modulo(Ranks)) {}
  static RankMap modulo(int ranks) {
    detail::LongText text;
    if (ranks < 1) throw Error((text << "pcomp: round_robin needs at least 1 rank, not " << ranks).string());
    RankMap map;
    map.modulus_ = ranks;
    return map;
  }

  std::vector<int> resolve(int stages) const {
    std::vector<int> map = ranks_.empty() ? std::vector<int>(static_cast<std::size_t>(stages)) : ranks_;
    for (int s = 0; s < stages && ranks_.empty(); ++s)
      map[static_cast<std::size_t>(s)] = modulus_ ? s % modulus_ : s;
    detail::LongText text;
    if (const int named = static_cast<int>(map.size()); named != stages)
      text << "pcomp: a Placement names one rank for every stage: " << stages << " stages, but " << named
           << " ranks named";
    else if (const std::span<const int> ranks(map.data(), map.size()); detail::count_ranks(ranks) == 0)
      detail::list(text << "pcomp: a Placement must use every rank from 0 up, not ", ranks);
    if (text.size()) throw Error(text.string());
    return map;
  }

 private:
  std::vector<int> ranks_;
  int modulus_ = 0;
};

}  // namespace pcomp::schedule

namespace pcomp {

/// Stage s on rank s mod `ranks`, at run time.
[[nodiscard]] inline schedule::RankMap round_robin(int ranks) { return schedule::RankMap::modulo(ranks); }

}  // namespace pcomp
