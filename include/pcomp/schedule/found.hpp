#pragma once
#include <array>
#include <type_traits>
#include <utility>

#include "prove.hpp"

namespace pcomp::detail {

// What a proof found, as a type whose name the compiler prints in full: g++ prints strings in template arguments;
// clang does not, but prints numbers and enumerators.

template <auto text>
struct Explanation;

template <int Rank, int Step, Op What, int Stage, int Micro, int WaitsForRank>
struct Rank_Step_Op_Stage_Micro_WaitsForRank;
template <class... Places>
struct Cycle;

template <class Plan>
struct FindFault {
#ifdef __clang__
  static constexpr std::size_t size = Plan::proved([](const Proof& proof) {
    std::size_t count = 0;
    proof.places([&](const Proof::Place&) { ++count; });
    return count;
  });
  static constexpr auto places = Plan::proved([](const Proof& proof) {
    std::array<Proof::Place, size> list{};
    std::size_t i = 0;
    proof.places([&](const Proof::Place& p) { list[i++] = p; });
    return list;
  });
  template <std::size_t... I>
  static auto name(std::index_sequence<I...>)
      -> Cycle<Rank_Step_Op_Stage_Micro_WaitsForRank<places[I].rank, places[I].step, places[I].action.op,
                                                     places[I].action.stage, places[I].action.micro,
                                                     places[I].waits_for>...>*;
  using type = std::remove_pointer_t<decltype(name(std::make_index_sequence<size>()))>;
#else
  template <class Use>
  static constexpr auto text(Use use) {
    return Plan::proved([&](const Proof& proof) {
      Words words;
      proof.explain(words);
      return use(words);
    });
  }
  static constexpr std::size_t size = text([](const Words& words) { return words.size(); });
  using type = Explanation<text([](const Words& words) { return words.fixed<size>(); })>;
#endif
};

/// For a Plan with `proved(use)`, which makes the proof and returns `use(proof)`.
template <bool ok, class Plan>
using Found = typename std::conditional_t<ok, std::type_identity<void>, FindFault<Plan>>::type;

}  // namespace pcomp::detail
