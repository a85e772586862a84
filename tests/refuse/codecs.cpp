#include <pcomp/core.hpp>
#include <pcomp/kernel/wire_kernels.hpp>
// A codec of one's own that lacks a member, or has one of another type: one error, which names it. Where that stands in
// for the codec is the same in all cases, so a few go on to the kernels.
#define KERNELS (CASE == 0 || CASE == 1 || CASE == 7 || CASE == 12 || CASE == 16)
using namespace pcomp;

struct Coder : Composable {
  static constexpr Role role = Role::code;
  static constexpr codec::FixedString name = "Mine";
  static constexpr int bits = 8;
};
struct Plain : Coder {
  static std::uint32_t encode(float) { return 0; }
  static float decode(std::uint32_t) { return 0; }
};
struct Scaled : Coder {
  static constexpr std::int64_t group = 128;
  struct Scale {
    float step;
  };
  static Scale fit(codec::Range r) { return {r.hi}; }
  static std::uint32_t encode(float, Scale) { return 0; }
  static float decode(std::uint32_t, Scale s) { return s.step; }
};
struct Prepared : Scaled {
  struct Twice {
    float step;
  };
  static Twice prepare(Scale s) { return {2 * s.step}; }
  static std::uint32_t encode(float, const Twice&) { return 0; }
  static float decode(std::uint32_t, const Twice& t) { return t.step; }
};
struct Noisy : Scaled {
  static constexpr bool stochastic = true;
  static std::uint32_t encode(float, Scale, float) { return 0; }
};
struct Derived : ops::Quant<4> {
  static constexpr codec::FixedString name = "Mine";
};
struct Selection : Composable {
  static constexpr Role role = Role::select;
  static constexpr codec::FixedString name = "First";
  static constexpr std::int64_t segment(const Extents& e) { return e.size(); }
  static constexpr std::int64_t keep(std::int64_t n) { return (n + 1) / 2; }
  static std::uint32_t score(float, std::int64_t i) { return static_cast<std::uint32_t>(-i); }
};
struct Pool : Composable {
  static constexpr Role role = Role::shape;
  static constexpr codec::FixedString name = "Pool";
  static constexpr int factor = 1;
  static constexpr Extents shaped(const Extents& e) { return e; }
};

/// What a program does with a coder.
template <class C>
void use() {
  constexpr Shape<1, 1, 8, 16> shape{};
  constexpr auto joined = C{} | Downsample<1>;
  constexpr auto bytes = wire_bytes(C{}, shape), grad_bytes = grad_wire_bytes(joined, shape);
#if KERNELS
  std::vector<float> x(128);
  std::vector<std::byte> p(bytes), g(grad_bytes);
  encode(C{}, std::span<const float>(x), shape, p);
  decode(C{}, p, shape, std::span<float>(x));
  encode_grad(C{}, std::span<const float>(x), shape, p, g);
  kernel::wire_kernels(joined).encode(std::span<const float>(x), shape, p, {});
#endif
}
/// And with a codec of another role.
template <class C>
void join() {
  constexpr Shape<1, 1, 8, 16> shape{};
  constexpr auto bytes = wire_bytes(C{} | Quant<8>, shape);
#if KERNELS
  std::vector<float> x(128);
  std::vector<std::byte> p(bytes);
  encode(C{} | Quant<8>, std::span<const float>(x), shape, p);
#endif
}
#if CASE == 0
void fine() {
  use<Plain>(), use<Scaled>(), use<Prepared>(), use<Noisy>(), use<Derived>(), join<Selection>(), join<Pool>();
}
static_assert(detail::CoderTraits<Prepared>::has_scale && !codec::CodeCodec<Coder>);

