#pragma once
#if defined(USE_C10D_NCCL)
#if !defined(USE_C10D_GLOO)
#error "pcomp: NCCL carries what crosses boundaries, the rest needs Gloo's headers too (Debian: libgloo-dev)"
#endif
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <net/if.h>

#include <cstdlib>
#include <map>
#include <set>
#include <thread>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "gloo.hpp"

namespace pcomp::transport {

/// The link between processes with a GPU each: LibTorch's NCCL for what crosses boundaries, Gloo for the rest.
///
/// Law: as `Transport`. Each boundary and direction has its own communicator: within one, only the oldest message
///   moves, and receives are posted early. Every rank creates all of them up front, in the order of the boundaries:
///   creating one waits for the other end, so two ends that began with different ones would deadlock. NCCL knows no
///   tags: there, calls that differ are found by the results, which every call ends with and Gloo carries.
/// Bytes: device memory travels on NCCL's own streams, ordered after and before the caller's work, while the caller's
///   stream keeps computing; host memory goes through a device buffer, and the host waits.
/// Errors: `Error` if a rank has no GPU or shares one, or the other end of a boundary does not come within the time
///   limit; then as `ProcessGroupTransport`.
/// Source: NCCL, and ProcessGroupNCCL of LibTorch.
/// Example: docs/several-machines.md
class NcclTransport final : public GlooTransport {
 public:
  /// `rank_of`: the rank of each stage. This rank's GPU is the one that `LauncherEnvironment::device` picks.
  NcclTransport(detail::Rendezvous& rendezvous, const std::string& name, const std::string& interface,
                std::chrono::milliseconds timeout, std::shared_ptr<Calls> calls, int numbers,
                const std::vector<int>& rank_of)
      : GlooTransport(rendezvous, name, interface, timeout, std::move(calls), numbers),
        rank_(rendezvous.launch().rank) {
    const LauncherEnvironment& launch = rendezvous.launch();
    const int devices = c10::cuda::device_count();
    if (devices == 0)
      throw Error("pcomp: rank " + std::to_string(rank_) + " has no GPU, which NCCL needs: choose Gloo");
    device_ = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(launch.device(devices)));
    leave_failures_to_us();
    if (!interface.empty() && ::if_nametoindex(interface.c_str()))  // exactly this one
      ::setenv("NCCL_SOCKET_IFNAME", ("=" + interface).c_str(), 0);
    const detail::Store store = rendezvous.connect(timeout);
    for (int boundary = 0; boundary + 1 < static_cast<int>(rank_of.size()); ++boundary) {
      const int from = rank_of[static_cast<std::size_t>(boundary)];
      const int to = rank_of[static_cast<std::size_t>(boundary) + 1];
      if (from == to || (rank_ != from && rank_ != to)) continue;
      for (const bool gradient : {false, true})
        groups_[{boundary, gradient}] =
            meet(rendezvous.prefix() + name + "/nccl" + std::to_string(boundary) + (gradient ? "g" : "a"),
                 store, rank_ == from ? to : from);
    }
  }
  /// Ends in the same order on every rank, as it began.
  ~NcclTransport() override {
    const bool whole = !is_over();
    close();
    for (auto& entry : groups_) try {
        whole ? entry.second->shutdown() : entry.second->abort();
      } catch (const std::exception&) {
      }
  }
  bool moves_device_memory() const override { return true; }

 private:
  using Group = c10::intrusive_ptr<c10d::ProcessGroupNCCL>;

  /// LibTorch's watchdog would otherwise end the process when a message fails, a minute after telling the store.
  static void leave_failures_to_us() {
    for (const char* name : {"TORCH_NCCL_ASYNC_ERROR_HANDLING", "TORCH_NCCL_DUMP_ON_TIMEOUT",
                             "TORCH_NCCL_WAIT_TIMEOUT_DUMP_MILSEC", "TORCH_NCCL_ENABLE_MONITORING"})
      ::setenv(name, "0", 0);
  }

