// Each wire's four calls on a GPU against a device-to-device copy of the same tensor, alternating in one run.
//
// bench-gpu CSV [LEAST MOST]: 2^LEAST to 2^MOST floats, 20 to 27 by default. Medians of CUDA-event times; "cold": after
// the L2 cache was overwritten. "copy" is the call's time over the copy's; "bandwidth" is the share of the copy's bytes
// per second that the call reaches, counting what must move: tensor, payload and, for gradients, the index.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <pcomp/kernel/cuda/queue.cuh>
#include <random>
#include <vector>

#include "wires.hpp"

namespace {

using pcomp::detail::gpu::expect;

cudaStream_t stream;

struct Array {
  void* at = nullptr;
  explicit Array(std::size_t n) { expect(cudaMalloc(&at, n + 256)); }
  Array(const Array&) = delete;
  ~Array() { cudaFree(at); }
};

void* scratch = nullptr;  // allocated beforehand, so only calls are timed

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

/// Event times of two alternating jobs, in microseconds.
struct Timer {
  Array flush;
  std::size_t flush_bytes;
  explicit Timer(std::size_t cache) : flush(2 * cache), flush_bytes(2 * cache) {}

  template <class A, class B>
  std::pair<double, double> medians(int rounds, bool cold, A&& a, B&& b) {
    std::vector<cudaEvent_t> events(static_cast<std::size_t>(rounds) * 4);
    for (auto& e : events) expect(cudaEventCreate(&e));
    for (int warm = 0; warm < 3; ++warm) a(), b();
    const auto timed = [&](std::size_t i, auto& job) {
      if (cold) expect(cudaMemsetAsync(flush.at, static_cast<int>(i), flush_bytes, stream));
      expect(cudaEventRecord(events[i], stream));
      job();
      expect(cudaEventRecord(events[i + 1], stream));
    };
    for (std::size_t r = 0; r < events.size(); r += 4) timed(r, a), timed(r + 2, b);
    expect(cudaStreamSynchronize(stream));
    std::vector<double> times[2];
    for (std::size_t i = 0; i < events.size(); i += 2) {
      float ms = 0;
      expect(cudaEventElapsedTime(&ms, events[i], events[i + 1]));
      times[i / 2 % 2].push_back(1e3 * static_cast<double>(ms));
    }
    for (auto& e : events) cudaEventDestroy(e);
    return {median(times[0]), median(times[1])};
  }
};

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2 && argc != 4) return std::fprintf(stderr, "bench-gpu CSV [LEAST MOST]\n"), 2;
  const int least = argc == 4 ? std::atoi(argv[2]) : 20, most = argc == 4 ? std::atoi(argv[3]) : 27;
  if (least < 16 || most > 29 || least > most)
    return std::fprintf(stderr, "bench-gpu: sizes are from 2^16 to 2^29 floats\n"), 2;
  cudaDeviceProp device;
  expect(cudaGetDeviceProperties(&device, 0));
  expect(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  std::printf("%s, %d multiprocessors, %d MB of second-level cache\n", device.name,
              device.multiProcessorCount, device.l2CacheSize >> 20);
  Timer timer(std::max<std::size_t>(static_cast<std::size_t>(device.l2CacheSize), 32 << 20));
  std::ofstream csv(argv[1]);
  csv << "wire,floats,cache,job,payload,microseconds,copy_microseconds,copy,bandwidth\n";
  const pcomp::kernel::Gpu gpu{stream, [](std::size_t) { return scratch; }, [](void*) {}};

  for (int exponent = least; exponent <= most; ++exponent) {
    const std::int64_t n = std::int64_t{1} << exponent;
    const pcomp::Extents shape{n / 32768 > 0 ? n / 32768 : 1, 32, 32, std::min<std::int64_t>(n / 1024, 32)};
    const std::size_t bytes = static_cast<std::size_t>(n) * 4;
    std::vector<float> values(static_cast<std::size_t>(n));
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = i < (1u << 22) ? normal(random) : values[i % 4194301];
    const Array x(bytes), y(bytes);
    expect(cudaMemcpy(x.at, values.data(), bytes, cudaMemcpyDefault));
    std::printf("\n2^%d floats: times of the copy's (microseconds; share of its bandwidth), warm | cold\n",
                exponent);
    for (const bench::Wire& w : bench::wires()) {
      const std::size_t sent = w.bytes(shape), grad_sent = w.grad_bytes(shape), index = w.index_bytes(shape);
      const Array p(sent), g(grad_sent), work(w.ops->workspace(shape));
      scratch = work.at;
      const std::span<std::byte> payload(static_cast<std::byte*>(p.at), sent),
          grad(static_cast<std::byte*>(g.at), grad_sent);
      const pcomp::kernel::TensorView in(x.at, pcomp::kernel::DType::f32, n, gpu);
      const pcomp::kernel::MutableTensorView out(y.at, pcomp::kernel::DType::f32, n, gpu);
      w.ops->encode(in, shape, payload);
      w.ops->encode_grad(in, shape, payload, grad);
      std::printf("%-18s", w.name);
      for (int job = 0; job < 4; ++job) {
        const auto call = [&] {
          if (job == 0) w.ops->encode(in, shape, payload);
          if (job == 1) w.ops->decode(payload, shape, out);
          if (job == 2) w.ops->encode_grad(in, shape, payload, grad);
          if (job == 3) w.ops->decode_grad(grad, shape, payload, out);
        };
        const auto copy = [&] {
          expect(cudaMemcpyAsync(y.at, x.at, bytes, cudaMemcpyDeviceToDevice, stream));
        };
        constexpr const char* names[] = {"encode", "decode", "grad encode", "grad decode"};
        std::printf("  %s", names[job]);
        for (const bool cold : {false, true}) {
          const auto [copied, called] = timer.medians(exponent < 24 ? 101 : 31, cold, copy, call);
          const double moved =
              static_cast<double>(bytes) + static_cast<double>(job < 2 ? sent : grad_sent + index);
          const double ratio = called / copied, bandwidth = moved / (2 * static_cast<double>(bytes)) / ratio;
          std::printf("%s %.2f (%.1f; %.0f%%)", cold ? " |" : "", ratio, called, 100 * bandwidth);
          csv << w.name << ',' << n << ',' << (cold ? "cold" : "warm") << ',' << names[job] << ','
              << (job < 2 ? sent : grad_sent) << ',' << called << ',' << copied << ',' << ratio << ','
              << bandwidth << '\n';
        }
      }
      std::printf("\n");
      std::fflush(stdout);
    }
  }
  return csv.flush() ? 0 : (std::fprintf(stderr, "bench-gpu: cannot write %s\n", argv[1]), 1);
} catch (const std::exception& e) {
  std::fprintf(stderr, "bench-gpu: %s\n", e.what());
  return 1;
}
