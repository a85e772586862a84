#pragma once
#include "../cpu/catch.hpp"

/// The text of the exception that a call throws, or "nothing".
template <class F>
std::string thrown(F&& f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "nothing";
}
