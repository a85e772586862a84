#pragma once
#include "options.hpp"

namespace cifar {

/// Prints every wire with its cost at the boundaries where the settings would put it.
int list_wires(const Settings& settings);

}  // namespace cifar
