#pragma once
#if defined(USE_C10D_GLOO)
#include <ATen/ops/from_blob.h>
#include <net/if.h>

#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "process_group.hpp"

namespace pcomp::transport {

/// The link between processes over TCP: LibTorch's Gloo, in host memory.
///
/// Law: as `Transport`; a send is a rendezvous. Activations and gradients use separate connections.
/// Errors: `Timeout` or `PeerLost` if the ranks cannot connect to each other.
/// Source: Gloo, and ProcessGroupGloo of LibTorch.
/// Example: docs/several-machines.md
class GlooTransport : public ProcessGroupTransport {
 public:
  /// `interface`: as in `World`; the rest as in `ProcessGroupTransport`.
  GlooTransport(detail::Rendezvous& rendezvous, const std::string& name, const std::string& interface,
                std::chrono::milliseconds timeout, std::shared_ptr<Calls> calls, int numbers)
      : ProcessGroupTransport(rendezvous, name, timeout, std::move(calls), numbers) {
    const LauncherEnvironment& launch = rendezvous.launch();
    const bool named = !interface.empty() && ::if_nametoindex(interface.c_str()) != 0;
    const std::string address = interface.empty() ? detail::address_towards(launch.host) : interface;
    const auto groups = std::make_shared<std::array<Group, 2>>();
    std::string why = "not all ranks answered";
    const auto begun = std::chrono::steady_clock::now();
    try {
      const detail::Store store = rendezvous.connect(timeout);
      if (timed_caller_.run(
              [=, prefix = rendezvous.prefix() + name] {
                auto options = c10d::ProcessGroupGloo::Options::create(timeout);
                options->threads = 1;  // for collectives, which nobody calls
                options->devices = {named ? c10d::ProcessGroupGloo::createDeviceForInterface(address)
                                          : c10d::ProcessGroupGloo::createDeviceForHostname(address)};
                for (int g = 0; g < 2; ++g)
                  (*groups)[static_cast<std::size_t>(g)] = c10::make_intrusive<c10d::ProcessGroupGloo>(
                      c10::make_intrusive<c10d::PrefixStore>(prefix + (g ? "/gradients" : "/activations"),
                                                             store),
                      launch.rank, launch.size, options);
              },
              timeout + std::chrono::milliseconds(500), [this] { return is_over(); }))
        groups_ = *groups;
      else
        expect_no_abort();
    } catch (const Error&) {
      throw;
    } catch (const std::exception& e) {
      why = detail::Rendezvous::first_line(e.what());
      if (const auto key = why.find("keys: "); key != std::string::npos)  // Gloo waits for PREFIX/.../PEER
        why = "rank " + why.substr(why.rfind('/') + 1) + " has not come";
    }
    if (groups_[1]) return;
    const bool silent = std::chrono::steady_clock::now() - begun >= timeout;
    Failure("pcomp: rank " + std::to_string(launch.rank) + " listens on " + address +
                " and cannot connect to every other rank" +
                (silent ? " within " + std::to_string(timeout.count()) + " ms: " : ": ") + why,
            silent ? Failure::Kind::Timeout : Failure::Kind::PeerLost)
        .raise();
  }
  ~GlooTransport() override { close(); }

 protected:
  Way way(const Message& m, int peer) override { return {groups_[m.gradient ? 1 : 0].get(), peer, false}; }
  at::Tensor tensor(const Post& p) override {
    return at::from_blob(p.data, {static_cast<std::int64_t>(p.size)}, at::kByte);
  }
  bool finish(Post& p) override { return p.work->wait(); }

  detail::TimedCaller timed_caller_;

 private:
  using Group = c10::intrusive_ptr<c10d::ProcessGroupGloo>;
  std::array<Group, 2> groups_;
};

}  // namespace pcomp::transport
#endif
