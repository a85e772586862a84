#pragma once

/// The algebra and the CPU kernels, without LibTorch.
#include "core.hpp"
#include "kernel/codec_calls.hpp"
