#pragma once
#include <c10/util/Logging.h>
#include <resolv.h>

#include <atomic>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "../transport.hpp"
#include "address.hpp"
#include "run_identity.hpp"
#include "timed_call.hpp"

namespace pcomp::detail {

using Store = c10::intrusive_ptr<c10d::Store>;
using StoreValue = std::vector<std::uint8_t>;
inline StoreValue value_of(const std::string& text) { return {text.begin(), text.end()}; }
inline std::string text_of(const StoreValue& bytes) { return {bytes.begin(), bytes.end()}; }

/// The c10d store where the processes of one run meet, hosted by rank 0 unless the launcher hosts it.
///
/// Law: no call takes longer than its limit, whatever the store's process does.
/// Guests: a process of another run is told so and changes nothing. Of runs that nothing tells apart (RunIdentity), one
///   that was complete before the guest began goes on; else all end, as who belongs to which cannot be known.
/// Errors: `Timeout` for a store that does not answer, `PeerLost` for one that is gone, `Mismatch` for one of another run
///   or two processes with the same rank, `Error` for a port in use or a second Rendezvous in one process.
class Rendezvous {
 public:
  using Limit = std::chrono::milliseconds;

  /// `interface`: as in `World`.
  Rendezvous(const transport::LauncherEnvironment& launch, Limit limit, const std::string& interface = "")
      : launch_(launch) {
    if (has_met())
      throw Error(
          "pcomp: this process has met the others before, and they may have gone: keep the World, or a "
          "copy of it, and build every pipeline on it");
    // c10d writes each failure to stderr with a stack trace; here it becomes an Error.
    if (!std::getenv("TORCH_CPP_LOG_LEVEL")) FLAGS_caffe2_log_level = 3;
    ask_no_name_servers();
    const std::string host = meeting_host(launch, interface);
    c10d::TCPStoreOptions options;
    options.port = static_cast<std::uint16_t>(launch.port);
    options.isServer = keeps_store();
    options.waitWorkers = false;
    options.timeout = limit;
    if (options.isServer) {
      options.masterListenFd = listen_on(host, launch.port);
      if (*options.masterListenFd < 0) port_in_use(host, limit);
    }
    const auto made = std::make_shared<Store>();
    std::string why = "it does not answer";
    try {
      if (timed_caller_.run([=] { *made = c10::make_intrusive<c10d::TCPStore>(host, options); },
                            limit + Limit(500)))
        store_ = *made;
    } catch (const std::exception& e) {
      why = first_line(e.what());
    }
    if (!store_)
      throw Timeout("pcomp: rank " + std::to_string(launch.rank) + " cannot reach the store at " +
                        launch.where() + ", which " + keeper() + " keeps, within " +
                        std::to_string(limit.count()) + " ms: " + why +
                        "; MASTER_ADDR and MASTER_PORT must be the same on every rank",
                    keepers_rank());
    enter(limit);
    has_met() = true;
  }
  Rendezvous(const Rendezvous&) = delete;
  Rendezvous& operator=(const Rendezvous&) = delete;

  /// The process that hosts the store stays until the others are done with it.
  ~Rendezvous() {
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
  /// Errors: `Timeout` that names the ranks still missing at the limit; `enough()` ends the wait early.
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
        [s = store_, found, text, limit, spent, rank = launch_.rank, complete = complete_key(launch_)] {
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
          if (spent.empty() && rank == 0) s->set(complete, value_of(std::to_string(time_of_day())));
          if (!spent.empty()) s->deleteKey(spent);
        },
        limit + Limit(1000), enough);
    if (done && found->missing.empty()) return found->texts;
    failed = true;
    if (done)
      throw Timeout("pcomp: rank " + std::to_string(launch_.rank) + " of " + std::to_string(launch_.size) +
                        " waited " + std::to_string(limit.count()) + " ms for " +
                        (found->missing.find(',') == std::string::npos ? "rank " : "ranks ") +
                        found->missing + ", the time limit: no " + about + " from there",
                    std::stoi(found->missing));
    throw_silent();
  }

