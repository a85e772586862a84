#pragma once
#include "../world.hpp"
#include "gloo.hpp"
#include "nccl.hpp"

#if defined(USE_C10D_GLOO)
namespace pcomp::transport {

/// The links of one rank whose peers are other processes.
class Processes final : public Communicator {
 public:
  /// Errors: `Error` if the ranks do not find each other.
  Processes(const World& world, std::vector<int> rank_of)
      : timeout_(world.timeout),
        here_{world.rank()},
        rank_of_(std::move(rank_of)),
        kind_(world.link),
        interface_(world.interface) {
    detail::ProcessContext& meeting = world.meeting();
    if (!meeting.rendezvous)
      meeting.rendezvous = std::make_shared<detail::Rendezvous>(*world.launch(), timeout_, interface_);
    rendezvous_ = meeting.rendezvous;
    rendezvous_->be_patient(timeout_);
    name_ = "pipeline" + std::to_string(meeting.pipelines++);
    for (int r = 0; r < world.size(); ++r)
      if (r != world.rank()) elsewhere_.push_back(r);
  }

  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;
  ~Processes() override {
    if (link_ && link_->is_over()) rendezvous_->failed = true;
    if (link_ && link_->store_is_lost()) rendezvous_->lost = true;
  }

  const std::vector<int>& here() const override { return here_; }
  const std::vector<int>& elsewhere() const override { return elsewhere_; }
  Calls* calls() override { return calls_.get(); }
  /// Connects the ranks, once they are known to agree. It returns when all are connected: a rank that is done with its
  /// link at once must not close a connection that another still makes.
  Transport& link(int) override {
    if (link_) return *link_;
    link_ = make();
    exchange("word that all are connected", "", nullptr);  // no call of the program's
    return *link_;
  }
  void begin() override {
    if (link_) link_->expect_no_abort();
  }
  std::vector<std::string> exchange(const std::string& about, const std::string& text) override {
    return exchange(about, text, link_ ? calls_.get() : nullptr);
  }

 private:
  std::vector<std::string> exchange(const std::string& about, const std::string& text, Calls* calls) {
    const std::string verb = "exchanges the " + about;
    const Calls::Scope call(calls, verb.c_str());
    const std::string name =
        name_ + "/" + std::to_string(exchanges_++) + ", " + calls_->name() + ", " + about;
    try {
      auto texts =
          rendezvous_->exchange(name, about, text, timeout_, [this] { return link_ && link_->is_over(); });
      if (link_) link_->expect_no_abort();
      return texts;
    } catch (const Error&) {
      if (link_) link_->expect_no_abort();  // a peer's reason takes precedence over the wait that it ended
      throw;
    }
  }

  std::unique_ptr<ProcessGroupTransport> make() {
#if defined(USE_C10D_NCCL)
    if (kind_ == Backend::Nccl)
      return std::make_unique<NcclTransport>(*rendezvous_, name_, interface_, timeout_, calls_, numbers(),
                                             rank_of_);
#endif
    if (kind_ == Backend::Gloo)
      return std::make_unique<GlooTransport>(*rendezvous_, name_, interface_, timeout_, calls_, numbers());
    throw Error("pcomp: this build has no NCCL: configure with -DPCOMP_NCCL=ON (docs/several-machines.md)");
  }

  /// The boundaries, the results, what the ranks agree on, and what a call is about.
  int numbers() const { return static_cast<int>(rank_of_.size()) + 2; }

  std::chrono::milliseconds timeout_;
  std::shared_ptr<Calls> calls_ = std::make_shared<Calls>();
  std::vector<int> here_, elsewhere_, rank_of_;
  Backend kind_;
  std::string interface_, name_;
  int exchanges_ = 0;
  std::shared_ptr<detail::Rendezvous> rendezvous_;
  std::unique_ptr<ProcessGroupTransport> link_;
};

}  // namespace pcomp::transport
#endif
