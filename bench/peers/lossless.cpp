#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>
#include <lz4.h>
#include <zstd.h>

#include <memory>
#include <pcomp/base/error.hpp>

#include "contender.hpp"

namespace bench {
namespace {

/// The tensor's bytes, one part per thread, and where they go.
struct Parts {
  at::Tensor x, y;
  std::size_t count, part;
  std::vector<std::vector<char>> packed;
  std::vector<std::size_t> sizes;

  Parts(const at::Tensor& tensor, int threads, std::size_t bound)
      : x(tensor),
        y(at::empty_like(tensor)),
        count(static_cast<std::size_t>(threads)),
        part(tensor.nbytes() / count),
        packed(count, std::vector<char>(bound)),
        sizes(count) {}

  const char* from(std::size_t i) const { return static_cast<const char*>(x.const_data_ptr()) + i * part; }
  char* to(std::size_t i) const { return static_cast<char*>(y.mutable_data_ptr()) + i * part; }
  std::size_t length(std::size_t i) const { return i + 1 < count ? part : x.nbytes() - i * part; }
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const std::size_t s : sizes) sum += s;
    return sum;
  }
  template <class F>
  void each(F&& f) const {
    at::parallel_for(0, static_cast<std::int64_t>(count), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) f(static_cast<std::size_t>(i));
    });
  }
};

void expect(bool fine, const char* who) {
  if (!fine) throw pcomp::Error(std::string(who) + " failed");
}

Contender zstd(const at::Tensor& x, int threads) {
  struct State : Parts {
    using Parts::Parts;
    std::vector<std::shared_ptr<ZSTD_CCtx>> compressors;
    std::vector<std::shared_ptr<ZSTD_DCtx>> decompressors;
  };
  auto s = std::make_shared<State>(x, threads,
                                   ZSTD_compressBound(x.nbytes() / static_cast<std::size_t>(threads) + 64));
  for (std::size_t i = 0; i < s->count; ++i) {
    s->compressors.emplace_back(ZSTD_createCCtx(), ZSTD_freeCCtx);
    s->decompressors.emplace_back(ZSTD_createDCtx(), ZSTD_freeDCtx);
  }
  const auto encode = [=] {
    s->each([&](std::size_t i) {
      s->sizes[i] = ZSTD_compressCCtx(s->compressors[i].get(), s->packed[i].data(), s->packed[i].size(),
                                      s->from(i), s->length(i), 1);
      expect(!ZSTD_isError(s->sizes[i]), "zstd");
    });
  };
  const auto decode = [=] {
    s->each([&](std::size_t i) {
      const std::size_t got = ZSTD_decompressDCtx(s->decompressors[i].get(), s->to(i), s->length(i),
                                                  s->packed[i].data(), s->sizes[i]);
      expect(got == s->length(i), "zstd");
    });
  };
  return {"zstd -1 on the floats", encode, decode, [=] { return s->bytes(); },
          [=] { return s->y.const_data_ptr<float>(); }};
}

Contender lz4(const at::Tensor& x, int threads) {
  const auto part = static_cast<int>(x.nbytes() / static_cast<std::size_t>(threads)) + 64;
  auto s = std::make_shared<Parts>(x, threads, static_cast<std::size_t>(LZ4_compressBound(part)));
  const auto size = [](std::size_t n) { return static_cast<int>(n); };
  const auto encode = [=] {
    s->each([&](std::size_t i) {
      const int got = LZ4_compress_default(s->from(i), s->packed[i].data(), size(s->length(i)),
                                           size(s->packed[i].size()));
      expect(got > 0, "lz4");
      s->sizes[i] = static_cast<std::size_t>(got);
    });
  };
  const auto decode = [=] {
    s->each([&](std::size_t i) {
      const int got =
          LZ4_decompress_safe(s->packed[i].data(), s->to(i), size(s->sizes[i]), size(s->length(i)));
      expect(got == size(s->length(i)), "lz4");
    });
  };
  return {"lz4 on the floats", encode, decode, [=] { return s->bytes(); },
          [=] { return s->y.const_data_ptr<float>(); }};
}

}  // namespace

std::vector<Contender> lossless(const at::Tensor& x, int threads) {
  return {zstd(x, threads), lz4(x, threads)};
}

}  // namespace bench
