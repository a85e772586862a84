#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "transport.hpp"

namespace pcomp::transport {

/// What one rank has called on a pipeline so far, which every rank calls in the same order.
///
/// Law: messages of different calls never match: a tag holds a hash of all calls up to this one, and differs for
///   certain where the first calls that differ are of different kinds. So ranks whose calls differ wait, and the
///   failure monitor, which compares their records in the store, ends them with one reason.
/// Bytes: none in a step; a rank that has waited for 0.3 s puts its last 16 calls into the store.
/// Example: docs/several-machines.md
class Calls {
 public:
  using Clock = std::chrono::steady_clock;

  /// A call of this rank, until the end of the scope; calls within it are parts of it. Nothing for a null pointer.
  class Scope {
   public:
    /// `verb`: "trains", and `about()`: on what, which is compared too; neither with tabs or line breaks.
    template <class About>
    Scope(Calls* calls, const char* verb, About about) : calls_(calls) {
      if (calls_) calls_->enter(verb, about);
    }
    Scope(Calls* calls, const char* verb) : Scope(calls, verb, [] { return std::string(); }) {}
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() {
      if (calls_) calls_->leave();
    }

   private:
    Calls* calls_;
  };

  /// The tag of a message of this call, for a number below `numbers`; below 2^31.
  int tag(int number, int numbers) const {
    const std::uint64_t most = 0x7fffffffu / static_cast<unsigned>(numbers);
    const std::lock_guard lock(mutex_);
    return static_cast<int>(((before_ >> 8) + kind_) % most * static_cast<unsigned>(numbers) +
                            static_cast<unsigned>(number));
  }
  /// "call 7, trains".
  std::string name() const {
    const std::lock_guard lock(mutex_);
    return "call " + std::to_string(count_) + (recent_.empty() ? "" : ", " + recent_.back().verb);
  }
  /// How long the current call has lasted; zero between calls.
  Clock::duration lasts() const {
    const std::lock_guard lock(mutex_);
    return depth_ ? Clock::now() - begun_ : Clock::duration::zero();
  }
  std::int64_t count() const {
    const std::lock_guard lock(mutex_);
    return count_;
  }
  /// The pipeline of this rank is gone.
  void end() {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  /// The record that ranks compare.
  std::string text() const {
    const std::lock_guard lock(mutex_);
    std::string all = over_ ? "over\n" : depth_ ? "inside\n" : "returned\n";
    for (const Call& c : recent_) all += std::to_string(c.number) + '\t' + c.verb + '\t' + c.about + '\n';
    return all;
  }

  /// What differs between the records of ranks 0, 1, ..., of which some may be empty; nothing if they may still agree.
  static std::string difference(const std::vector<std::string>& texts) {
    const std::vector<Record> all = parse(texts);
    std::int64_t first = -1;
    for (const Record& a : all)
      for (const Record& b : all)
        for (const Call& c : a.calls)
          if (const Call* other = b.find(c.number);
              other && (other->verb != c.verb || other->about != c.about))
            if (first < 0 || c.number < first) first = c.number;
    if (first < 0)  // a rank that has ended its pipeline will never make another's next call
      for (const Record& a : all)
        for (const Record& b : all)
          if (a.state == "over" && b.state == "inside" && b.last() > a.last()) first = b.last();
    return first < 0 ? "" : standing(all, first) + ": every rank must make the same calls in the same order";
  }
  /// Where ranks 0, 1, ... are, if not all in the same call: "rank 0 infers (call 7), rank 1 trains (call 6)".
  static std::string where(const std::vector<std::string>& texts) {
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

 private:
  struct Call {
    std::int64_t number = 0;
    std::string verb, about;
  };
  struct Record {
    std::string state;
    std::vector<Call> calls;
    const Call* find(std::int64_t number) const {
      for (const Call& c : calls)
        if (c.number == number) return &c;
      return nullptr;
    }
    std::int64_t last() const { return calls.empty() ? 0 : calls.back().number; }
  };

  template <class About>
  void enter(const char* verb, const About& about) {
    {
      const std::lock_guard lock(mutex_);
      if (depth_++) return;
    }
    std::string text = about();
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c == '\n' || c == '\t'; }, ' ');
    const std::lock_guard lock(mutex_);
    static constexpr const char* kinds[] = {"trains", "infers", "evaluates", "sums", "clips the gradients"};
    before_ = hash(after_, text);
    kind_ = 0;
    while (kind_ < std::size(kinds) && kinds[kind_] != std::string_view(verb)) ++kind_;
    after_ = hash(before_, verb);
    recent_.push_back({++count_, verb, std::move(text)});
    if (recent_.size() > 16) recent_.pop_front();
    begun_ = Clock::now();
  }
  void leave() {
    const std::lock_guard lock(mutex_);
    --depth_;
  }
  static std::uint64_t hash(std::uint64_t h, std::string_view text) {  // FNV-1a
    for (unsigned char c : text) h = (h ^ c) * 0x100000001b3u;
    return (h ^ 0xffu) * 0x100000001b3u;
  }

  static std::vector<Record> parse(const std::vector<std::string>& texts) {
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
  /// At most eight ranks: the first, then those that differ from it, then others.
  static std::string standing(const std::vector<Record>& all, std::int64_t number) {
    std::vector<std::pair<std::size_t, const Call*>> order;
    for (std::size_t r = 0; r < all.size(); ++r)
      if (const Call* c = all[r].find(number); c || !all[r].calls.empty())
        order.emplace_back(r, c ? c : &all[r].calls.back());
    if (order.empty()) return "";
    const Call first = *order[0].second;
    const auto differs = [&](const Call* c) {
      return c->number != first.number || c->verb != first.verb || c->about != first.about;
    };
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

  mutable std::mutex mutex_;
  std::deque<Call> recent_;
  std::int64_t count_ = 0;
  std::uint64_t before_ = 0xcbf29ce484222325u,
                after_ = before_;  ///< hashes without and with this call's verb
  unsigned kind_ = 0;
  int depth_ = 0;
  bool over_ = false;
  Clock::time_point begun_{};
};

/// How the ranks of one pipeline reach each other, as one process sees it.
///
/// Errors: as `Transport`; between processes the links are unusable after the first one.
/// Example: docs/architecture.md
class Communicator {
 public:
  virtual ~Communicator() = default;
  /// The ranks of this process, and those of other processes.
  virtual const std::vector<int>& here() const = 0;
  virtual const std::vector<int>& elsewhere() const = 0;
  virtual Transport& link(int rank) = 0;
  /// Called before a step: clears what a failed one left behind, or throws if it cannot.
  virtual void begin() = 0;
  /// The record of the calls that all processes make in the same order; null if there is one process.
  virtual Calls* calls() { return nullptr; }
  /// The texts of all processes in rank order. All call it, in the same order; `about` names it in errors.
  virtual std::vector<std::string> exchange(const std::string& about, const std::string& text) = 0;
};

}  // namespace pcomp::transport
