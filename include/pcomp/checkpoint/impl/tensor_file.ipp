#pragma once
#include <ATen/core/Dict.h>
#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/serialization/pickle.h>
#include <torch/csrc/jit/serialization/unpickler.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "../../autograd/tensor.hpp"
#include "../tensor_file.hpp"

namespace pcomp::checkpoint {

PCOMP_IMPL std::string pack_tensors(const NamedTensors& tensors) {
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

}  // namespace pcomp::checkpoint

namespace pcomp::detail {

/// The bytes of a file for LibTorch's reader.
struct ReadBytes : caffe2::serialize::ReadAdapterInterface {
  explicit ReadBytes(std::string_view b) : bytes(b) {}
  std::size_t size() const override { return bytes.size(); }
  std::size_t read(std::uint64_t from, void* to, std::size_t n, const char*) const override {
    if (from > bytes.size()) return 0;
    n = std::min(n, bytes.size() - static_cast<std::size_t>(from));
    std::memcpy(to, bytes.data() + from, n);
    return n;
  }
  std::string_view bytes;
};

/// A pickle in terms that LibTorch knows. Python's `state_dict()` is an OrderedDict, for which LibTorch puts None on its
/// stack, with the versions of its modules behind its tensors: `}`, its number, "_metadata", ... So a plain dict is
/// begun on top of that None, ends before the versions, and both become a pair.
inline std::string known_terms(std::string pickle) {
  using namespace std::string_view_literals;
  constexpr auto ordered =
      "\x80\x02"
      "ccollections\nOrderedDict\nq\0)Rq\x01"sv;
  if (!pickle.starts_with(ordered)) return pickle;
  std::size_t end = pickle.size() - 1;
  const std::size_t versions = pickle.rfind("X\x09\0\0\0_metadata"sv);
  for (std::size_t put : {std::size_t{2}, std::size_t{5}})  // BINPUT, LONG_BINPUT
    if (versions != std::string::npos && versions > put && pickle[versions - put - 1] == '}' &&
        pickle[versions - put] == (put == 2 ? 'q' : 'r'))
      end = versions - put - 1;
  return pickle.substr(0, ordered.size()) + "}" + pickle.substr(ordered.size(), end - ordered.size()) +
         "\x86.";
}

inline c10::IValue read_pickle(caffe2::serialize::PyTorchStreamReader& reader) {
  const auto [data, size] = reader.getRecord("data.pkl");
  const std::string pickle = known_terms(std::string(static_cast<const char*>(data.get()), size));
  std::size_t place = 0;
  torch::jit::Unpickler unpickler(
      [&](char* to, std::size_t n) {
        n = std::min(n, pickle.size() - place);
        std::memcpy(to, pickle.data() + place, n);
        place += n;
        return n;
      },
      nullptr, nullptr,
      [&](const std::string& name) { return std::get<0>(reader.getRecord("data/" + name)); }, std::nullopt);
  unpickler.set_version(reader.version());
  const c10::IValue all = unpickler.parse_ivalue();
  return all.isTuple() ? all.toTupleRef().elements().at(1) : all;
}

}  // namespace pcomp::detail

namespace pcomp::checkpoint {

PCOMP_IMPL NamedTensors unpack_tensors(std::string_view bytes, const std::string& where) {
  NamedTensors tensors;
  bool archive = false;
  try {
    caffe2::serialize::PyTorchStreamReader reader(std::make_shared<detail::ReadBytes>(bytes));
    archive = true;
    const c10::IValue all = detail::read_pickle(reader);
    for (const auto& entry : all.toGenericDict())
      tensors.emplace_back(entry.key().toStringRef(), entry.value().toTensor());
  } catch (const std::exception&) {
    throw Error("pcomp: " + where + ": this is no file of named tensors" +
                (archive ? ": save torch.save(net.state_dict(), file), or a dict of tensors alone" : ""));
  }
  return tensors;
}

PCOMP_IMPL const at::Tensor& find_tensor(const NamedTensors& all, std::string_view name,
                                         const std::string& where) {
  for (const auto& [n, tensor] : all)
    if (n == name) return tensor;
  throw Error("pcomp: " + where + ": there is no tensor '" + std::string(name) + "'");
}

}  // namespace pcomp::checkpoint
