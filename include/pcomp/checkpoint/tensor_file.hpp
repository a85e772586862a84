#pragma once
#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/compiled.hpp"

namespace pcomp::checkpoint {

/// Named tensors, in order.
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// Packs tensors into the bytes of a file that Python reads: `torch.load(file, weights_only=True)` returns a dict.
///
/// Law: `unpack_tensors(pack_tensors(t))` has the same names in the same order, and tensors with the same bits, dtypes
///   and strides, in host memory: a run may resume on another kind of machine.
/// Bytes: those of the tensors, plus a few hundred for each.
/// Errors: `Error` that names an undefined, sparse or nested tensor.
/// Example: docs/checkpoints.md
[[nodiscard]] std::string pack_tensors(const NamedTensors& tensors);

/// Reads a file of `pack_tensors`, or of Python's `torch.save(net.state_dict(), file)` or of any dict of tensors.
///
/// Errors: `Error` that begins with `where` if the bytes are not such a file.
[[nodiscard]] NamedTensors unpack_tensors(std::string_view bytes, const std::string& where);

/// Errors: `Error` that begins with `where` if no tensor has this name.
[[nodiscard]] const at::Tensor& find_tensor(const NamedTensors& all, std::string_view name,
                                            const std::string& where);

}  // namespace pcomp::checkpoint

#if !defined(PCOMP_COMPILED)
#include "impl/tensor_file.ipp"
#endif
