// Packing codes into planes and back; see wire/packing.hpp.
namespace pcomp::detail::HWY_NAMESPACE {

// A whole block of 128 codes, one per byte: byte j of a plane of width W holds codes j, j + 16 W, ...
template <int W>
HWY_INLINE void pack_block_plane(const std::uint8_t* code, int shift, std::uint8_t* out) {
#if HWY_TARGET != HWY_SCALAR
  constexpr int full = 16 * W;
  const hn::CappedTag<std::uint8_t, full> d;
  const hn::Repartition<std::uint16_t, decltype(d)> d16;  // bytes have no shifts; masks clear what crosses
  const auto lanes = static_cast<int>(hn::Lanes(d));
  const auto mask = hn::Set(d, static_cast<std::uint8_t>((1 << W) - 1));
  for (int j = 0; j < full; j += lanes) {
    auto all = hn::Zero(d);
    for (int i = 0; i < 8 / W; ++i) {
      const auto c = hn::LoadU(d, code + j + i * full);
      const auto low = hn::And(hn::BitCast(d, hn::ShiftRightSame(hn::BitCast(d16, c), shift)), mask);
      all = hn::Or(all, hn::BitCast(d, hn::ShiftLeftSame(hn::BitCast(d16, low), i * W)));
    }
    hn::StoreU(all, d, out + j);
  }
#else
  constexpr int full = 16 * W;
  for (int j = 0; j < full; ++j) {
    int b = 0;
    for (int i = 0; i < 8 / W; ++i) b |= ((code[j + i * full] >> shift) & ((1 << W) - 1)) << (i * W);
    out[j] = static_cast<std::uint8_t>(b);
  }
#endif
}
template <int W>
HWY_INLINE void unpack_block_plane(const std::uint8_t* in, int shift, std::uint8_t* code) {
#if HWY_TARGET != HWY_SCALAR
  constexpr int full = 16 * W;
  const hn::CappedTag<std::uint8_t, full> d;
  const hn::Repartition<std::uint16_t, decltype(d)> d16;
  const auto lanes = static_cast<int>(hn::Lanes(d));
  const auto mask = hn::Set(d, static_cast<std::uint8_t>((1 << W) - 1));
  for (int j = 0; j < full; j += lanes) {
    const auto all = hn::BitCast(d16, hn::LoadU(d, in + j));
    for (int i = 0; i < 8 / W; ++i) {
      const auto part = hn::And(hn::BitCast(d, hn::ShiftRightSame(all, i * W)), mask);
      auto c = hn::BitCast(d, hn::ShiftLeftSame(hn::BitCast(d16, part), shift));
      if (shift) c = hn::Or(c, hn::LoadU(d, code + j + i * full));
      hn::StoreU(c, d, code + j + i * full);
    }
  }
#else
  constexpr int full = 16 * W;
  for (int i = 0; i < 8 / W; ++i)
    for (int j = 0; j < full; ++j) {
      const int old = shift ? code[j + i * full] : 0;
      code[j + i * full] = static_cast<std::uint8_t>(old | ((in[j] >> (i * W)) & ((1 << W) - 1)) << shift);
    }
#endif
}

// One plane of width W of r codes of any type, taken from bit `shift` of each.
template <int W, class Code>
HWY_INLINE void pack_plane(const Code* code, std::int64_t r, int shift, std::uint8_t* out) {
  if constexpr (W >= 8) {
    for (std::int64_t j = 0; j < r; ++j) {
      const std::uint32_t v = static_cast<std::uint32_t>(code[j]) >> shift;
      std::memcpy(out + j * (W / 8), &v, W / 8);
    }
  } else {
    const std::int64_t s = plane_bytes(r, W);
    for (std::int64_t j = 0; j < s; ++j) {
      std::uint32_t b = 0;
      for (std::int64_t i = 0; i < 8 / W && j + i * s < r; ++i)
        b |= ((static_cast<std::uint32_t>(code[j + i * s]) >> shift) & ((1u << W) - 1)) << (i * W);
      out[j] = static_cast<std::uint8_t>(b);
    }
  }
}
/// The inverse; ORs into `code`, which starts at zero.
template <int W, class Code>
HWY_INLINE void unpack_plane(const std::uint8_t* in, std::int64_t r, int shift, Code* code) {
  if constexpr (W >= 8) {
    for (std::int64_t j = 0; j < r; ++j) {
      std::uint32_t v = 0;
      std::memcpy(&v, in + j * (W / 8), W / 8);
      code[j] = static_cast<Code>(code[j] | (v << shift));
    }
  } else {
    const std::int64_t s = plane_bytes(r, W);
    for (std::int64_t j = 0; j < s; ++j)
      for (std::int64_t i = 0; i < 8 / W && j + i * s < r; ++i)
        code[j + i * s] =
            static_cast<Code>(code[j + i * s] | (((in[j] >> (i * W)) & ((1u << W) - 1)) << shift));
  }
}

// Calls F<W>(shift, byte offset) for each plane of a block of r codes, the widest first.
template <int W, class F>
HWY_INLINE void for_plane(int bits, std::int64_t r, int& shift, std::int64_t& at, F& f) {
  if (!(bits & W)) return;
  f.template plane<W>(shift, at);
  shift += W;
  at += plane_bytes(r, W);
}
template <class F>
HWY_INLINE void for_planes(int bits, std::int64_t r, F f) {
  int shift = 0;
  std::int64_t at = 0;
  for_plane<32>(bits, r, shift, at, f);
  for_plane<16>(bits, r, shift, at, f);
  for_plane<8>(bits, r, shift, at, f);
  for_plane<4>(bits, r, shift, at, f);
  for_plane<2>(bits, r, shift, at, f);
  for_plane<1>(bits, r, shift, at, f);
}

template <class Code>
struct PackTo {
  const Code* code;
  std::int64_t r;
  std::uint8_t* out;
  template <int W>
  HWY_INLINE void plane(int shift, std::int64_t at) const {
    if constexpr (sizeof(Code) == 1 && W < 8) {
      if (r == pack_block) return pack_block_plane<W>(code, shift, out + at);
    }
    if constexpr (W <= 8 * static_cast<int>(sizeof(Code))) pack_plane<W>(code, r, shift, out + at);
  }
};
template <class Code>
struct UnpackFrom {
  const std::uint8_t* in;
  std::int64_t r;
  Code* code;
  template <int W>
  HWY_INLINE void plane(int shift, std::int64_t at) const {
    if constexpr (sizeof(Code) == 1 && W < 8) {
      if (r == pack_block) return unpack_block_plane<W>(in + at, shift, code);
    }
    if constexpr (W <= 8 * static_cast<int>(sizeof(Code))) unpack_plane<W>(in + at, r, shift, code);
  }
};

/// Packs a block of r <= 128 codes.
template <class Code>
HWY_INLINE void pack_codes(const Code* code, std::int64_t r, int bits, std::byte* out) {
  for_planes(bits, r, PackTo<Code>{code, r, reinterpret_cast<std::uint8_t*>(out)});
}
template <class Code>
HWY_INLINE void unpack_codes(const std::byte* in, std::int64_t r, int bits, Code* code) {
  if (sizeof(Code) > 1 || r < pack_block || bits >= 8)
    std::memset(code, 0, static_cast<std::size_t>(r) * sizeof(Code));
  for_planes(bits, r, UnpackFrom<Code>{reinterpret_cast<const std::uint8_t*>(in), r, code});
}

/// Unpacks a block of r <= 128 codes to 32-bit words.
inline void unpack_words(const std::byte* in, std::int64_t r, int bits, std::uint32_t* out) {
  if (bits > 8) return unpack_codes(in, r, bits, out);
  std::uint8_t code[pack_block];
  if (bits == 0)
    std::memset(code, 0, sizeof code);
  else
    unpack_codes(in, r, bits, code);
  std::int64_t j = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::uint32_t> d;
  const hn::Rebind<std::uint8_t, decltype(d)> d8;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (; j + lanes <= r; j += lanes) hn::StoreU(hn::PromoteTo(d, hn::LoadU(d8, code + j)), d, out + j);
#endif
  for (; j < r; ++j) out[j] = code[j];
}

}  // namespace pcomp::detail::HWY_NAMESPACE
