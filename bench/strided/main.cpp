// Channels-last and transposed tensors: read and written in place, against a contiguous copy; see run.py.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/randn.h>

#include <cstdio>
#include <pcomp/autograd/tensor.hpp>
#include <pcomp/cpu.hpp>
#include <pcomp/kernel/wire_kernels.hpp>

#include "../common/alternate.hpp"
#include "../common/machine.hpp"

namespace {

using namespace pcomp;
using namespace pcomp::detail;

/// Medians in microseconds of jobs that take turns.
template <class... Job>
std::vector<double> in_turn(int rounds, Job&&... job) {
  std::vector<std::vector<double>> times(sizeof...(job));
  (job(), ...);
  for (int i = 0; i < rounds; ++i) {
    std::size_t j = 0;
    (times[j++].push_back(bench::seconds(job)), ...);
  }
  std::vector<double> us;
  for (auto& t : times) us.push_back(1e6 * bench::median(t));
  return us;
}

void compare(const char* wire, const kernel::WireKernels& k, const at::Tensor& x) {
  const Extents shape = extents_of(x);
  const kernel::ParallelFor par = torch_threads;
  at::Tensor y = at::empty_like(x), dense = x.contiguous(), copied = at::empty_like(dense),
             landed = at::empty_like(dense);
  std::vector<std::byte> payload(k.bytes(shape)), grad(k.grad_bytes(shape));
  const auto t = in_turn(
      x.numel() > 1 << 20 ? 21 : 201, [&] { copied.copy_(dense); },
      [&] { k.encode(in(dense), shape, payload, par); },
      [&] { k.encode(in(copied.copy_(x)), shape, payload, par); },
      [&] { k.encode(in(x), shape, payload, par); }, [&] { k.decode(payload, shape, out(landed), par); },
      [&] { k.decode(payload, shape, out(landed), par), y.copy_(landed); },
      [&] { k.decode(payload, shape, out(y), par); },
      [&] { k.encode_grad(in(copied.copy_(x)), shape, payload, grad, par); },
      [&] { k.encode_grad(in(x), shape, payload, grad, par); },
      [&] { k.decode_grad(grad, shape, payload, out(landed), par), y.copy_(landed); },
      [&] { k.decode_grad(grad, shape, payload, out(y), par); });
  std::printf(
      "%-14s%9.0f |%9.0f%9.0f%9.0f %5.2f |%9.0f%9.0f%9.0f %5.2f |%9.0f%9.0f %5.2f |%9.0f%9.0f %5.2f\n", wire,
      t[0], t[1], t[2], t[3], t[2] / t[3], t[4], t[5], t[6], t[5] / t[6], t[7], t[8], t[7] / t[8], t[9],
      t[10], t[9] / t[10]);
  std::fflush(stdout);
}

void compare_all(const char* layout, const at::Tensor& x) {
  std::printf("\n%s, %s of %s\n", to_string(extents_of(x)).c_str(), layout, c10::toString(x.scalar_type()));
  compare("raw", kernel::wire_kernels(Raw), x);
  compare("quant8", kernel::wire_kernels(Quant<8>), x);
  compare("topk10-quant8", kernel::wire_kernels(TopK<Ratio<1, 10>> | Quant<8>), x);
  compare("thin", kernel::wire_kernels(Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>), x);
}

}  // namespace

int main(int argc, char** argv) {
  at::set_num_threads(argc > 1 ? std::atoi(argv[1]) : 1);
  std::printf("%s; %d threads; microseconds; x: how many times faster than with a contiguous copy\n",
              bench::processor().c_str(), at::get_num_threads());
  std::printf("%-14s%9s |%9s%9s%9s %5s |%9s%9s%9s %5s |%9s%9s %5s |%9s%9s %5s\n", "", "memcpy",
              "encode:", "copy,", "in", "x", "decode:", "copy", "in", "x", "grad enc:", "in", "x",
              "grad dec:", "in", "x");
  std::printf("%-14s%9s |%9s%9s%9s %5s |%9s%9s%9s %5s |%9s%9s %5s |%9s%9s %5s\n", "", "", "dense", "encode",
              "place", "", "dense", "after", "place", "", "copy", "place", "", "copy", "place", "");
  const auto channels_last = at::MemoryFormat::ChannelsLast;
  for (const auto& sizes : std::vector<std::vector<std::int64_t>>{
           {16, 16, 32, 32}, {64, 32, 32, 32}, {64, 64, 56, 56}, {64, 512, 7, 7}, {16, 24, 112, 112}})
    compare_all("channels-last", at::randn(sizes).contiguous(channels_last));
  compare_all("channels-last", at::randn({64, 32, 32, 32}).to(at::kBFloat16).contiguous(channels_last));
  compare_all("transposed matrix", at::randn({1024, 2048}).t());
}