  /// A separate connection to the same store.
  Store connect(Limit limit) {
    const auto made = std::make_shared<Store>();
    if (!ask([s = store_, made] { *made = s->clone(); }, limit, never)) throw_silent();
    return *made;
  }

  /// The prefix of this attempt's keys: a launcher's store outlives the ranks that it restarts.
  std::string prefix() const { return prefix(launch_); }
  const transport::LauncherEnvironment& launch() const { return launch_; }
  std::string keeper() const { return launch_.agent_store ? launch_.by : "rank 0"; }
  /// -1: none of this run.
  int keepers_rank() const { return launch_.agent_store ? -1 : 0; }
  [[noreturn]] void throw_silent() const {
    throw Timeout("pcomp: rank " + std::to_string(launch_.rank) + ": the store at " + launch_.where() +
                      ", which " + keeper() + " keeps, does not answer",
                  keepers_rank());
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
  /// Makes c10d print addresses as numbers. It asks the name servers about each connection, to print the name in its
  /// log, and where they are silent every connection and the store wait for them. It stops asking after its first
  /// failure, which is here: a connection that nobody takes, made on a thread that has no name server.
  static void ask_no_name_servers() {
#if defined(__GLIBC__)
    std::thread([] {
      if (::res_init() != 0) return;
      _res.nscount = 0;
      c10d::TCPStoreOptions options;
      options.port = 0;
      options.waitWorkers = false;
      options.timeout = std::chrono::milliseconds(1);
      try {
        c10::make_intrusive<c10d::TCPStore>("127.1.2.3", options);
      } catch (const std::exception&) {
      }
    }).join();
#endif
  }
  static std::atomic<bool>& has_met() {
    static std::atomic<bool> once = false;
    return once;
  }
  /// As `TimedCaller::run`, but cuts c10d's long error texts to one line.
  template <class F, class Enough>
  bool ask(F task, Limit limit, Enough enough) {
    try {
      return timed_caller_.run(std::move(task), limit, enough);
    } catch (const std::exception& e) {
      failed = lost = true;
      throw PeerLost("pcomp: rank " + std::to_string(launch_.rank) + ": " + keeper() +
                         " is lost, which keeps the store at " + launch_.where() + ": " +
                         first_line(e.what()),
                     keepers_rank());
    }
  }
  static std::string prefix(const transport::LauncherEnvironment& l) {
    return "pcomp/" + std::to_string(l.attempt) + "/";
  }
  static std::string run_key(const transport::LauncherEnvironment& l) {
    return l.agent_store ? prefix(l) + "run" : "pcomp/run";
  }
  static std::string complete_key(const transport::LauncherEnvironment& l) { return prefix(l) + "complete"; }
  std::string guest(const RunIdentity& own, const RunIdentity& host) const {
    return "the store at " + launch_.where() + " belongs to another run: that is " + host.describe() +
           " (its rank 0 is " + host.keeper + "), this one " + own.describe() +
           ": give each run a MASTER_PORT of its own";
  }

  /// Makes sure that this store is this run's, then takes the rank.
  void enter(Limit limit) {
    struct Found {
      std::string run, holder;
      bool taken = false;
    };
    const auto found = std::make_shared<Found>();
    const RunIdentity own = RunIdentity::of(launch_);
    const std::string me = "rank " + std::to_string(launch_.rank);
    const std::string mine = prefix() + "rank" + std::to_string(launch_.rank);
    // Whoever keeps a store says at once whose it is.
    const Limit most = launch_.agent_store ? limit : std::min<Limit>(limit, std::chrono::seconds(20));
    if (!ask(
            [=, s = store_, l = launch_, run = run_key(launch_)] {
              if (l.rank == 0) s->set(run, value_of(own.text()));
              try {
                s->wait({run}, most);
              } catch (const std::exception&) {
                if (!s->check({run})) return;
              }
              found->run = text_of(s->get(run));
              if (!own.same_run(RunIdentity::parse(found->run))) return;
              found->taken = s->add(mine, 1) > 1;
              if (!found->taken) s->set(mine + "/holder", value_of(this_process()));
              if (found->taken && s->check({mine + "/holder"}))
                found->holder = text_of(s->get(mine + "/holder"));
              if (found->taken) end_if_unclear(*s, l, own);
            },
            limit + Limit(1000), never))
      throw_silent();
    if (found->run.empty())
      throw Timeout("pcomp: " + me + " of " + std::to_string(launch_.size) + " waited " +
                        std::to_string(most.count()) + " ms at the store at " + launch_.where() +
                        " for rank 0, which has not come: another program may keep that store; set "
                        "MASTER_PORT to a free one",
                    0);
    const RunIdentity host = RunIdentity::parse(found->run);
    if (!own.same_run(host)) throw Mismatch("pcomp: " + me + ": " + guest(own, host));
    if (found->taken)
      throw Mismatch(
          "pcomp: another process of this run is " + me + " already" +
          (found->holder.empty() ? "" : " (" + found->holder + ")") +
          ": every process needs a rank of its own, every run a MASTER_PORT or a PCOMP_RUN_ID of its "
          "own, and "
          "ranks that ended are started again all together");
  }
  /// Two processes that nothing tells apart want one rank: if this one is as old as the run that it found, both may be
  /// of either run, and a mixture of the two must not train.
  static void end_if_unclear(c10d::Store& s, const transport::LauncherEnvironment& l,
                             const RunIdentity& own) {
    const std::string key = complete_key(l);
    const std::int64_t complete = s.check({key}) ? std::stoll(text_of(s.get(key))) : 0;
    if (!complete || process_began() <= complete)
      s.compareSet(
          prefix(l) + "pipeline0/failure", value_of(""),
          value_of("!" + transport::Failure("pcomp: two processes want to be rank " + std::to_string(l.rank) +
                                                " at " + l.where() + ", " + own.keeper +
                                                " and another, and nothing tells whether they belong to one "
                                                "run: " +
                                                own.describe() +
                                                "; give each run a MASTER_PORT or a PCOMP_RUN_ID of its own, "
                                                "and each process a rank",
                                            transport::Failure::Kind::Mismatch)
                             .packed()));
  }
  [[noreturn]] void port_in_use(const std::string& host, Limit limit) {
    const auto found = std::make_shared<std::string>();
    const RunIdentity own = RunIdentity::of(launch_);
    const Limit most = std::min<Limit>(limit, std::chrono::seconds(3));
    c10d::TCPStoreOptions options;
    options.port = static_cast<std::uint16_t>(launch_.port);
    options.waitWorkers = false;
    options.timeout = most;
    try {
      timed_caller_.run(
          [=, l = launch_, run = run_key(launch_)] {
            const auto s = c10::make_intrusive<c10d::TCPStore>(host, options);
            if (!s->check({run})) return;
            const std::string text = text_of(s->get(run));
            if (own.same_run(RunIdentity::parse(text))) end_if_unclear(*s, l, own);
            *found = text;
          },
          most);
    } catch (const std::exception&) {  // no store at all
    }
    const RunIdentity other = RunIdentity::parse(*found);
    throw Error("pcomp: rank 0 cannot keep the store at " + launch_.where() + ": the port is in use" +
                (found->empty() ? ", by another run perhaps"
                                : ", by " + other.describe() + " whose rank 0 is " + other.keeper) +
                ": set MASTER_PORT to a free one on every rank");
  }
  bool keeps_store() const { return launch_.rank == 0 && !launch_.agent_store; }
  template <class F>
  void call(Limit limit, F f, std::int64_t& result) {
    const auto value = std::make_shared<std::int64_t>(0);
    if (!ask([s = store_, f, value] { *value = f(*s); }, limit, never)) throw_silent();
    result = *value;
  }

  transport::LauncherEnvironment launch_;
  Store store_;
  std::string last_;  ///< this process's key in the last exchange
  TimedCaller timed_caller_;
  Limit patience_{std::chrono::minutes(10)};
};

}  // namespace pcomp::detail
