#pragma once
#include "../communicator.hpp"
#include "rendezvous.hpp"

namespace pcomp::detail {

/// Tells every rank the reason for a failure, and learns theirs, through the store, polled ten times a second.
///
/// Law: the first reason to reach the store wins, for every rank. If a peer was silent for too long, a roll call
///   comes first: the reason ends with the ranks that do not answer it. Ranks whose calls differ wait for messages
///   that never come: a rank that has waited for 0.3 s compares the calls of all, and what differs is the reason.
class FailureMonitor {
 public:
  /// `wake` is called once, when there is a reason or the store is lost, on the watch's thread.
  FailureMonitor(Rendezvous& rendezvous, const std::string& name, Rendezvous::Limit limit,
                 std::shared_ptr<transport::Calls> calls, std::function<void()> wake)
      : state_(std::make_shared<State>()) {
    state_->calls = std::move(calls);
    state_->store = rendezvous.connect(limit);
    state_->key = rendezvous.prefix() + name + "/failure";
    state_->launch = rendezvous.launch();
    state_->keeper =
        "the store at " + rendezvous.launch().where() + ", which " + rendezvous.keeper() + " keeps,";
    state_->keepers_rank = rendezvous.launch().agent_store ? -1 : 0;
    state_->wake = std::move(wake);
    thread_ = std::thread([s = state_] { loop(*s); });
  }
  FailureMonitor(const FailureMonitor&) = delete;
  FailureMonitor& operator=(const FailureMonitor&) = delete;
  ~FailureMonitor() {
    std::unique_lock lock(state_->mutex);
    state_->wake = nullptr;
    state_->stop = true;
    state_->changed.notify_all();
    const auto limit = std::chrono::seconds(state_->silent ? 0 : 1);
    const bool ended = state_->changed.wait_for(lock, limit, [&] { return state_->ended; });
    lock.unlock();
    ended ? thread_.join() : thread_.detach();
  }

  /// The reason that some rank gave; empty while all is well.
  transport::Failure reason() const {
    std::lock_guard lock(state_->mutex);
    return state_->reason;
  }
  /// What happened to the store, if it no longer answers.
  transport::Failure lost() const {
    std::lock_guard lock(state_->mutex);
    using Kind = transport::Failure::Kind;
    if (state_->lost) return {"pcomp: " + state_->keeper + " is lost", Kind::PeerLost, state_->keepers_rank};
    if (state_->silent)
      return {"pcomp: " + state_->keeper + " does not answer", Kind::Timeout, state_->keepers_rank};
    return {};
  }
  /// Gives a reason, at once or after a roll call, and waits briefly for the store to say which one won.
  void give(const transport::Failure& reason, bool roll_call) {
    std::unique_lock lock(state_->mutex);
    if (!state_->reason.empty()) return;
    state_->own = reason;
    state_->ask = roll_call;
    state_->changed.notify_all();
    const auto settled = [&] { return !state_->reason.empty() || state_->ended; };
    const auto asked = std::chrono::steady_clock::now();
    const bool answers =
        state_->changed.wait_for(lock, std::chrono::seconds(1), [&] { return settled() || state_->heard; });
    const auto trip = std::chrono::steady_clock::now() - asked;
    if (answers)  // a roll call asks once per rank
      state_->changed.wait_for(lock, std::chrono::seconds(2) + state_->launch.size * trip, settled);
    else
      state_->silent = true;
    if (!state_->reason.empty()) return;
    state_->reason = reason;
    if (!answers) state_->reason.text += "; " + state_->keeper + " does not answer";
  }

 private:
  struct State {
    Store store;
    transport::LauncherEnvironment launch;
    std::string key, keeper;
    int keepers_rank = -1;
    transport::Failure own, reason;
    std::function<void()> wake;
    std::shared_ptr<transport::Calls> calls;
    std::int64_t published = -1;  ///< the last call that the store knows of
    std::chrono::steady_clock::time_point compared{};
    mutable std::mutex mutex;
    std::condition_variable changed;
    bool ask = false, heard = false, stop = false, lost = false, silent = false, ended = false;
    std::string here(int rank) const { return key + "/here" + std::to_string(rank); }
    std::string record(int rank) const { return key + "/calls" + std::to_string(rank); }
  };

  static void publish(State& s) {
    s.published = s.calls->count();
    s.store->set(s.record(s.launch.rank), value_of(s.calls->text()));
  }
  /// The calls of all ranks, as far as the store knows them.
  static std::vector<std::string> records(State& s) {
    std::vector<std::string> keys, texts;
    for (int r = 0; r < s.launch.size; ++r) keys.push_back(s.record(r));
    if (s.store->check(keys))
      for (const StoreValue& text : s.store->multiGet(keys)) texts.push_back(text_of(text));
    return texts;
  }
  /// While the current call lasts, twice a second: what differs between the ranks' calls.
  static std::string difference(State& s) {
    const auto now = std::chrono::steady_clock::now();
    if (s.calls->lasts() < std::chrono::milliseconds(300)) return "";
    if (s.published == s.calls->count() && now - s.compared < std::chrono::milliseconds(450)) return "";
    s.compared = now;
    publish(s);
    if (transport::Calls::difference(records(s)).empty()) return "";
    // A rank that began this call a moment later is about to say so: the text is to name all.
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    return transport::Calls::difference(records(s));
  }

