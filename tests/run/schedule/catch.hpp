#pragma once
#include "../cpu/catch.hpp"

/// What a call throws as a pcomp::Error, or "nothing".
template <class F>
std::string thrown(F&& f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "nothing";
}
