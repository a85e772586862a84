#pragma once
#include <sstream>

#include "../communicator.hpp"

namespace pcomp::transport {

PCOMP_IMPL std::string Calls::text() const {
  const std::lock_guard lock(mutex_);
  std::string all = over_ ? "over\n" : depth_ ? "inside\n" : "returned\n";
  for (const Call& c : recent_) all += std::to_string(c.number) + '\t' + c.verb + '\t' + c.about + '\n';
  return all;
}

PCOMP_IMPL std::string Calls::difference(const std::vector<std::string>& texts) {
  const std::vector<Record> all = parse(texts);
  std::int64_t first = -1;
  for (const Record& a : all)
    for (const Record& b : all)
      for (const Call& c : a.calls)
        if (const Call* other = b.find(c.number); other && other->differs(c))
          if (first < 0 || c.number < first) first = c.number;
  if (first < 0)  // a rank that has ended its pipeline will never make another's next call
    for (const Record& a : all)
      for (const Record& b : all)
        if (a.state == "over" && b.state == "inside" && b.last() > a.last()) first = b.last();
  return first < 0 ? "" : standing(all, first) + ": every rank must make the same calls in the same order";
}

PCOMP_IMPL std::string Calls::where(const std::vector<std::string>& texts) {
  const std::vector<Record> all = parse(texts);
  std::int64_t last = -1;
  bool alike = true;
  for (const Record& r : all) {
    if (r.calls.empty()) continue;
    alike = alike && (last < 0 || r.last() == last) && r.state == "inside";
    last = std::max(last, r.last());
  }
  return alike ? "" : standing(all, last);
}

PCOMP_IMPL std::vector<Calls::Record> Calls::parse(const std::vector<std::string>& texts) {
  std::vector<Record> all;
  for (const std::string& text : texts) {
    Record& r = all.emplace_back();
    std::istringstream in(text);
    std::getline(in, r.state);
    for (std::string number, verb, about;
         std::getline(in, number, '\t') && std::getline(in, verb, '\t') && std::getline(in, about);)
      r.calls.push_back({std::stoll(number), verb, about});
  }
  return all;
}

PCOMP_IMPL std::string Calls::standing(const std::vector<Record>& all, std::int64_t number) {
  std::vector<std::pair<std::size_t, const Call*>> order;
  for (std::size_t r = 0; r < all.size(); ++r)
    if (const Call* c = all[r].find(number); c || !all[r].calls.empty())
      order.emplace_back(r, c ? c : &all[r].calls.back());
  if (order.empty()) return "";
  const Call first = *order[0].second;
  const auto differs = [&](const Call* c) { return c->number != first.number || c->differs(first); };
  if (order.size() > 8) {
    std::stable_partition(order.begin() + 1, order.end(), [&](const auto& e) { return differs(e.second); });
    order.resize(8);
    std::sort(order.begin(), order.end());
  }
  bool alike = true;  // but for what they are on
  for (const auto& [r, c] : order) alike = alike && c->verb == first.verb && c->number == first.number;
  std::string text;
  for (const auto& [r, c] : order) {
    text += (text.empty() ? "rank " : ", rank ") + std::to_string(r) + " " + c->verb + " (call " +
            std::to_string(c->number) + ")";
    if (alike && !c->about.empty()) text += " on " + c->about;
    if (c->number == all[r].last() && all[r].state != "inside")
      text += all[r].state == "over" ? " and has no pipeline any more" : " and has returned from it";
  }
  return text;
}

}  // namespace pcomp::transport