  /// The value under the key: nothing, "?r" while rank r calls the roll, or "!" and the packed reason.
  static void loop(State& s) {
    bool answered = false;
    try {
      publish(s);
    } catch (const std::exception&) {  // the first request below says so
    }
    std::unique_lock lock(s.mutex);
    while (!s.stop && s.reason.empty() && !s.lost) {
      const transport::Failure own = s.own;
      const bool ask = s.ask;
      lock.unlock();
      std::string found;
      bool lost = false;
      try {
        if (!own.empty())
          found = announce(s, own, ask);
        else if (s.store->check({s.key}))
          found = text_of(s.store->get(s.key));
        if (own.empty() && found.empty())
          if (const std::string differs = difference(s); !differs.empty())
            found = announce(s, {differs, transport::Failure::Kind::Mismatch}, false);
        if (found.starts_with("?") && !answered) {
          s.store->set(s.here(s.launch.rank), value_of(s.calls->text()));
          answered = true;
        }
      } catch (const std::exception&) {
        lost = true;
      }
      lock.lock();
      s.lost = lost;
      if (s.reason.empty() && found.starts_with("!"))
        s.reason = transport::Failure::unpacked(std::string_view(found).substr(1));
      if ((lost || !s.reason.empty()) && s.wake) s.wake();
      s.changed.notify_all();
      if (!lost && s.reason.empty())
        s.changed.wait_for(lock, std::chrono::milliseconds(100),
                           [&] { return s.stop || (!s.own.empty() && own.empty()); });
    }
    if (s.stop && s.reason.empty() && !s.lost && !s.silent) {
      s.calls->end();
      lock.unlock();
      try {
        publish(s);
      } catch (const std::exception&) {
      }
      lock.lock();
    }
    s.ended = true;
    s.changed.notify_all();
  }

  /// A rank whose wait has lasted too long closes its connections, and only then comes to say why: so whoever sees them
  /// close waits half a second for a reason before it calls that rank lost.
  static void let_speak(State& s) {
    for (int i = 0; i < 10 && !s.store->check({s.key}); ++i) {
      {
        const std::lock_guard lock(s.mutex);
        s.heard = true;
        s.changed.notify_all();
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }

  static std::string announce(State& s, const transport::Failure& own, bool ask) {
    const std::string mine = "?" + std::to_string(s.launch.rank);
    const auto mismatch = [](const std::string& differs) {
      return "!" + transport::Failure("pcomp: " + differs, transport::Failure::Kind::Mismatch).packed();
    };
    const auto offer = [&](const std::string& expected, const std::string& value) {
      const std::string holds = text_of(s.store->compareSet(s.key, value_of(expected), value_of(value)));
      const std::lock_guard lock(s.mutex);
      s.heard = true;
      s.changed.notify_all();
      return holds;
    };
    if (!ask) {
      if (own.kind == transport::Failure::Kind::PeerLost) let_speak(s);
      // A rank that ended its pipeline is not lost: its calls were fewer.
      publish(s);
      const std::string differs = transport::Calls::difference(records(s));
      return offer("", differs.empty() ? "!" + own.packed() : mismatch(differs));
    }
    const std::string found = offer("", mine);
    if (found != mine) return found;
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    std::string silent;
    std::vector<std::string> calls;
    for (int r = 0; r < s.launch.size; ++r)
      if (r == s.launch.rank)
        calls.push_back(s.calls->text());
      else if (s.store->check({s.here(r)}))
        calls.push_back(text_of(s.store->get(s.here(r))));
      else
        calls.emplace_back(), silent += (silent.empty() ? "" : ", ") + std::to_string(r);
    if (const std::string differs = transport::Calls::difference(calls); !differs.empty())
      return offer(mine, mismatch(differs));
    const std::string where = transport::Calls::where(calls), at = where.empty() ? "" : ": " + where;
    const bool one = silent.find(',') == std::string::npos;
    transport::Failure last = own;
    if (silent.empty())
      last.text += "; every rank answers, so one computes longer than that" + at;
    else
      last.text +=
          (one ? "; rank " : "; ranks ") + silent + (one ? " does not answer" : " do not answer") + at,
          last.rank = std::stoi(silent);
    return offer(mine, "!" + last.packed());
  }

  std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace pcomp::detail
