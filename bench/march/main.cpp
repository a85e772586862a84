// The kernels of two builds, alternating on the same arrays; see run.py.
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <utility>

#include "../common/alternate.hpp"
#include "../common/machine.hpp"
#include "../common/tensors.hpp"
#include "kernels.hpp"

namespace {

std::span<const Kernels> load(const char* path) {
  void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  void* const found = library ? dlsym(library, "first_kernels") : nullptr;
  if (!found) std::fprintf(stderr, "bench-march: %s\n", dlerror()), std::exit(1);
  return {reinterpret_cast<FirstKernels*>(found)(), wire_count};
}

/// Medians of the two builds' times for one job.
struct Pair {
  double portable, native;
  double ratio() const { return portable / native; }
};

template <class Job>
Pair both(Job&& job, const pcomp::kernel::WireKernels& portable, const pcomp::kernel::WireKernels& native,
          int rounds) {
  std::vector<double> a, b;
  job(portable), job(native);
  for (int i = 0; i < rounds; ++i) {  // each goes first in every other round
    if (i % 2) b.push_back(bench::seconds([&] { job(native); }));
    a.push_back(bench::seconds([&] { job(portable); }));
    if (i % 2 == 0) b.push_back(bench::seconds([&] { job(native); }));
  }
  return {bench::median(a), bench::median(b)};
}

}  // namespace

int main() {
  const auto portable = load(PORTABLE), native = load(NATIVE);
  std::printf("%s\n", bench::processor().c_str());
  double worst = 0;
  for (const int log2 : {12, 18, 22}) {
    const pcomp::Extents shape = bench::shape_of(log2);
    const auto n = static_cast<std::size_t>(shape.size());
    const int rounds = log2 == 12 ? 4001 : log2 == 18 ? 301 : 41;
    std::vector<float> x(n), dy(n), y(n);
    bench::fill_normal(x.data(), shape.size(), 1, false);
    bench::fill_normal(dy.data(), shape.size(), 2, false);
    std::printf("\n2^%d floats, one thread: microseconds without -march, and over those with -march=native\n",
                log2);
    std::printf("%-15s%16s%16s%16s%16s\n", "wire", "encode", "decode", "grad encode", "grad decode");
    for (std::size_t w = 0; w < portable.size(); ++w) {
      const auto &p = *portable[w].ops, &q = *native[w].ops;
      std::vector<std::byte> payload(p.bytes(shape)), grad(p.grad_bytes(shape));
      const std::span<const float> in(x), din(dy);
      const std::span<float> out(y);
      const auto encode = [&](const auto& ops) { ops.encode(in, shape, payload, {}); };
      const auto decode = [&](const auto& ops) { ops.decode(payload, shape, out, {}); };
      const auto encode_grad = [&](const auto& ops) { ops.encode_grad(din, shape, payload, grad, {}); };
      const auto decode_grad = [&](const auto& ops) { ops.decode_grad(grad, shape, payload, out, {}); };
      std::printf("%-15s", portable[w].name);
      for (const Pair& pair : {both(encode, p, q, rounds), both(decode, p, q, rounds),
                               both(encode_grad, p, q, rounds), both(decode_grad, p, q, rounds)}) {
        std::printf("%10.1f %5.2f", 1e6 * pair.portable, pair.ratio());
        worst = std::max(worst, pair.ratio());
      }
      std::printf("\n");
      std::fflush(stdout);
    }
  }
  std::printf("\nat most 1.10 is aimed at; the worst is %.2f\n", worst);
}
