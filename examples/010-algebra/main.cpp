// The algebra of wires: codecs are values, `|` joins them in any order, and what makes no sense is refused.
#include <iomanip>
#include <iostream>
#include <pcomp/core.hpp>

using namespace pcomp;

// Each codec has a role: to change the shape, to select, or to code. `|` sorts by role, so every spelling is the
// same type and gets the same kernel.
inline constexpr auto thin = Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>;
static_assert(thin == (Downsample<2> | TopK<Ratio<1, 10>> | Quant<8>));
static_assert((thin | Raw) == thin);                        // Raw is the identity
static_assert(TopK<Ratio<10, 100>> == TopK<Ratio<1, 10>>);  // fractions are reduced
static_assert(sizeof(thin) == 1);                           // an empty value: the type is the wire

// Two codecs of one role are refused, with one compiler error whose first line gives the reason. Code can also ask
// whether two codecs join.
template <class A, class B>
constexpr bool join(A a, B b) {
  return requires { a | b; };
}
static_assert(join(Quant<8>, TopK<Ratio<1, 10>>));
static_assert(!join(Quant<8>, Half));

template <codec::AnyWire W>
void show(const char* spelling, W wire) {
  std::cout << "  " << std::left << std::setw(42) << spelling << name(wire).view() << '\n';
}

template <class A, class B>
void ask(A a, B b) {
  std::cout << "  " << (join(a, b) ? "yes      " : "refused  ") << name(a).view() << "  with  "
            << name(b).view() << '\n';
}

int main() {
  std::cout << "What was written                            its normal form\n";
  show("Quant<8> | TopK<1/10> | Downsample<2>", thin);
  show("TopK<10/100> | (Downsample<2> | Quant<8>)", TopK<Ratio<10, 100>> | (Downsample<2> | Quant<8>));
  show("Raw | Half", Raw | Half);
  show("Raw", Raw);

  std::cout << "\nA name says what differs from the defaults\n";
  show("Quant<4, PerGroup<128>, Nearest>", Quant<4, PerGroup<128>, Nearest>);
  show("Quant<4, PerTensor, Stochastic>", Quant<4, PerTensor, Stochastic>);
  show("TopK<Ratio<1, 4>, PerSample>", TopK<Ratio<1, 4>, PerSample>);
  show("Step<Ratio<1, 16>>", Step<Ratio<1, 16>>);

  std::cout << "\nActivations / gradients: by default the gradient is coded as the activation is\n";
  show("Wire<Quant<8>>", Wire<Quant<8>>{});
  show("Wire<Quant<4>, Quant<8>>", Wire<Quant<4>, Quant<8>>{});
  show("Wire<thin, Half>", Wire<thin, Half>{});

  std::cout << "\nMay they be joined?\n";
  ask(Quant<8>, TopK<Ratio<1, 10>>);
  ask(thin, Raw);
  ask(Quant<8>, Half);
  ask(thin, Downsample<4>);
}
