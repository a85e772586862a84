#pragma once
#include <c10/util/Logging.h>

#include <atomic>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "address.hpp"
#include "courier.hpp"
#include "launch.hpp"

namespace pcomp::detail {

using Store = c10::intrusive_ptr<c10d::Store>;
using StoreValue = std::vector<std::uint8_t>;
inline StoreValue value_of(const std::string& text) { return {text.begin(), text.end()}; }
inline std::string text_of(const StoreValue& bytes) { return {bytes.begin(), bytes.end()}; }

/// The c10d store where the processes of one run meet, hosted by rank 0 unless the launcher hosts it.
///
/// Law: no call takes longer than its limit, whatever the store's process does.
/// Errors: `Error` for a port in use, a store that does not answer, two processes with the same rank, or a second Board
///   in one process.
class Board {
 public:
  using Limit = std::chrono::milliseconds;

  Board(const Launch& launch, Limit limit) : launch_(launch) {
    if (has_met())
      throw Error(
          "pcomp: this process has met the others before, and they may have gone: keep the World, or a "
          "copy of it, and build every pipeline on it");
    // c10d writes each failure to stderr with a stack trace; here it becomes an Error.
    if (!std::getenv("TORCH_CPP_LOG_LEVEL")) FLAGS_caffe2_log_level = 3;
    c10d::TCPStoreOptions options;
    options.port = static_cast<std::uint16_t>(launch.port);
    options.isServer = keeps_store();
    options.waitWorkers = false;
    options.timeout = limit;
    if (options.isServer) options.masterListenFd = listen_on(launch.host, launch.port);
    const auto made = std::make_shared<Store>();
    std::string why = "it does not answer";
    try {
      if (courier_.run([=] { *made = c10::make_intrusive<c10d::TCPStore>(launch.host, options); },
                       limit + Limit(500)))
        store_ = *made;
    } catch (const std::exception& e) {
      why = first_line(e.what());
    }
    if (!store_)
      throw Error("pcomp: rank " + std::to_string(launch.rank) + " cannot reach the store at " +
                  launch.where() + ", which " + keeper() + " keeps, within " + std::to_string(limit.count()) +
                  " ms: " + why + "; MASTER_ADDR and MASTER_PORT must be the same on every rank");
    const std::string key = prefix() + "rank" + std::to_string(launch.rank);
    std::int64_t times = 0;
    call(
        limit, [&, key](c10d::Store& s) { return s.add(key, 1); }, times);
    if (times > 1)
      throw Error("pcomp: another process of this run is rank " + std::to_string(launch.rank) +
                  " already: every process needs a rank of its own");
    has_met() = true;
  }
  Board(const Board&) = delete;
  Board& operator=(const Board&) = delete;

  /// The process that hosts the store stays until the others are done with it.
  ~Board() {
    if (!store_ || lost) return;
    try {
      const std::string key = prefix() + "left";
      std::int64_t left = 0;
      call(
          Limit(2000), [key](c10d::Store& s) { return s.add(key, 1); }, left);
      const auto end = std::chrono::steady_clock::now() + (failed ? Limit(1000) : patience_);
      while (keeps_store() && left < launch_.size && std::chrono::steady_clock::now() < end) {
        std::this_thread::sleep_for(Limit(20));
        call(
            Limit(2000), [key](c10d::Store& s) { return s.add(key, 0); }, left);
      }
    } catch (const std::exception&) {
      if (keeps_store() && !lost)
        std::this_thread::sleep_for(Limit(1000));  // the others are still asking for the reason
    }
  }

