#pragma once
#include <set>
#include <tuple>

#include "../transport/communicator.hpp"
#include "../transport/world.hpp"
#include "fingerprint.hpp"

namespace pcomp::detail {

/// What the ranks of different processes compare before they rely on it.
///
/// Errors: one `Error`, the same on every rank.
class Agreement {
 public:
  /// Their configurations, before anything else crosses a link.
  static void meet(Links& links, const World& world, const ScheduleTable& schedule,
                   const std::vector<const BoundaryOps*>& wires) {
    if (!world.processes()) return;
    Fingerprint::expect_alike(
        links.exchange("description of the pipeline", fingerprint(schedule, wires, world.size()).text()));
    if (world.size() != schedule.ranks)
      throw Error("pcomp: the schedule has " + std::to_string(schedule.ranks) + " ranks, but " +
                  world.launch()->by + " started " + std::to_string(world.size()) +
                  " processes: start as many as ranks");
  }
  static void compare(Links& links, const std::string& about, const ScheduleTable& table,
                      const std::vector<const BoundaryOps*>& wires) {
    if (!links.elsewhere().empty())
      Fingerprint::expect_alike(links.exchange(about, fingerprint(table, wires, table.ranks).text()));
  }
  /// Each new batch shape, before its first payload.
  void compare(Links& links, const Batch& batch, const std::vector<const BoundaryOps*>& wires) {
    if (links.elsewhere().empty()) return;
    const auto key = std::make_tuple(text_of(batch) + autocast(), batch.parts.size(), batch.loss != nullptr);
    if (agreed_.count(key)) return;
    Fingerprint::expect_alike(links.exchange("description of a batch", fingerprint(batch, wires).text()));
    agreed_.insert(key);
  }
  void forget() { agreed_.clear(); }

  /// What a call works on, for the record of calls.
  static std::string text_of(const Batch& batch) {
    return detail::text_of(extents_of(batch.x), batch.x.scalar_type());
  }
  /// Ends a call that this rank refuses, on every rank; to be called while handling the exception.
  [[noreturn]] static void refuse(Links& links, const std::string& why) {
    if (links.elsewhere().empty()) throw;
    const int own = links.here().front();
    Transport& link = links.link(own);
    link.abort("pcomp: rank " + std::to_string(own) + ": " + bare(why));
    throw Error(link.aborted());
  }
  /// Runs what this rank alone may refuse.
  template <class F>
  static std::invoke_result_t<F&> checked(Links& links, F&& body) {
    try {
      return body();
    } catch (const c10::Error& e) {
      refuse(links, e.what_without_backtrace());
    } catch (const std::exception& e) {
      refuse(links, e.what());
    }
  }

 private:
  std::set<std::tuple<std::string, std::size_t, bool>> agreed_;
};

}  // namespace pcomp::detail
