// Scatters values among zeros, and gathers them.
namespace pcomp::detail::HWY_NAMESPACE {

/// Writes n floats, zero except for `count` values at offsets below n. Plain stores clear them: memset may leave the
/// lines in the L2 cache, and each value would then wait for its line.
inline void scatter(const float* value, const std::uint32_t* offset, std::int64_t count, std::int64_t n,
                    float* out) {
  std::int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(hn::Zero(d), d, out + i);
    asm volatile("");  // else the compiler makes it a memset
  }
#endif
  for (; i < n; ++i) out[i] = 0;
  std::int64_t c = 0;
  for (; c + 4 <= count; c += 4) {
    const float a = value[c], b = value[c + 1], x = value[c + 2], y = value[c + 3];
    out[offset[c]] = a, out[offset[c + 1]] = b, out[offset[c + 2]] = x, out[offset[c + 3]] = y;
  }
  for (; c < count; ++c) out[offset[c]] = value[c];
}

/// Gathers the values at `count` offsets.
inline void gather(const float* value, const std::uint32_t* offset, std::int64_t count, float* out) {
  for (std::int64_t c = 0; c < count; ++c) out[c] = value[offset[c]];
}

}  // namespace pcomp::detail::HWY_NAMESPACE
