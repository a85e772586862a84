#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <pcomp/base/error.hpp>

#include "contender.hpp"

namespace bench {
namespace {

constexpr long long block = 4096;  // bitsandbytes' default

/// The 256 values of bitsandbytes' create_dynamic_map(signed=True).
std::vector<float> dynamic_map() {
  std::vector<float> map{0, 1};
  for (int i = 0; i < 7; ++i) {
    const int count = 1 << i;
    for (int j = 0; j < count; ++j) {
      const double mean = std::pow(10.0, i - 6) * (0.1 + 0.9 * (j + 0.5) / count);
      map.push_back(static_cast<float>(mean));
      map.push_back(static_cast<float>(-mean));
    }
  }
  std::sort(map.begin(), map.end());
  return map;
}

}  // namespace

Contender blockwise(const at::Tensor& x, const std::string& library, int threads) {
  void* loaded = dlopen(library.c_str(), RTLD_NOW);
  if (!loaded) throw pcomp::Error(std::string("cannot load bitsandbytes: ") + dlerror());
  const auto symbol = [&](const char* name) {
    void* found = dlsym(loaded, name);
    if (!found) throw pcomp::Error(library + " has no " + name);
    return found;
  };
  using Quantize =
      void(const float* map, const float* x, float* most, std::uint8_t* codes, long long block, long long n);
  using Dequantize = void(const float* map, const std::uint8_t* codes, const float* most, float* y,
                          long long block, long long n);
  auto* quantize = reinterpret_cast<Quantize*>(symbol("cquantize_blockwise_cpu_fp32"));
  auto* dequantize = reinterpret_cast<Dequantize*>(symbol("cdequantize_blockwise_cpu_fp32"));
  // It may bring its own OpenMP, which torch's number of threads does not affect.
  auto* set_threads = reinterpret_cast<void (*)(int)>(symbol("omp_set_num_threads"));

  struct State {
    std::vector<float> map = dynamic_map();
    at::Tensor x, most, codes, y;
  };
  const std::int64_t n = x.numel();
  auto s = std::make_shared<State>(State{.x = x,
                                         .most = at::empty({(n + block - 1) / block}),
                                         .codes = at::empty({n}, at::kByte),
                                         .y = at::empty_like(x)});
  return {"bitsandbytes blocks of 4096 (hivemind)",
          [=] {
            set_threads(threads);
            quantize(s->map.data(), s->x.const_data_ptr<float>(), s->most.mutable_data_ptr<float>(),
                     s->codes.mutable_data_ptr<std::uint8_t>(), block, n);
          },
          [=] {
            set_threads(threads);
            dequantize(s->map.data(), s->codes.const_data_ptr<std::uint8_t>(),
                       s->most.const_data_ptr<float>(), s->y.mutable_data_ptr<float>(), block, n);
          },
          [=] { return s->codes.nbytes() + s->most.nbytes(); }, [=] { return s->y.const_data_ptr<float>(); }};
}

}  // namespace bench
