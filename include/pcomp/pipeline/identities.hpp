#pragma once
#include <algorithm>
#include <sstream>

#include "../autograd/boundary.hpp"
#include "../transport/communicator.hpp"

namespace pcomp::detail {

/// The identities of a batch's samples on every rank: those that stage 0's rank was given.
///
/// Why not each rank's own: payloads of first visits differ in size, and Gloo ends a process that receives more than it
/// expects. Between processes this costs an exchange through the store each step.
/// Errors: as `identities`, on every rank.
inline std::vector<std::int64_t> agreed_identities(const at::Tensor& ids, std::int64_t samples, int owner,
                                                   Links& links) {
  if (links.elsewhere().empty()) return identities(ids, samples);
  std::string said;
  if (std::find(links.here().begin(), links.here().end(), owner) != links.here().end()) try {
      for (std::int64_t id : identities(ids, samples)) said += std::to_string(id) + ' ';
    } catch (const Error& e) {
      said = std::string("!") + e.what();
    }
  said = links.exchange("identities of the samples", said).at(static_cast<std::size_t>(owner));
  if (said.starts_with("!")) throw Error(said.substr(1));
  std::istringstream in(said);
  std::vector<std::int64_t> all;
  for (std::int64_t id; in >> id;) all.push_back(id);
  return all;
}

}  // namespace pcomp::detail
