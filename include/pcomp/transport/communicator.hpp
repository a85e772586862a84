#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "../base/compiled.hpp"
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
  std::string text() const;

  /// What differs between the records of ranks 0, 1, ..., of which some may be empty; nothing if they may still agree.
  static std::string difference(const std::vector<std::string>& texts);
  /// Where ranks 0, 1, ... are, if not all in the same call: "rank 0 infers (call 7), rank 1 trains (call 6)".
  static std::string where(const std::vector<std::string>& texts);

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

  static std::vector<Record> parse(const std::vector<std::string>& texts);
  /// At most eight ranks: the first, then those that differ from it, then others.
  static std::string standing(const std::vector<Record>& all, std::int64_t number);

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

#if !defined(PCOMP_COMPILED)
#include "impl/communicator.ipp"
#endif