#elif CASE == 1   // a coder needs static float decode && Mine
struct Mine : Coder {
  static std::uint32_t encode(float) { return 0; }
};
void f() { use<Mine>(); }
#elif CASE == 2   // a coder needs static std::uint32_t encode
struct Mine : Coder {
  static float decode(std::uint32_t) { return 0; }
};
void f() { use<Mine>(); }
#elif CASE == 3   // a coder needs static std::uint32_t encode
struct Mine : Coder {
  static float encode(float x) { return x; }
  static float decode(std::uint32_t) { return 0; }
};
void f() { use<Mine>(); }
#elif CASE == 4   // a coder needs static float decode
struct Mine : Coder {
  static std::uint32_t encode(float) { return 0; }
  float decode(std::uint32_t) const { return 0; }
};
void f() { use<Mine>(); }
#elif CASE == 5   // a coder needs static constexpr int bits
struct Mine : Plain {
  static int bits;
};
void f() { use<Mine>(); }
#elif CASE == 6   // a coder needs static constexpr int bits
struct Mine : Plain {
  static constexpr int bits = 9;
};
void f() { use<Mine>(); }
#elif CASE == 7   // magnitude promises .* leave it out
struct Mine : Selection {
  static constexpr bool magnitude = true;
};
void f() { join<Mine>(); }
#elif CASE == 8   // a coder's Scale is trivially copyable, made by static Scale fit\(Range\)
struct Mine : Plain {
  struct Scale {};
};
void f() { use<Mine>(); }
#elif CASE == 9   // a coder's group is 128, 256, 512, 1024 or 2048 elements, or 0
struct Mine : Scaled {
  static constexpr std::int64_t group = 100;
};
void f() { use<Mine>(); }
#elif CASE == 10  // a coder needs static std::uint32_t encode.* noise
struct Mine : Scaled {
  static constexpr bool stochastic = true;
};
void f() { use<Mine>(); }
#elif CASE == 11  // a stochastic coder needs a Scale
struct Mine : Plain {
  static constexpr bool stochastic = true;
};
void f() { use<Mine>(); }
#elif CASE == 12  // a coder needs static float decode.* prepare
struct Mine : Prepared {
  static float decode(std::uint32_t, Scale) { return 0; }
};
void f() { use<Mine>(); }
#elif CASE == 13  // a coder's prepare is static and takes its Scale
struct Mine : Scaled {
  static Scale prepare(int*) { return {}; }
};
void f() { use<Mine>(); }
#elif CASE == 14  // a selection needs static
struct Mine : Composable {
  static constexpr Role role = Role::select;
  static constexpr codec::FixedString name = "Mine";
  static constexpr std::int64_t segment(const Extents& e) { return e.size(); }
  static constexpr std::int64_t keep(std::int64_t n) { return n; }
};
void f() { join<Mine>(); }
#elif CASE == 15  // a shape codec needs static
struct Mine : Composable {
  static constexpr Role role = Role::shape;
  static constexpr codec::FixedString name = "Mine";
  static constexpr int factor = 2;
};
void f() { join<Mine>(); }
#elif CASE == 16  // a rotation needs static
struct Mine : Composable {
  static constexpr Role role = Role::rotate;
  static constexpr codec::FixedString name = "Mine";
  static constexpr int block = 48;
  static constexpr bool random_signs = false;
  static constexpr float scale = 1;
  static std::uint32_t signs(std::int64_t, int) { return 0; }
};
void f() { join<Mine>(); }
#elif CASE == 17  // feedback needs static constexpr Memory memory
struct Mine : Composable {
  static constexpr Role role = Role::feedback;
  static constexpr codec::FixedString name = "Mine";
};
void f() { join<Mine>(); }
#elif CASE == 18  // A_CODEC_IS_AN_EMPTY_TYPE_WITH_A_CONSTEXPR_role_AND_name
struct Mine : Plain {
  int state;
};
auto w = Mine{} | TopK<Ratio<1, 10>>;
#elif CASE == 19  // A_CODEC_IS_AN_EMPTY_TYPE_WITH_A_CONSTEXPR_role_AND_name
struct Mine : Plain {
  static codec::FixedString<> name;
};
auto w = TopK<Ratio<1, 10>> | Mine{};
#elif CASE == 20  // Wire<...> takes codecs joined by \| \(or Raw\)
struct Mine : Plain {
  static Role role;
};
Wire<Mine{}> w;
#elif CASE == 21  // a coder needs static float decode
struct Mine : Coder {
  static std::uint32_t encode(float) { return 0; }
};
auto w = Delta<Mine{}> | Quant<4>;
#endif
