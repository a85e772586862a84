#pragma once
#include <algorithm>
#include <iomanip>
#include <ostream>

#include "../../plan/simulate.hpp"
#include "../report.hpp"

namespace pcomp::runtime {

PCOMP_IMPL void Report::predict(const schedule::ScheduleTable& schedule, std::vector<plan::LinkModel> links) {
  if (steps == 0 || std::int64_t{schedule.stages} * schedule.microbatches > 10000)
    return;  // too slow to do in passing
  std::vector<schedule::StageBytes> needs;
  for (const StageReport& s : stages) needs.push_back(s.bytes);
  const bool measured = std::all_of(ranks.begin(), ranks.end(), [](auto& k) { return k.peak_bytes > 0; });
  if (measured) peak_bytes = schedule.peak_bytes(needs);
  plan::Costs costs;
  for (const StageReport& s : stages) costs.stages.push_back(s.each());
  if (!links.empty())
    for (const BoundaryReport& b : boundaries)
      costs.bytes.push_back({b.forward.messages ? b.forward.bytes / b.forward.messages : 0,
                             b.gradient.messages ? b.gradient.bytes / b.gradient.messages : 0});
  costs.links = std::move(links);
  step = plan::simulate(schedule, costs);
}

PCOMP_IMPL void Report::print_traffic(std::ostream& out) const {
  out << "boundary  ranks  direction   messages         bytes     predicted           raw   of raw  wire\n";
  for (const BoundaryReport& b : boundaries) {
    line(out, b, "forward", b.forward);
    line(out, b, "gradient", b.gradient);
    if (b.inference.messages) line(out, b, "inference", b.inference);
  }
  for (std::size_t r = 0; r < ranks.size(); ++r)
    for (const auto& [what, t] : {std::pair("losses and metrics", &ranks[r].losses),
                                  {"outputs of infer", &ranks[r].outputs},
                                  {"numbers to agree on", &ranks[r].agreement}})
      if (t->messages)
        out << "rank " << r << " sent " << t->bytes << " bytes of " << what << " in " << t->messages
            << " messages\n";
  for (const BoundaryReport& b : boundaries)
    if (b.state)
      out << "boundary " << b.boundary << " keeps " << b.state << " bytes in memory for its feedback\n";
}

PCOMP_IMPL void Report::print_times(std::ostream& out) const {
  const auto flags = out.flags();
  const auto precision = out.precision();
  out << "rank   compute    encode    decode      wait      send   bubble  predicted    bytes sent   "
         "(seconds in "
      << steps << " steps)\n"
      << std::fixed;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const RankReport& k = ranks[i];
    out << std::setw(4) << i << std::setprecision(3);
    for (double t : {k.compute, k.encode, k.decode, k.wait, k.send}) out << std::setw(10) << t;
    out << std::setprecision(1) << std::setw(8) << 100 * k.bubble() << '%';
    const double used = i < step.busy.size() ? step.utilisation(static_cast<int>(i)) : 1;
    out << std::setw(10) << 100 * (1 - used) << '%' << std::setw(14) << bytes(static_cast<int>(i)) << "\n";
  }
  out << std::setprecision(4) << "a step: " << seconds() << " s measured, " << step.seconds
      << " s predicted from these stages over links that cost nothing\n";
  out.flags(flags);
  out.precision(precision);
}

PCOMP_IMPL void Report::print_memory(std::ostream& out) const {
  if (peak_bytes.size() != ranks.size()) return;
  out << "rank   most memory     predicted   (bytes at once: weights, gradients, activations, payloads)\n";
  for (std::size_t i = 0; i < ranks.size(); ++i)
    out << std::setw(4) << i << std::setw(14) << ranks[i].peak_bytes << std::setw(14) << peak_bytes[i]
        << "\n";
}

PCOMP_IMPL std::ostream& operator<<(std::ostream& out, const Report& r) {
  r.print_traffic(out);
  r.print_times(out);
  r.print_memory(out);
  return out;
}

PCOMP_IMPL void Report::line(std::ostream& out, const BoundaryReport& b, const char* direction,
                             const Traffic& t) {
  const auto flags = out.flags();
  const auto precision = out.precision();
  const std::string ranks = b.from_rank == b.to_rank
                                ? "on " + std::to_string(b.from_rank)
                                : std::to_string(b.from_rank) + "->" + std::to_string(b.to_rank);
  const double share = t.raw ? 100.0 * static_cast<double>(t.bytes) / static_cast<double>(t.raw) : 0.0;
  out << std::setw(8) << b.boundary << "  " << std::setw(5) << ranks << "  " << std::left << std::setw(9)
      << direction << std::right << std::setw(11) << t.messages << std::setw(14) << t.bytes << std::setw(14)
      << t.predicted << std::setw(14) << t.raw << std::setw(8) << std::fixed << std::setprecision(2) << share
      << "%  " << b.wire << "\n";
  out.flags(flags);
  out.precision(precision);
}

}  // namespace pcomp::runtime
