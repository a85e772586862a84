#pragma once
#include <ATen/core/Dict.h>
#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/serialization/pickle.h>

#include <string>
#include <utility>
#include <vector>

#include "../autograd/tensor.hpp"

namespace pcomp {

/// Named tensors, in order.
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// Packs tensors into the bytes of a file that Python reads: `torch.load(file, weights_only=True)` returns a dict.
///
/// Law: `unpack_tensors(pack_tensors(t))` has the same names in the same order, and tensors with the same bits, dtypes
///   and strides, in host memory: a run may resume on another kind of machine.
/// Bytes: those of the tensors, plus a few hundred for each.
/// Errors: `Error` that names an undefined, sparse or nested tensor.
/// Example: docs/checkpoints.md
inline std::string pack_tensors(const NamedTensors& tensors) {
  c10::Dict<std::string, at::Tensor> all;
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.defined()) throw Error("pcomp: a file takes tensors, but '" + name + "' is undefined");
    if (tensor.is_nested() || tensor.layout() != at::kStrided)
      throw Error("pcomp: a file takes dense tensors, but '" + name + "' is " + tensor.toString() +
                  ": save tensor.to_dense()");
    at::Tensor t = detail::in_memory(tensor.detach()).cpu();
    if (t.storage().nbytes() != t.nbytes()) t = t.clone();  // a view would save its whole storage
    all.insert(name, t);
  }
  // As torch::pickle_save, but without TorchScript types, which weights_only refuses.
  std::string index, bytes;
  torch::jit::Pickler pickler([&](const char* data, std::size_t n) { index.append(data, n); }, nullptr,
                              nullptr, nullptr, nullptr, false);
  pickler.protocol();
  pickler.pushIValue(all);
  pickler.stop();
  caffe2::serialize::PyTorchStreamWriter writer([&](const void* data, std::size_t n) {
    bytes.append(static_cast<const char*>(data), n);
    return n;
  });
  std::size_t i = 0;
  for (const at::Tensor& t : pickler.tensorData()) {
    const auto data = torch::jit::getWriteableTensorData(t);
    writer.writeRecord("data/" + std::to_string(i++), data.data(), data.sizeInBytes());
  }
  writer.writeRecord("data.pkl", index.data(), index.size());
  writer.writeEndOfFile();
  return bytes;
}

/// Errors: `Error` that begins with `where` if the bytes are not such a file.
inline NamedTensors unpack_tensors(std::string_view bytes, const std::string& where) {
  NamedTensors tensors;
  try {
    const c10::IValue all = torch::jit::pickle_load(std::vector<char>(bytes.begin(), bytes.end()));
    for (const auto& entry : all.toGenericDict())
      tensors.emplace_back(entry.key().toStringRef(), entry.value().toTensor());
  } catch (const std::exception&) {
    throw Error("pcomp: " + where + ": this is no file of named tensors");
  }
  return tensors;
}

/// Errors: `Error` that begins with `where` if no tensor has this name.
inline const at::Tensor& find_tensor(const NamedTensors& all, std::string_view name,
                                     const std::string& where) {
  for (const auto& [n, tensor] : all)
    if (n == name) return tensor;
  throw Error("pcomp: " + where + ": there is no tensor '" + std::string(name) + "'");
}

}  // namespace pcomp
