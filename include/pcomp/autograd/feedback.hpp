#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/nan_to_num.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../kernel/wire_kernels.hpp"
#include "tensor.hpp"

namespace pcomp::detail {

/// Sample identities as plain integers.
inline std::vector<std::int64_t> sample_ids_of(const at::Tensor& sample_ids, std::int64_t samples) {
  if (!sample_ids.defined() || sample_ids.dim() != 1 || sample_ids.size(0) != samples ||
      sample_ids.scalar_type() != at::kLong)
    throw Error("pcomp: Delta needs the identities of " + std::to_string(samples) +
                " samples, a tensor of as many int64, not " +
                (sample_ids.defined() ? sample_ids.toString() + " " + to_string(extents_of(sample_ids))
                                      : std::string("none")));
  const at::Tensor plain = in_memory(sample_ids).cpu().contiguous();
  std::vector<std::int64_t> all(plain.const_data_ptr<std::int64_t>(),
                                plain.const_data_ptr<std::int64_t>() + samples);
  std::vector<std::int64_t> sorted = all;
  std::sort(sorted.begin(), sorted.end());
  if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end())
    throw Error("pcomp: sample " + std::to_string(*twice) + " comes twice in one batch");
  return all;
}

/// The largest finite value of a dtype.
inline double largest(at::ScalarType t) {
  return t == at::kHalf ? 65504 : t == at::kBFloat16 ? 0x1.fep127 : static_cast<double>(float_max);
}

/// Whose message this is: the micro-batch's place in the batch, and its samples.
struct Visit {
  int place = 0;
  std::span<const std::int64_t> sample_ids{};
  bool first = false;  ///< Delta: one of the samples was not seen before
};

/// What one end of a boundary remembers in one direction; where both ends are on one rank they share it.
///
/// Law: `recall` returns what was last kept for the same place or samples, else zeros; the bits do not depend on the
///   tensors' memory format.
/// Bytes: `bytes()`, and as much again while a checkpoint is written.
/// Errors: `Error` for samples of another size than before.
class FeedbackState {
 public:
  using Named = std::vector<std::pair<std::string, at::Tensor>>;

  FeedbackState() = default;
  explicit FeedbackState(const kernel::Remembers& how) : how_(how) {}

  const kernel::Remembers& how() const { return how_; }
  bool per_sample() const { return how_.memory == codec::Memory::samples; }
  bool knows(std::span<const std::int64_t> sample_ids) const {
    return std::all_of(sample_ids.begin(), sample_ids.end(),
                       [&](std::int64_t id) { return row_.contains(id); });
  }

  /// Contiguous floats in the shape of `like`, on its device.
  at::Tensor recall(const Visit& v, const at::Tensor& like) const {
    const std::int64_t n = like.size(0), each = like.numel() / n;
    expect(each);
    at::Tensor all =
        at::zeros({n, each}, like.options().dtype(at::kFloat).memory_format(at::MemoryFormat::Contiguous));
    if (per_sample()) {
      if (!v.first)
        for (std::int64_t i = 0; i < n; ++i) {
          const std::int64_t r = row_.at(v.sample_ids[static_cast<std::size_t>(i)]);
          all[i].copy_(blocks_[static_cast<std::size_t>(r / kept_together)][r % kept_together]);
        }
    } else if (const auto p = static_cast<std::size_t>(v.place); p < places_.size() && places_[p].defined()) {
      const std::int64_t kept = std::min(n, places_[p].size(0));
      all.narrow(0, 0, kept).copy_(places_[p].narrow(0, 0, kept));
    }
    return all.view(like.sizes());
  }

