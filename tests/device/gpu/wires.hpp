#pragma once
#include <pcomp/core.hpp>

/// The wires of the tests with CUDA tensors.
inline constexpr auto thin = pcomp::Quant<8> | pcomp::TopK<pcomp::Ratio<1, 10>> | pcomp::Downsample<2>;
inline constexpr auto sample = pcomp::TopK<pcomp::Ratio<1, 10>, pcomp::PerSample> | pcomp::Quant<8>;
