#pragma once
#include <algorithm>
#include <sstream>

#include "../../base/error.hpp"
#include "../measured.hpp"

namespace pcomp::plan {

PCOMP_IMPL std::string write(const Machine& machine) {
  std::ostringstream text;
  text.precision(9);
  if (machine.batch > 0) {
    if (machine.network.empty() || machine.network.find_first_of(" \t\r\n") != std::string::npos)
      throw Error("pcomp: measurements are written with their network's name, one word, not '" +
                  machine.network + "'");
    text << "network " << machine.network << ' ' << machine.batch << '\n';
  }
  const auto lines = [&](const char* what, const std::map<int, std::vector<BlockCost>>& all) {
    for (const auto& [microbatches, blocks] : all)
      for (std::size_t b = 0; b < blocks.size(); ++b) {
        const BlockCost& c = blocks[b];
        text << what << ' ' << microbatches << ' ' << b << ' ' << c.forward << ' ' << c.backward << ' '
             << c.inputs << ' ' << c.weights;
        if (c.bytes != schedule::StageBytes{})
          text << ' ' << c.bytes.fixed << ' ' << c.bytes.live << ' ' << c.bytes.forward << ' '
               << c.bytes.backward << ' ' << c.bytes.between << ' ' << c.bytes.weights;
        text << '\n';
      }
  };
  lines("block", machine.blocks);
  lines("crowded", machine.crowded);
  for (const auto& [name, w] : machine.wires)
    text << "wire " << name << ' ' << w.encode << ' ' << w.decode << ' ' << w.encode_grad << ' '
         << w.decode_grad << '\n';
  return text.str();
}

PCOMP_IMPL Machine read(const std::string& text) {
  Machine machine;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream in(line);
    std::string what, name;
    in >> what;
    bool ok = false;
    if (what == "network") {
      ok = in >> machine.network >> machine.batch && machine.batch > 0;
    } else if (what == "block" || what == "crowded") {
      int microbatches = 0;
      std::size_t block = 0;
      BlockCost c;
      ok = static_cast<bool>(in >> microbatches >> block >> c.forward >> c.backward >> c.inputs >>
                             c.weights) &&
           microbatches > 0;
      schedule::StageBytes& b = c.bytes;
      if (ok && !(in >> std::ws).eof())
        ok =
            static_cast<bool>(in >> b.fixed >> b.live >> b.forward >> b.backward >> b.between >> b.weights) &&
            std::min({b.fixed, b.live, b.forward, b.backward, b.between, b.weights}) >= 0;
      auto& blocks = (what == "block" ? machine.blocks : machine.crowded)[microbatches];
      ok = ok && block == blocks.size();
      blocks.push_back(c);
    } else if (what == "wire") {
      WireCost c;
      ok = static_cast<bool>(in >> name >> c.encode >> c.decode >> c.encode_grad >> c.decode_grad);
      machine.wires[name] = c;
    } else {
      ok = what.empty() || what.starts_with("#");
    }
    if (ok && !what.empty() && !what.starts_with("#")) ok = (in >> std::ws).eof();
    if (!ok)
      throw Error("pcomp: expected measured costs, a network, a block or a wire in each line, not '" + line +
                  "'");
  }
  return machine;
}

}  // namespace pcomp::plan
