#pragma once

/// The algebra and the CPU kernels, without LibTorch.
#include "core.hpp"
#include "kernel/encode.hpp"
#include "kernel/gradient.hpp"
