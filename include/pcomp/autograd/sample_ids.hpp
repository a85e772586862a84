#pragma once
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "tensor.hpp"

namespace pcomp::detail {

/// Sample identities as plain integers.
inline std::vector<std::int64_t> sample_ids_of(const at::Tensor& sample_ids, std::int64_t samples) {
  if (!sample_ids.defined() || sample_ids.dim() != 1 || sample_ids.size(0) != samples || sample_ids.scalar_type() != at::kLong)
    throw Error("pcomp: Delta needs the identities of " + std::to_string(samples) +
                " samples, a tensor of as many int64, not " +
                (sample_ids.defined() ? sample_ids.toString() + " " + to_string(extents_of(sample_ids)) : std::string("none")));
  const at::Tensor plain = in_memory(sample_ids).cpu().contiguous();
  std::vector<std::int64_t> all(plain.const_data_ptr<std::int64_t>(),
                                plain.const_data_ptr<std::int64_t>() + samples);
  std::vector<std::int64_t> sorted = all;
  std::sort(sorted.begin(), sorted.end());
  if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end())
    throw Error("pcomp: sample " + std::to_string(*twice) + " comes twice in one batch");
  return all;
}

}  // namespace pcomp::detail
