#include <pcomp/core.hpp>

constexpr auto wire = pcomp::Quant<8> | pcomp::TopK<pcomp::Ratio<1, 10>>;
static_assert(20 * wire_bytes(wire, pcomp::Shape<64, 32, 32, 32>{}) <
              wire_bytes(pcomp::Raw, pcomp::Shape<64, 32, 32, 32>{}));
using Plan = pcomp::Schedule<pcomp::OneFOneB, 3, 8>;

int main() { return Plan::deadlock_free ? 0 : 1; }