  /// Publishes `text` under `name` and returns the texts of all ranks; `about` says in errors what they are.
  ///
  /// Errors: `Error` that names the ranks still missing at the limit; `enough()` ends the wait early.
  template <class Enough>
  std::vector<std::string> exchange(const std::string& name, const std::string& about,
                                    const std::string& text, Limit limit, Enough enough) {
    struct Found {
      std::vector<std::string> keys, texts;
      std::string missing;
    };
    const auto found = std::make_shared<Found>();
    for (int r = 0; r < launch_.size; ++r) found->keys.push_back(prefix() + name + "/" + std::to_string(r));
    // A rank that has all texts of this exchange knows that every rank has those of the previous one.
    const std::string spent = std::exchange(last_, found->keys[static_cast<std::size_t>(launch_.rank)]);
    const bool done = ask(
        [s = store_, found, text, limit, spent, rank = launch_.rank] {
          s->set(found->keys[static_cast<std::size_t>(rank)], value_of(text));
          try {
            s->wait(found->keys, limit);
          } catch (const std::exception&) {
            for (std::size_t r = 0; r < found->keys.size(); ++r)
              if (!s->check({found->keys[r]}))
                found->missing += (found->missing.empty() ? "" : ", ") + std::to_string(r);
            if (!found->missing.empty()) return;
          }
          for (const StoreValue& b : s->multiGet(found->keys)) found->texts.push_back(text_of(b));
          if (!spent.empty()) s->deleteKey(spent);
        },
        limit + Limit(1000), enough);
    if (done && found->missing.empty()) return found->texts;
    failed = true;
    if (done)
      throw Error("pcomp: rank " + std::to_string(launch_.rank) + " of " + std::to_string(launch_.size) +
                  " waited " + std::to_string(limit.count()) + " ms for " +
                  (found->missing.find(',') == std::string::npos ? "rank " : "ranks ") + found->missing +
                  ", the time limit: no " + about + " from there");
    throw Error("pcomp: rank " + std::to_string(launch_.rank) + ": " + silent());
  }

  /// A separate connection to the same store.
  Store connect(Limit limit) {
    const auto made = std::make_shared<Store>();
    if (!ask([s = store_, made] { *made = s->clone(); }, limit, never))
      throw Error("pcomp: rank " + std::to_string(launch_.rank) + ": " + silent());
    return *made;
  }

  /// The prefix of this attempt's keys: a launcher's store outlives the ranks that it restarts.
  std::string prefix() const { return "pcomp/" + std::to_string(launch_.attempt) + "/"; }
  const Launch& launch() const { return launch_; }
  std::string keeper() const { return launch_.agent_store ? launch_.by : "rank 0"; }
  std::string silent() const {
    return "the store at " + launch_.where() + ", which " + keeper() + " keeps, does not answer";
  }
  void be_patient(Limit limit) { patience_ = limit; }
  static std::string first_line(std::string text) {
    text.resize(std::min(text.find('\n'), text.size()));
    while (text.ends_with('.')) text.pop_back();
    return text;
  }

  std::atomic<bool> failed = false;  ///< not every rank will sign off
  std::atomic<bool> lost = false;    ///< the store must no longer be asked

 private:
  static bool never() { return false; }
  static std::atomic<bool>& has_met() {
    static std::atomic<bool> once = false;
    return once;
  }
  /// As `Courier::run`, but cuts c10d's long error texts to one line.
  template <class F, class Enough>
  bool ask(F task, Limit limit, Enough enough) {
    try {
      return courier_.run(std::move(task), limit, enough);
    } catch (const std::exception& e) {
      failed = lost = true;
      throw Error("pcomp: rank " + std::to_string(launch_.rank) + ": " + keeper() +
                  " is lost, which keeps the store at " + launch_.where() + ": " + first_line(e.what()));
    }
  }
  bool keeps_store() const { return launch_.rank == 0 && !launch_.agent_store; }
  template <class F>
  void call(Limit limit, F f, std::int64_t& result) {
    const auto value = std::make_shared<std::int64_t>(0);
    if (!ask([s = store_, f, value] { *value = f(*s); }, limit, never))
      throw Error("pcomp: rank " + std::to_string(launch_.rank) + ": " + silent());
    result = *value;
  }

  Launch launch_;
  Store store_;
  std::string last_;  ///< this process's key in the last exchange
  Courier courier_;
  Limit patience_{std::chrono::minutes(10)};
};

}  // namespace pcomp::detail
