#pragma once
#include <ATen/ops/view_as_real.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "../autograd/feedback.hpp"
#include "../autograd/tensor.hpp"
#include "../stage/batch_tensors.hpp"
#include "../transport/communicator.hpp"
#include "../transport/transport.hpp"
#include "report.hpp"

namespace pcomp::detail {

/// The identities of a batch's samples on every rank: those that stage 0's rank was given.
///
/// Why not each rank's own: payloads of first visits differ in size, and Gloo ends a process that receives more than it
/// expects. Between processes this costs an exchange through the store each step.
/// Errors: as `sample_ids_of`, on every rank.
inline std::vector<std::int64_t> agreed_sample_ids(const at::Tensor& sample_ids, std::int64_t samples,
                                                   int owner, transport::Communicator& links) {
  if (links.elsewhere().empty()) return sample_ids_of(sample_ids, samples);
  const bool here = std::find(links.here().begin(), links.here().end(), owner) != links.here().end();
  using Ids = std::vector<std::int64_t>;
  return transport::gather<Ids>(links, "identities of the samples",
                                [&] { return here ? sample_ids_of(sample_ids, samples) : Ids(); })
      .of(owner);
}

/// A few numbers by which two ranks tell whether they hold the same tensor.
///
/// Law: integers compare exactly. Of real numbers only sums under random signs compare, to a relative error of 1e-3, as
///   machines may compute the same targets with different rounding.
/// Bytes: 64.
struct Identity {
  std::uint64_t kind = 0;  ///< of dtype and shape; 0: there is no tensor
  std::uint64_t sum = 0;   ///< of integers
  double projections[4] = {}, squares = 0, unused = 0;

  static Identity of(const at::Tensor& given) {
    Identity id;
    if (!given.defined() || given.layout() != at::kStrided || given.numel() == 0) return id;
    at::Tensor t = given.detach();
    if (t.is_complex()) t = at::view_as_real(t.resolve_conj());
    id.kind = mix(static_cast<std::uint64_t>(given.scalar_type()) + 1);
    for (std::int64_t n : given.sizes()) id.kind = mix(id.kind ^ static_cast<std::uint64_t>(n));
    if (t.is_floating_point()) {
      t = t.to(at::TensorOptions(at::kCPU).dtype(at::kDouble)).contiguous();
      const auto* v = static_cast<const double*>(t.const_data_ptr());
      for (std::int64_t i = 0; i < t.numel(); ++i) {
        const std::uint64_t signs = mix(static_cast<std::uint64_t>(i) + 1);
        for (int p = 0; p < 4; ++p) id.projections[p] += signs >> p & 1 ? v[i] : -v[i];
        id.squares += v[i] * v[i];
      }
    } else {
      t = t.to(at::TensorOptions(at::kCPU).dtype(at::kLong)).contiguous();
      const auto* v = static_cast<const std::int64_t*>(t.const_data_ptr());
      for (std::int64_t i = 0; i < t.numel(); ++i) id.sum = mix(id.sum ^ static_cast<std::uint64_t>(v[i]));
    }
    return id;
  }
  /// Of all tensors together; none of them may be missing.
  static Identity of(const training::BatchTensors& all) {
    Identity id;
    bool first = true;
    for (const auto& [tensor, whole] : all) {
      const Identity one = of(tensor);
      if (!one.kind) return {};
      if (std::exchange(first, false)) {
        id = one;
        continue;
      }
      id.kind = mix(id.kind ^ one.kind), id.sum = mix(id.sum ^ one.sum), id.squares += one.squares;
      for (int p = 0; p < 4; ++p) id.projections[p] += one.projections[p];
    }
    return id;
  }
  /// Whether both are there and of one dtype and shape.
  static bool comparable(const Identity& a, const Identity& b) { return a.kind && a.kind == b.kind; }
  static bool differ(const Identity& a, const Identity& b) {
    if (!comparable(a, b)) return false;
    if (a.sum != b.sum || std::isfinite(a.squares) != std::isfinite(b.squares)) return true;
    const double size = 1e-3 * std::sqrt(std::max(a.squares, b.squares));
    for (int p = 0; p < 4; ++p)
      if (std::isfinite(a.squares) && std::abs(a.projections[p] - b.projections[p]) > size) return true;
    return false;
  }