  /// The communicator of two ranks, in which the lower one is rank 0.
  Group meet(const std::string& prefix, const detail::Store& store, int peer) {
    const auto made = std::make_shared<Group>();
    std::string why = "it has not come";
    try {
      if (!timed_caller_.run(
              [=, most = limit(), device = device_, mine = rank_ < peer ? 0 : 1] {
                const c10::cuda::CUDAGuard guard(device);
                auto options = c10d::ProcessGroupNCCL::Options::create();
                // At its own limit the group ends the process: ours comes first.
                options->timeout = most + std::chrono::minutes(1);
                auto group = c10::make_intrusive<c10d::ProcessGroupNCCL>(
                    c10::make_intrusive<c10d::PrefixStore>(prefix, store), mine, 2, options);
                group->eagerConnectSingleDevice(device);
                *made = group;
              },
              limit() + std::chrono::milliseconds(500), [this] { return is_over(); }))
        expect_no_abort();
    } catch (const Error&) {
      throw;
    } catch (const std::exception& e) {
      why = detail::Rendezvous::first_line(e.what());
    }
    if (!*made)
      throw Error("pcomp: rank " + std::to_string(rank_) + " cannot connect its GPU " +
                  std::to_string(device_.index()) + " to rank " + std::to_string(peer) +
                  "'s over NCCL within " + std::to_string(limit().count()) + " ms: " + why +
                  "; each rank needs a GPU of its own");
    return *made;
  }

  /// What crosses no boundary (the results) goes through the host.
  Way way(const Message& m, int peer) override {
    const auto found = groups_.find({m.boundary, m.gradient});
    if (found == groups_.end()) return GlooTransport::way(m, peer);
    return {found->second.get(), rank_ < peer ? 1 : 0, true};
  }
  at::Tensor tensor(const Post& p) override {
    if (!p.way.of_device) return GlooTransport::tensor(p);
    const auto size = static_cast<std::int64_t>(p.size);
    if (!p.on_device || !size) return at::empty({size}, at::TensorOptions(at::kByte).device(device_));
    const at::Tensor t = at::from_blob(p.data, {size}, at::TensorOptions(at::kByte).device(at::kCUDA));
    if (t.device() != device_)
      throw Error("pcomp: a stage of rank " + std::to_string(rank_) + " is on GPU " +
                  std::to_string(t.device().index()) + ", but the rank's own is " +
                  std::to_string(device_.index()) + ": move it to at::kCUDA without a number");
    return t;
  }
  void before_send(const Post& p) override {
    if (p.way.of_device && !p.on_device) p.tensor.copy_(GlooTransport::tensor(p));
  }
  /// NCCL's wait only orders streams, which is enough for device memory; in host memory the caller needs the bytes.
  bool finish(Post& p) override {
    if (!p.way.of_device) return GlooTransport::finish(p);
    if (p.on_device) return p.work->wait();
    const auto end = std::chrono::steady_clock::now() + limit();
    while (!p.work->isCompleted()) {
      if (is_over()) return false;
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    if (const auto error = p.work->exception()) std::rethrow_exception(error);
    if (!p.sends) GlooTransport::tensor(p).copy_(p.tensor);
    return true;
  }

  /// Aborting a single message would count as a failure of the whole group, on which its watchdog acts.
  void end(const Way& way, c10d::Work& work) override {
    if (!way.of_device) return GlooTransport::end(way, work);
    if (!over_.insert(way.group).second) return;
    for (auto& entry : groups_) try {
        if (entry.second.get() == way.group) entry.second->abort();
      } catch (const std::exception&) {
      }
  }

  int rank_;
  at::Device device_{at::kCUDA};
  std::map<std::pair<int, bool>, Group> groups_;
  std::set<c10d::Backend*> over_;
};

}  // namespace pcomp::transport
#endif
