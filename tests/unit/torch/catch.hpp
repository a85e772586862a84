#pragma once
// LibTorch's logging has a CHECK of its own, which ends the program; here CHECK must be Catch2's.
#include <c10/util/Logging.h>
#undef CHECK

#include "../cpu/catch.hpp"