  void keep(const Visit& v, const at::Tensor& value) {
    const std::int64_t n = value.size(0), each = value.numel() / n;
    expect(each);
    each_ = each;
    at::Tensor finite = at::nan_to_num(value.contiguous(), 0, 0, 0).view({n, each});
    const double most = largest(at::kBFloat16);
    if (how_.in_bfloat16) finite = at::clamp(finite, -most, most);
    if (!per_sample()) {
      const auto p = static_cast<std::size_t>(v.place);
      if (places_.size() <= p) places_.resize(p + 1);
      at::Tensor& place = places_[p];
      if (place.defined()) place = place.to(finite.device());  // loaded from a file: on the host
      if (!place.defined() || place.size(0) < n) {
        at::Tensor larger = at::zeros({n, each}, finite.options());
        if (place.defined()) larger.narrow(0, 0, place.size(0)).copy_(place);
        place = larger;
      }
      place.narrow(0, 0, n).copy_(finite);
      return;
    }
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t row =
          row_.emplace(v.sample_ids[static_cast<std::size_t>(i)], static_cast<std::int64_t>(row_.size()))
              .first->second;
      const auto block = static_cast<std::size_t>(row / kept_together);
      if (block == blocks_.size())
        blocks_.push_back(at::zeros({kept_together, each},
                                    finite.options().dtype(how_.in_bfloat16 ? at::kBFloat16 : at::kFloat)));
      blocks_[block] = blocks_[block].to(finite.device());
      blocks_[block][row % kept_together].copy_(finite[i]);
    }
  }

  std::int64_t bytes() const {
    std::int64_t sum = 0;
    for (const auto* all : {&places_, &blocks_})
      for (const at::Tensor& t : *all)
        if (t.defined()) sum += static_cast<std::int64_t>(t.nbytes());
    return sum;
  }

  void forget() {
    places_.clear(), blocks_.clear(), row_.clear();
    each_.reset();
  }

  /// To named tensors, and back.
  Named save() const {
    Named all;
    for (std::size_t p = 0; p < places_.size(); ++p)
      if (places_[p].defined()) all.emplace_back("boundary/place/" + std::to_string(p), places_[p]);
    if (!per_sample()) return all;
    std::vector<std::int64_t> sample_ids(row_.size());
    for (const auto& [id, row] : row_) sample_ids[static_cast<std::size_t>(row)] = id;
    all.emplace_back("boundary/samples", at::tensor(sample_ids, at::kLong));
    for (std::size_t b = 0; b < blocks_.size(); ++b)
      all.emplace_back("boundary/messages/" + std::to_string(b), blocks_[b]);
    return all;
  }
  void load(const Named& saved) {
    forget();
    for (const auto& [name, tensor] : saved) {
      if (name.starts_with("boundary/place/")) {
        const auto p = static_cast<std::size_t>(std::stoi(name.substr(15)));
        if (places_.size() <= p) places_.resize(p + 1);
        places_[p] = tensor.clone();
      } else if (name.starts_with("boundary/messages/")) {
        blocks_.push_back(tensor.clone());
      } else if (name == "boundary/samples") {
        for (std::int64_t r = 0; r < tensor.numel(); ++r) row_[tensor.const_data_ptr<std::int64_t>()[r]] = r;
      } else {
        continue;
      }
      if (name != "boundary/samples") each_ = tensor.size(1);
    }
  }

 private:
  void expect(std::int64_t each) const {
    if (each_ && *each_ != each)
      throw Error("pcomp: feedback remembers samples of " + std::to_string(*each_) +
                  " elements, these have " + std::to_string(each) + ": one sample's shape must stay");
  }

  kernel::Remembers how_;
  std::optional<std::int64_t> each_;  ///< elements of a sample
  std::vector<at::Tensor> places_;    ///< [samples, elements] for each place
  std::vector<at::Tensor> blocks_;    ///< [kept_together, elements], a row per sample in order of first visit
  std::unordered_map<std::int64_t, std::int64_t> row_;
};

/// A sum with what is remembered, which is finite: where `x` is, the sum stays within the finite values of `type`.
inline at::Tensor bounded(const at::Tensor& sum, const at::Tensor& x, at::ScalarType type) {
  const double most = largest(type);
  return at::where(at::isfinite(x), at::clamp(sum, -most, most), sum);
}

/// The sender's part of a message: `encode(tensor)` fills the payload, `decode(tensor)` reads it back.
///
/// Law: where the receiver shares the state (`shared`), an estimate is left for the receiver to update.
template <class Encode, class Decode>
void send_with(FeedbackState& state, const Visit& v, const at::Tensor& x, bool shared, Encode&& encode,
               Decode&& decode) {
  const codec::Memory memory = state.how().memory;
  if (memory == codec::Memory::nothing) return encode(x);
  const at::Tensor known = state.recall(v, x), wide = x.to(at::kFloat);
  at::Tensor given =
      bounded(memory == codec::Memory::residual ? wide.add(known) : wide.sub(known), wide, at::kFloat);
  encode(given);
  if (memory != codec::Memory::residual && shared) return;
  at::Tensor came = at::empty_like(known);
  decode(came);
  state.keep(
      v, memory == codec::Memory::residual ? given.sub_(came) : bounded(came.add(known), came, at::kFloat));
}

