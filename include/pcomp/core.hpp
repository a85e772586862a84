#pragma once

/// Algebra, sizes and schedules: no LibTorch, no kernels, half a second to compile. Simulation and pictures have
/// headers of their own: schedule/simulate.hpp, svg.hpp, chrome_trace.hpp, terminal.hpp.
#include "codec/concepts.hpp"
#include "codec/downsample.hpp"
#include "codec/feedback.hpp"
#include "codec/hadamard.hpp"
#include "codec/half.hpp"
#include "codec/quant.hpp"
#include "codec/step.hpp"
#include "codec/topk.hpp"
#include "schedule/make_schedule.hpp"
#include "schedule/policies/forward_only.hpp"
#include "schedule/policies/gpipe.hpp"
#include "schedule/policies/interleaved.hpp"
#include "schedule/policies/one_f_one_b.hpp"
#include "schedule/policies/zero_bubble.hpp"
#include "wire/bytes.hpp"
#include "wire/delta.hpp"
#include "wire/verbatim.hpp"
