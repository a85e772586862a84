#pragma once
#include <pcomp/kernel/boundary_ops.hpp>
#include <vector>

/// Every wire that the laws are tested on, as the executor sees it.
const std::vector<const pcomp::BoundaryOps*>& all_wires();
