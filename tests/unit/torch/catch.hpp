#pragma once
// LibTorch's logging has a CHECK of its own, which ends the program; here CHECK must be Catch2's.
#include <c10/util/Logging.h>
#undef CHECK

#include <pcomp/base/error.hpp>
#include <string>

#include "../cpu/catch.hpp"

/// The text of the Error that a call throws, or "nothing".
template <class F>
std::string thrown(F&& f) {
  try {
    f();
  } catch (const pcomp::Error& e) {
    return e.what();
  } catch (const std::exception& e) {
    return std::string("not an Error: ") + e.what();
  }
  return "nothing";
}
