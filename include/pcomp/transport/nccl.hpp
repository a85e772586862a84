#pragma once
#if defined(USE_C10D_NCCL)
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>

#include <map>
#include <thread>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "group_link.hpp"

namespace pcomp {

/// The link between processes with a GPU each: LibTorch's NCCL.
///
/// Law: as `Transport`. A communicator for each boundary and direction: of one communicator's messages between two
///   ranks only the first in line moves, and receives are posted early.
/// Bytes: those in device memory travel on NCCL's own streams, behind and before the caller's, while that computes on;
///   those in host memory go through a device buffer, and the host waits.
/// Errors: as `GroupLink`; rank r uses the current device, or device r mod the number of devices.
/// Source: NCCL, and ProcessGroupNCCL of LibTorch.
/// Example: docs/several-machines.md
class Nccl final : public GroupLink {
 public:
  Nccl(detail::Board& board, const std::string& name, std::chrono::milliseconds timeout)
      : GroupLink(board, name, timeout), launch_(board.launch()), prefix_(board.prefix() + name) {
    const int devices = c10::cuda::device_count();
    if (devices == 0)
      throw Error("pcomp: rank " + std::to_string(launch_.rank) +
                  " has no GPU, which NCCL needs: choose Gloo");
    device_ = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(launch_.rank % devices));
    store_ = board.connect(timeout);
  }
  ~Nccl() override { close(); }
  bool moves_device_memory() const override { return true; }

 private:
  using Group = c10::intrusive_ptr<c10d::ProcessGroupNCCL>;

  c10d::Backend& group(const Message& m) override {
    const int index = 2 * m.edge + (m.gradient ? 1 : 0);
    Group& g = groups_[index];
    if (!g) {
      const c10::cuda::CUDAGuard guard(device_);
      auto options = c10d::ProcessGroupNCCL::Options::create();
      options->timeout =
          timeout() + std::chrono::minutes(1);  // at its own limit it ends the process: ours comes first
      g = c10::make_intrusive<c10d::ProcessGroupNCCL>(
          c10::make_intrusive<c10d::PrefixStore>(prefix_ + "/nccl" + std::to_string(index), store_),
          launch_.rank, launch_.size, options);
    }
    return *g;
  }
  at::Tensor tensor(const Post& p) override {
    const auto size = static_cast<std::int64_t>(p.size);
    if (p.on_device) return at::from_blob(p.data, {size}, at::TensorOptions(at::kByte).device(at::kCUDA));
    return at::empty({size}, at::TensorOptions(at::kByte).device(device_));
  }
  void before_send(const Post& p) override {
    if (!p.on_device) p.tensor.copy_(host(p));
  }
  /// Its wait only orders streams, which is all for device memory; for the host's the caller wants the bytes.
  bool finish(Post& p) override {
    if (p.on_device) return p.work->wait();
    const auto end = std::chrono::steady_clock::now() + timeout();
    while (!p.work->isCompleted()) {
      if (is_over()) return false;
      if (std::chrono::steady_clock::now() > end) throw Error("Timed out");
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    if (const auto error = p.work->exception()) std::rethrow_exception(error);
    if (!p.sends) host(p).copy_(p.tensor);
    return true;
  }
  static at::Tensor host(const Post& p) {
    return at::from_blob(p.data, {static_cast<std::int64_t>(p.size)}, at::kByte);
  }

  Launch launch_;
  std::string prefix_;
  at::Device device_{at::kCUDA};
  detail::Store store_;
  std::map<int, Group> groups_;
};

}  // namespace pcomp
#endif
