#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
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
    Scope(Scope&& o) noexcept : calls_(std::exchange(o.calls_, nullptr)) {}
    Scope& operator=(Scope&&) = delete;
    ~Scope() {
      if (calls_) calls_->leave();
    }

   private:
    Calls* calls_;
  };

  /// The tag of a message of this call, for a number below `numbers`; below 2^31. The last number is of the message that
  /// tells what the call is about, and so depends on earlier calls alone.
  int tag(int number, int numbers) const {
    const std::uint64_t most = 0x7fffffffu / static_cast<unsigned>(numbers);
    const std::lock_guard lock(mutex_);
    const std::uint64_t calls = number + 1 == numbers ? earlier_ >> 8 : (before_ >> 8) + kind_;
    return static_cast<int>(calls % most * static_cast<unsigned>(numbers) + static_cast<unsigned>(number));
  }
  /// What a rank's call is about until it has been told: equal to whatever the others' is.
  static constexpr const char* untold = "a batch that this rank has not been told yet";
  /// It has been told.
  void tell(std::string text) {
    const std::lock_guard lock(mutex_);
    if (depth_ == 1) settle(std::move(text));
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
    bool differs(const Call& o) const {
      return verb != o.verb || (about != o.about && about != untold && o.about != untold);
    }
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
    kind_ = 0;
    while (kind_ < std::size(kinds) && kinds[kind_] != std::string_view(verb)) ++kind_;
    earlier_ = after_;
    recent_.push_back({++count_, verb, {}});
    settle(std::move(text));
    if (recent_.size() > 16) recent_.pop_front();
    begun_ = Clock::now();
  }
  void settle(std::string text) {
    before_ = hash(earlier_, text);
    after_ = hash(before_, recent_.back().verb);
    recent_.back().about = std::move(text);
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
  // Hashes of all calls before this one, without and with this call's verb.
  std::uint64_t earlier_ = 0xcbf29ce484222325u, before_ = earlier_, after_ = earlier_;
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

namespace pcomp::detail {

/// A value as text, and back: a string as it is, a trivially copyable object or a vector of them as its bytes. Ranks have
/// one byte order: they compare it when they meet.
template <class T>
struct AsText {
  static_assert(std::is_trivially_copyable_v<T>);
  static std::string text(const T& value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }
  static bool read(std::string_view text, T& value) {
    if (text.size() != sizeof value) return false;
    std::memcpy(&value, text.data(), sizeof value);
    return true;
  }
};
template <>
struct AsText<std::string> {
  static const std::string& text(const std::string& value) { return value; }
  static bool read(std::string_view text, std::string& value) { return value = text, true; }
};
template <class T>
struct AsText<std::vector<T>> {
  static_assert(std::is_trivially_copyable_v<T>);
  static std::string text(const std::vector<T>& all) {
    return all.empty() ? std::string()
                       : std::string(reinterpret_cast<const char*>(all.data()), all.size() * sizeof(T));
  }
  static bool read(std::string_view text, std::vector<T>& all) {
    if (text.size() % sizeof(T)) return false;
    all.resize(text.size() / sizeof(T));
    if (!text.empty()) std::memcpy(all.data(), text.data(), text.size());
    return true;
  }
};

}  // namespace pcomp::detail

namespace pcomp::transport {

/// What every process said, in rank order: a value, or why it has none.
template <class T>
class Gathered {
 public:
  void add(T value) { all_.emplace_back(std::move(value), Failure()); }
  void add(Failure why) {
    if (why.empty()) why.text = "an exception without a text";  // an empty one would be a success
    all_.emplace_back(T{}, std::move(why));
  }

  /// Why a process has no value; empty if it has one.
  const Failure& failure(int rank) const { return all_.at(static_cast<std::size_t>(rank)).second; }
  /// The lowest rank's failure, or an empty one.
  Failure failure() const {
    for (const auto& said : all_)
      if (!said.second.empty()) return said.second;
    return {};
  }
  /// One process's value. Errors: its failure, on every rank that asks.
  const T& of(int rank) const {
    failure(rank).raise_if_any();
    return all_[static_cast<std::size_t>(rank)].first;
  }
  /// Every process's value. Errors: the lowest rank's failure, on every rank.
  std::vector<T> values() const {
    failure().raise_if_any();
    std::vector<T> all;
    for (const auto& said : all_) all.push_back(said.first);
    return all;
  }

 private:
  std::vector<std::pair<T, Failure>> all_;
};

/// Brings what `make()` returns on each process, or what it throws, to all of them. `links` is a Communicator or an
/// Engine; `about` says in errors what is brought.
///
/// Law: all processes call it, in the same order, with the same T.
/// Errors: those of `exchange`. What `make` throws is only thrown by whoever asks for its value.
/// Example: apps/train/run
template <class T, class Links, class Make>
Gathered<T> gather(Links& links, const std::string& about, Make make) {
  std::string own;
  try {
    own = '+' + detail::AsText<T>::text(make());
  } catch (const std::exception& e) {
    own = '!' + Failure::of(e).packed();
  }
  Gathered<T> all;
  for (const std::string& said : links.exchange(about, own)) {
    const std::string_view rest = std::string_view(said).substr(1);
    if (T value{}; said[0] == '!')
      all.add(Failure::unpacked(rest));
    else if (detail::AsText<T>::read(rest, value))
      all.add(std::move(value));
    else
      all.add(Failure("pcomp: the " + about + " has " + std::to_string(rest.size()) + " bytes on one rank",
                      Failure::Kind::Mismatch));
  }
  return all;
}

}  // namespace pcomp::transport

#if !defined(PCOMP_COMPILED)
#include "impl/communicator.ipp"
#endif
