// boundary on CUDA tensors gives the values and gradients of the same call on the CPU.
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <torch/torch.h>

#include <pcomp/autograd/boundary.hpp>

#include "../../unit/torch/catch.hpp"
#include "wires.hpp"

using namespace pcomp;

namespace {

template <auto W>
void agrees(const at::Tensor& values) {
  INFO(name(W).view() << " of " << values.toString());
  const at::Tensor dy = at::randn(values.sizes()).to(values.scalar_type());
  at::Tensor here = values.detach().clone().requires_grad_();
  at::Tensor there = values.detach().to(at::kCUDA).requires_grad_();
  const at::Tensor y = boundary<W>(here), y_there = boundary<W>(there);
  CHECK(at::equal(y, y_there.cpu()));
  CHECK(y_there.is_contiguous(values.suggest_memory_format()));
  y.backward(dy);
  y_there.backward(dy.to(at::kCUDA));
  CHECK(at::equal(here.grad(), there.grad().cpu()));
}

}  // namespace

TEST_CASE("boundary on the GPU is boundary on the CPU", "[gpu]") {
  torch::manual_seed(1);
  for (const auto& shape : {std::vector<std::int64_t>{4, 6, 16, 16}, {3, 70}, {2, 3, 129, 131}})
    for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
      at::Tensor x = at::randn(shape).to(dtype);
      for (const bool channels_last : {false, true}) {
        if (channels_last && x.dim() != 4) continue;
        if (channels_last) x = x.contiguous(at::MemoryFormat::ChannelsLast);
        agrees<Raw>(x);
        agrees<Quant<8>>(x);
        agrees<thin>(x);
        agrees<sample>(x);
      }
    }
  agrees<thin>(at::randn({130, 4, 40}).transpose(0, 1));
}

TEST_CASE("a wire without CUDA kernels says how to get them", "[gpu]") {
  CHECK_THROWS_WITH(boundary<Quant<4>>(at::randn({4, 4}, at::kCUDA)),
                    Catch::Contains("PCOMP_GPU_KERNELS(Quant<4>)"));
}
