#pragma once

/// Everything: the algebra, the kernels, schedules, and training over LibTorch.
#include <torch/torch.h>

#include "autograd/boundary.hpp"
#include "checkpoint/checkpoint.hpp"
#include "cpu.hpp"
#include "runtime/pipeline.hpp"
#include "stage/cut.hpp"
#include "testing/check_codec.hpp"
