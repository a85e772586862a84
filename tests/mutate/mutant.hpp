#pragma once
// Included before every unit of the mutated tree: says which of the planted faults is on, by the number in PCOMP_MUTANT.
#if __cplusplus >= 202002L  // not while CMake tries the compiler
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

namespace pcomp_mutants {

inline const int on = [] {
  const char* const number = std::getenv("PCOMP_MUTANT");
  return number ? std::atoi(number) : 0;
}();
inline bool reached = false;

/// Notes that a program came to the fault, in the file named by PCOMP_MUTANT_REACHED.
[[gnu::noinline, gnu::cold]] inline void note() {
  if (__atomic_exchange_n(&reached, true, __ATOMIC_RELAXED)) return;
  if (const char* const path = std::getenv("PCOMP_MUTANT_REACHED"))
    if (const int file = ::open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666); file >= 0) ::close(file);
}

}  // namespace pcomp_mutants

/// Off in a constant expression, so that what is proved while compiling is proved of the right program.
[[gnu::always_inline]] inline constexpr bool pcomp_mutant(int number) {
  if (__builtin_is_constant_evaluated()) return false;
  if (__builtin_expect(pcomp_mutants::on != number, 1)) return false;
  if (!pcomp_mutants::reached) pcomp_mutants::note();
  return true;
}
#endif
