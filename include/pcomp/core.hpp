#pragma once

/// Algebra, sizes and schedules: no LibTorch, no kernels, half a second to compile.
#include "codec/archetype.hpp"
#include "codec/downsample.hpp"
#include "codec/half.hpp"
#include "codec/quant.hpp"
#include "codec/step.hpp"
#include "codec/topk.hpp"
#include "wire/bytes.hpp"