 private:
  static std::uint64_t mix(std::uint64_t x) {  // splitmix64
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
  }
};

/// Stage 0's rank tells every rank of another process what shape its batch has, so that a rank may be given none.
///
/// Law: a rank that was given x does not wait for it.
/// Bytes: 96 a call, to each other process.
class BatchShape {
 public:
  /// `x`, or zeros of its shape and dtype that take no memory, from stage 0's rank. `number`: the message's.
  at::Tensor agree(const at::Tensor& x, transport::Communicator& links, int number, int first) {
    finish();
    sent_ = {};
    if (links.elsewhere().empty()) return x;
    const int own = links.here().front();
    link_ = &links.link(own);
    const transport::Message m{number, 0, false};
    if (own != first) {
      tickets_.push_back(link_->receive(first, m, std::as_writable_bytes(std::span(&shape_, 1))));
      if (x.defined()) return x;
      finish();
      return at::zeros({}, static_cast<at::ScalarType>(shape_.dtype))
          .expand(c10::IntArrayRef(shape_.sizes, static_cast<std::size_t>(shape_.dims)));
    }
    if (!x.defined() || x.dim() > Extents::max_rank) return x;  // refused by whoever asks
    shape_ = {};
    shape_.dims = x.dim(), shape_.dtype = static_cast<std::int64_t>(x.scalar_type());
    std::copy(x.sizes().begin(), x.sizes().end(), shape_.sizes);
    for (int r : links.elsewhere()) {
      tickets_.push_back(link_->send(r, m, std::as_bytes(std::span(&shape_, 1))));
      sent_ += {1, sizeof shape_, sizeof shape_, sizeof shape_};
    }
    return x;
  }
  void finish() {
    for (; !tickets_.empty(); tickets_.pop_back()) link_->wait(tickets_.back());
  }
  const runtime::Traffic& sent() const { return sent_; }
  /// After a failed call.
  void forget() { tickets_.clear(); }

 private:
  struct Shape {
    std::int64_t dims = 0, dtype = 0, unused[2] = {}, sizes[Extents::max_rank] = {};
  };
  transport::Transport* link_ = nullptr;
  Shape shape_;
  runtime::Traffic sent_;
  std::vector<transport::Transport::Ticket> tickets_;
};

/// Whether the ranks of the first and the last stage were given the same batch, in each step and evaluation.
///
/// Law: the first stage's rank sends what it knows of the targets and of the samples' identities; the last stage's
///   compares before its first loss. Where both were given identities these decide, else the targets; a tensor that one
///   of the two was not given, or of another dtype or shape, is not compared. Nobody waits for an answer.
/// Bytes: 128 a step, if the two stages are in different processes.
/// Errors: `Mismatch` on every rank at the first step whose batches differ.
class BatchIdentity {
 public:
  /// `number`: the message's. `first`, `last`: the ranks of these stages. `away`: whether they are in two processes.
  void begin(const training::BatchTensors& y, const at::Tensor& sample_ids, transport::Transport& link,
             int number, int rank, int first, int last, bool away) {
    finish();
    link_ = &link;
    first_ = first;
    sent_ = {};
    if (!away || (rank != first && rank != last)) return;
    own_ = {Identity::of(y), Identity::of(sample_ids)};
    if (rank == first) {
      ticket_ = link.send(last, {number, 0, false}, std::as_bytes(std::span(own_)));
      sent_ = {1, sizeof own_, sizeof own_, sizeof own_};
    } else {
      ticket_ = link.receive(first, {number, 0, false}, std::as_writable_bytes(std::span(theirs_)));
      compares_ = true;
    }
  }
  /// Called before a loss is computed.
  void expect_same() {
    if (!std::exchange(compares_, false)) return;
    finish();
    const bool by_ids = Identity::comparable(own_[1], theirs_[1]);
    if (Identity::differ(own_[by_ids], theirs_[by_ids]))
      throw Mismatch(std::string("the ") + (by_ids ? "identities of the samples" : "targets") +
                     " given to this rank are not those given to rank " + std::to_string(first_) +
                     ", which has the first stage: the two have drawn different batches. Give the loader of "
                     "every rank a "
                     "generator of its own with one seed, not LibTorch's global one, which dropout moves; a "
                     "rank that does "
                     "not have the targets passes an undefined tensor");
  }
  void finish() {
    if (ticket_) link_->wait(*std::exchange(ticket_, std::nullopt));
  }
  const runtime::Traffic& sent() const { return sent_; }
  /// After a failed step.
  void forget() { ticket_.reset(), compares_ = false; }

 private:
  transport::Transport* link_ = nullptr;
  int first_ = 0;
  bool compares_ = false;
  std::array<Identity, 2> own_, theirs_;  ///< of the targets and of the samples
  runtime::Traffic sent_;
  std::optional<transport::Transport::Ticket> ticket_;
};

}  // namespace pcomp::detail
