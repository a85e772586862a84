#pragma once
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "wire_kernels.hpp"

namespace pcomp::kernel {

/// The wires of one boundary, one for each tensor that crosses it.
///
/// Bytes: a message is the payloads in order, each but the first at the next multiple of 16 bytes.
/// Example: examples/080-transformer
class BoundaryWires {
 public:
  BoundaryWires(const WireKernels* one) : all_{one} {}
  BoundaryWires(std::vector<const WireKernels*> all) : all_(std::move(all)) {}

  std::size_t size() const { return all_.size(); }
  const WireKernels& operator[](std::size_t tensor) const { return *all_[tensor]; }
  auto begin() const { return all_.begin(); }
  auto end() const { return all_.end(); }
  /// "Quant<8>", of several "Quant<8>, Verbatim".
  std::string name() const {
    std::string all;
    for (const WireKernels* w : all_) all += (all.empty() ? "" : ", ") + std::string(w->name.view());
    return all;
  }
  friend bool operator==(const BoundaryWires&, const BoundaryWires&) = default;

 private:
  std::vector<const WireKernels*> all_;
};

/// The wires of all boundaries of a pipeline, in order.
class Wires {
 public:
  Wires() = default;
  Wires(std::initializer_list<BoundaryWires> all) : all_(all) {}
  Wires(std::vector<BoundaryWires> all) : all_(std::move(all)) {}
  Wires(const std::vector<const WireKernels*>& one_each) : all_(one_each.begin(), one_each.end()) {}

  std::size_t size() const { return all_.size(); }
  const BoundaryWires& operator[](std::size_t boundary) const { return all_[boundary]; }
  auto begin() const { return all_.begin(); }
  auto end() const { return all_.end(); }

 private:
  std::vector<BoundaryWires> all_;
};

}  // namespace pcomp::kernel

namespace pcomp::detail {

/// Where the next payload of a message begins.
constexpr std::size_t payload_start(std::size_t end) { return (end + 15) / 16 * 16; }

}  // namespace pcomp::detail