/// The receiver's part: writes the tensor as it reconstructs it into `y`.
template <class Decode>
void receive_with(FeedbackState& state, const Visit& v, at::Tensor& y, Decode&& decode) {
  if (state.how().memory == codec::Memory::nothing || state.how().memory == codec::Memory::residual)
    return decode(y);
  at::Tensor known = state.recall(v, y), came = at::empty_like(known);
  decode(came);
  const at::Tensor sum = bounded(came.add(known), came, at::kFloat);
  state.keep(v, sum);
  y.copy_(bounded(sum, came, y.scalar_type()));
}

/// The part of a gradient that the loss depends on: `dy` through the same mask and windows, in floats.
inline at::Tensor restricted_gradient(const kernel::WireKernels& w, const at::Tensor& dy,
                                      const Extents& shape, std::span<const std::byte> index) {
  if (!w.linear) return dy;
  at::Tensor payload = byte_tensor(w.linear->grad_bytes(shape), dy.device());
  w.linear->encode_grad(in(dy), shape, index, bytes_in(payload), torch_threads);
  at::Tensor y =
      at::empty(dy.sizes(), dy.options().dtype(at::kFloat).memory_format(at::MemoryFormat::Contiguous));
  w.linear->decode_grad(bytes_in(payload), shape, index, out(y), torch_threads);
  return y;
}

inline kernel::TensorView in(const at::Tensor& x, std::uint64_t noise) {
  kernel::TensorView view = in(x);
  view.noise = noise;
  return view;
}

/// Both directions of one boundary on one rank, over the wire's kernels.
class FeedbackEnds {
 public:
  FeedbackEnds() = default;
  FeedbackEnds(const kernel::WireKernels& ops, int number)
      : forward(ops.forward),
        gradient(ops.backward),
        ops_(&ops),
        number_(static_cast<std::uint64_t>(number)) {}

  const kernel::WireKernels& ops() const { return *ops_; }
  /// The kernels that a message goes through.
  const kernel::WireKernels& wire(bool first) const { return first && ops_->first ? *ops_->first : *ops_; }
  bool per_sample() const { return forward.per_sample() || gradient.per_sample(); }
  bool first(std::span<const std::int64_t> sample_ids) const {
    return (forward.per_sample() && !forward.knows(sample_ids)) ||
           (gradient.per_sample() && !gradient.knows(sample_ids));
  }

  void encode(const Visit& v, std::uint64_t message, const at::Tensor& x, const Extents& s,
              std::span<std::byte> payload, bool shared) {
    const kernel::WireKernels& w = wire(v.first);
    send_with(
        forward, v, x, shared,
        [&](const at::Tensor& t) {
          w.encode(in(t, kernel::rng_counter(number_, false, message)), s, payload, torch_threads);
        },
        [&](at::Tensor& t) { w.decode(payload, s, out(t), torch_threads); });
  }
  void decode(const Visit& v, std::span<const std::byte> payload, const Extents& s, at::Tensor& y) {
    receive_with(forward, v, y,
                 [&](at::Tensor& t) { wire(v.first).decode(payload, s, out(t), torch_threads); });
  }
  void encode_grad(const Visit& v, std::uint64_t message, const at::Tensor& dy, const Extents& s,
                   std::span<const std::byte> index, std::span<std::byte> payload, bool shared) {
    const kernel::WireKernels& w = wire(v.first);
    send_with(
        gradient, v, restricted_gradient(w, dy, s, index), shared,
        [&](const at::Tensor& t) {
          w.encode_grad(in(t, kernel::rng_counter(number_, true, message)), s, index, payload, torch_threads);
        },
        [&](at::Tensor& t) { w.decode_grad(payload, s, index, out(t), torch_threads); });
  }
  void decode_grad(const Visit& v, std::span<const std::byte> payload, const Extents& s,
                   std::span<const std::byte> index, at::Tensor& dx) {
    receive_with(gradient, v, dx,
                 [&](at::Tensor& t) { wire(v.first).decode_grad(payload, s, index, out(t), torch_threads); });
  }
  void forget() { forward.forget(), gradient.forget(); }

  FeedbackState forward, gradient;

 private:
  const kernel::WireKernels* ops_ = nullptr;
  std::uint64_t number_ = 0;
};

}  // namespace pcomp::detail
