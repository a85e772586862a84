#pragma once
#include "../../base/error.hpp"
#include "collectives.cuh"

namespace pcomp::detail::gpu {

#if defined(__CUDACC__)

template <class Kernel>
__global__ void __launch_bounds__(block_threads) run(const __grid_constant__ Kernel kernel) {
  kernel();
}

inline void expect(cudaError_t e) {
  if (e != cudaSuccess) throw Error(std::string("pcomp: CUDA says: ") + cudaGetErrorString(e));
}

/// A stream: what is enqueued runs in order, and nothing here waits for it.
class Queue {
 public:
  explicit Queue(void* stream) : stream_(static_cast<cudaStream_t>(stream)) {}

  template <class Kernel>
  void launch(const Kernel& kernel, std::int64_t blocks) const {
    if (blocks <= 0) return;
    run<<<static_cast<unsigned>(blocks), block_threads, 0, stream_>>>(kernel);
    expect(cudaGetLastError());
  }
  void zero(void* p, std::int64_t bytes) const {
    if (bytes > 0) expect(cudaMemsetAsync(p, 0, static_cast<std::size_t>(bytes), stream_));
  }

 private:
  cudaStream_t stream_;
};

#else

/// Without a CUDA compiler: runs in the emulator, at once.
class Queue {
 public:
  explicit Queue(void*) {}

  template <class Kernel>
  void launch(const Kernel& kernel, std::int64_t blocks) const {
    Emulator::run(blocks, block_threads, [&] { kernel(); });
  }
  void zero(void* p, std::int64_t bytes) const {
    if (bytes > 0) std::memset(p, 0, static_cast<std::size_t>(bytes));
  }
};

#endif

}  // namespace pcomp::detail::gpu
