#pragma once
#include "options.hpp"

namespace cifar {

/// Prints every wire with what it costs at the boundaries where the settings would put it.
int list_wires(const Settings& settings);

}  // namespace cifar
