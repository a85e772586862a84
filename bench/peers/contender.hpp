#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

namespace bench {

/// One way to do a job: float tensor to bytes and back.
struct Contender {
  std::string name;
  std::function<void()> encode, decode;
  std::function<std::size_t()> bytes;     ///< what would be sent, after an encode
  std::function<const float*()> decoded;  ///< the tensor, after a decode
  bool eager = false;                     ///< LibTorch operators for exactly the same job
};

/// pcomp's wire of that name from apps/train, into preallocated buffers and into new ones each call.
std::vector<Contender> ours(const std::string& wire, const at::Tensor& x);

/// Min-max quantisation of groups of 128 to 8 bits by LibTorch operators, with new tensors and with out= ones.
std::vector<Contender> eager_quant8(const at::Tensor& x);
/// The tenth of largest magnitude, its indices as 32-bit integers, its values quantised as above; with `pool`,
/// that of the 2x2 means.
std::vector<Contender> eager_topk10_quant8(const at::Tensor& x, bool pool);

/// LibTorch's own 8-bit operators: FBGEMM by rows of 128, and one scale for the whole tensor.
std::vector<Contender> quantized_operators(const at::Tensor& x);

/// zstd and lz4 at their fastest ordinary level on the floats as they are, one part per thread.
std::vector<Contender> lossless(const at::Tensor& x, int threads);

/// bitsandbytes' blockwise quantisation, which hivemind's BlockwiseQuantization calls, from the shared library in
/// its wheel. Errors: `pcomp::Error` if the file does not load.
Contender blockwise(const at::Tensor& x, const std::string& library, int threads);

}  // namespace bench
