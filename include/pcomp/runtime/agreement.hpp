#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../base/error.hpp"
#include "../kernel/wire_kernels.hpp"
#include "../schedule/make_schedule.hpp"
#include "../transport/communicator.hpp"
#include "../transport/fingerprint.hpp"
#include "../transport/world.hpp"
#include "batch.hpp"

namespace pcomp::detail {

/// Describes a pipeline, for its ranks to compare when they meet.
inline transport::Fingerprint fingerprint(const schedule::ScheduleTable& schedule, const kernel::Wires& wires,
                                          int world_size,
                                          const std::vector<runtime::StageSpec>& stages = {}) {
  transport::Fingerprint f;
  f.add("pcomp", version);
  f.add("wire format", std::to_string(codec::wire_format));
  f.add("byte order", std::endian::native == std::endian::little ? "little" : "big");
  f.add("processes", std::to_string(world_size));
  f.add("schedule", schedule.policy);
  f.add("stages", std::to_string(schedule.stages));
  f.add("micro-batches", std::to_string(schedule.microbatches));
  f.add("frozen stages", std::to_string(schedule.frozen()));
  std::string placement;
  for (int r : schedule.rank_map()) placement += (placement.empty() ? "" : " ") + std::to_string(r);
  f.add("placement", placement);
  std::uint64_t rows = 0xcbf29ce484222325u;  // FNV-1a: policies of the same name may differ
  for (int r = 0; r < schedule.ranks; ++r)
    for (const Action& a : schedule.row(r))
      for (int part : {static_cast<int>(a.op), a.stage, a.micro})
        rows = (rows ^ static_cast<std::uint64_t>(part)) * 0x100000001b3u;
  constexpr char digits[] = "0123456789abcdef";
  std::string sum;
  for (int shift = 60; shift >= 0; shift -= 4) sum += digits[rows >> shift & 15];
  f.add("rows", sum);
  for (std::size_t e = 0; e < wires.size(); ++e) f.add("wire " + std::to_string(e), wires[e].name());
  for (std::size_t s = 0; s < stages.size(); ++s) f.add("stage " + std::to_string(s), stages[s].name);
  return f;
}

inline std::string text_of(const Extents& shape, at::ScalarType dtype) {
  return std::string(c10::toString(dtype)) + " " + to_string(shape);
}

/// Describes a batch of a new shape, including its bytes on the link.
inline transport::Fingerprint fingerprint(const Batch& batch, const kernel::Wires& wires) {
  transport::Fingerprint f;
  f.add("step", batch.loss ? "training" : "inference");
  f.add("micro-batches", std::to_string(batch.parts.size()));
  f.add("batch", text_of(extents_of(batch.x), batch.x.scalar_type()));
  for (std::size_t e = 0; e < wires.size(); ++e)
    for (std::size_t k = 0; k < wires[e].size(); ++k) {
      const Extents s = batch.shape(static_cast<int>(e), 0, k);
      const at::ScalarType dtype = batch.activations[e][k].dtype;
      f.add("boundary " + std::to_string(e) + (k ? " tensor " + std::to_string(k) : ""),
            text_of(s, dtype) + ", " + std::to_string(payload_bytes(wires[e][k], s, dtype)) +
                " bytes, back " + std::to_string(wires[e][k].grad_bytes(s)));
    }
  return f;
}

/// What the ranks of different processes compare before they rely on it.
///
/// Errors: one `Mismatch`, the same on every rank.
class Agreement {
 public:
  /// Their configurations, before anything else crosses a link.
  static void handshake(transport::Communicator& links, const World& world,
                        const schedule::ScheduleTable& schedule, const kernel::Wires& wires,
                        const std::vector<runtime::StageSpec>& stages) {
    if (!world.processes()) return;
    transport::Fingerprint::expect_alike(links.exchange(
        "description of the pipeline", fingerprint(schedule, wires, world.size(), stages).text()));
    if (world.size() != schedule.ranks)
      throw Mismatch("pcomp: the schedule has " + std::to_string(schedule.ranks) + " ranks, but " +
                     world.launch()->by + " started " + std::to_string(world.size()) +
                     " processes: start as many as ranks");
  }
  static void compare(transport::Communicator& links, const std::string& about,
                      const schedule::ScheduleTable& table, const kernel::Wires& wires) {
    if (!links.elsewhere().empty())
      transport::Fingerprint::expect_alike(
          links.exchange(about, fingerprint(table, wires, table.ranks).text()));
  }
  /// Each new batch shape, before its first payload.
  void compare(transport::Communicator& links, const Batch& batch, const kernel::Wires& wires) {
    if (links.elsewhere().empty()) return;
    const auto key = std::make_tuple(text_of(batch) + autocast(), batch.parts.size(), batch.loss != nullptr);
    if (agreed_.count(key)) return;
    transport::Fingerprint::expect_alike(
        links.exchange("description of a batch", fingerprint(batch, wires).text()));
    agreed_.insert(key);
  }
  void forget() { agreed_.clear(); }

  /// What a call works on, for the record of calls.
  static std::string text_of(const Batch& batch) {
    return detail::text_of(extents_of(batch.x), batch.x.scalar_type());
  }
  /// Ends a call that this rank refuses, on every rank; to be called while handling the exception.
  [[noreturn]] static void refuse(transport::Communicator& links, transport::Failure why) {
    if (links.elsewhere().empty()) throw;
    const int own = links.here().front();
    transport::Transport& link = links.link(own);
    why.text = "pcomp: rank " + std::to_string(own) + ": " + bare(why.text);
    link.abort(why);
    link.aborted().raise();
  }
  /// Runs what this rank alone may refuse.
  template <class F>
  static std::invoke_result_t<F&> checked(transport::Communicator& links, F&& body) {
    try {
      return body();
    } catch (const c10::Error& e) {
      refuse(links, e.what_without_backtrace());
    } catch (const std::exception& e) {
      refuse(links, transport::Failure::of(e));
    }
  }

 private:
  std::set<std::tuple<std::string, std::size_t, bool>> agreed_;
};

}  // namespace pcomp::detail
