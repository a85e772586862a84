#include <pcomp/core.hpp>
using namespace pcomp;
using S=Schedule<GPipe,200,5>;static_assert(S::deadlock_free && S::ticks>1 && S::bubble<1);