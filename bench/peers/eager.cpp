#include <ATen/ATen.h>

#include <memory>

#include "contender.hpp"

namespace bench {
namespace {

constexpr std::int64_t group = 128;
constexpr double least_step = 1e-30;  // a group of equal values must not divide 0 by 0

/// Min-max codes of rows of 128 floats, with new tensors each call.
struct Codes {
  at::Tensor low, step, codes;
  void encode(const at::Tensor& rows) {
    auto [least, most] = at::aminmax(rows, 1, true);
    low = least;
    step = most.sub_(low).div_(255).clamp_min_(least_step);
    codes = (rows - low).div_(step).round_().to(at::kByte);
  }
  at::Tensor decode() const { return codes.to(at::kFloat).mul_(step).add_(low); }
  std::size_t bytes() const { return low.nbytes() + step.nbytes() + codes.nbytes(); }
};

/// The same, into preallocated tensors.
struct CodesOut : Codes {
  at::Tensor scratch;
  explicit CodesOut(std::int64_t rows) {
    low = at::empty({rows, 1});
    step = at::empty({rows, 1});
    codes = at::empty({rows, group}, at::kByte);
    scratch = at::empty({rows, group});
  }
  void encode(const at::Tensor& rows) {
    at::aminmax_out(low, step, rows, 1, true);
    step.sub_(low).div_(255).clamp_min_(least_step);
    at::sub_out(scratch, rows, low).div_(step).round_();
    codes.copy_(scratch);
  }
  void decode(at::Tensor& rows) const { rows.copy_(codes).mul_(step).add_(low); }
};

constexpr const char* fresh_name = "LibTorch eager, new tensors";
constexpr const char* out_name = "LibTorch eager, out= tensors";

}  // namespace

std::vector<Contender> eager_quant8(const at::Tensor& x) {
  const at::Tensor rows = x.view({-1, group});
  auto a = std::make_shared<Codes>();
  auto y = std::make_shared<at::Tensor>();
  auto b = std::make_shared<CodesOut>(rows.size(0));
  auto z = std::make_shared<at::Tensor>(at::empty_like(rows));
  return {{fresh_name, [=] { a->encode(rows); }, [=] { *y = a->decode(); }, [=] { return a->bytes(); },
           [=] { return y->const_data_ptr<float>(); }, true},
          {out_name, [=] { b->encode(rows); }, [=] { b->decode(*z); }, [=] { return b->bytes(); },
           [=] { return z->const_data_ptr<float>(); }, true}};
}

std::vector<Contender> eager_topk10_quant8(const at::Tensor& x, bool pool) {
  const std::int64_t n = pool ? x.numel() / 4 : x.numel(), k = n / 10, rows = (k + group - 1) / group;
  const std::int64_t height = x.size(2), width = x.size(3);
  const std::vector<std::int64_t> small{x.size(0), x.size(1), height / 2, width / 2};

  struct Fresh {
    Codes codes;
    at::Tensor indices, y;
  };
  auto a = std::make_shared<Fresh>();
  const auto encode = [=] {
    const at::Tensor flat = (pool ? at::avg_pool2d(x, 2) : x).view(-1);
    const at::Tensor indices = std::get<1>(flat.abs().topk(k, 0, true, false));
    a->indices = indices.to(at::kInt);
    const at::Tensor values = at::constant_pad_nd(flat.index_select(0, indices), {0, rows * group - k});
    a->codes.encode(values.view({rows, group}));
  };
  const auto decode = [=] {
    const at::Tensor values = a->codes.decode().view(-1).narrow(0, 0, k);
    at::Tensor flat = at::zeros({n}).scatter_(0, a->indices.to(at::kLong), values);
    a->y = pool ? at::upsample_nearest2d(flat.view(small), {height, width}) : flat;
  };

  struct Out {
    CodesOut codes;
    at::Tensor pooled, magnitude, top, indices, sent, values, flat, y;
  };
  auto b = std::make_shared<Out>(Out{CodesOut(rows), pool ? at::empty(small) : x, at::empty({n}),
                                     at::empty({k}), at::empty({k}, at::kLong), at::empty({k}, at::kInt),
                                     at::zeros({rows, group}), at::empty({n}), at::empty_like(x)});
  const auto encode_out = [=] {
    if (pool) at::avg_pool2d_out(b->pooled, x, 2);
    const at::Tensor flat = b->pooled.view(-1);
    at::abs_out(b->magnitude, flat);
    at::topk_out(b->top, b->indices, b->magnitude, k, 0, true, false);
    b->sent.copy_(b->indices);
    at::Tensor chosen = b->values.view(-1).narrow(0, 0, k);
    at::index_select_out(chosen, flat, 0, b->indices);
    b->codes.encode(b->values);
  };
  const auto decode_out = [=] {
    b->codes.decode(b->values);
    b->indices.copy_(b->sent);
    at::Tensor flat = pool ? b->flat : b->y.view(-1);
    flat.zero_().scatter_(0, b->indices, b->values.view(-1).narrow(0, 0, k));
    if (pool) at::upsample_nearest2d_out(b->y, flat.view(small), {height, width});
  };
  return {{fresh_name, encode, decode, [=] { return a->codes.bytes() + a->indices.nbytes(); },
           [=] { return a->y.const_data_ptr<float>(); }, true},
          {out_name, encode_out, decode_out, [=] { return b->codes.bytes() + b->sent.nbytes(); },
           [=] { return b->y.const_data_ptr<float>(); }, true}};
}

}  // namespace bench
