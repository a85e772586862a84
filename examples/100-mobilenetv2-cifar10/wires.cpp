#include "wires.hpp"

#include <algorithm>
#include <pcomp/cpu.hpp>

#include "similar.hpp"

namespace cifar {
namespace {

using namespace pcomp;

inline constexpr auto thin = Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>;

}  // namespace

const std::vector<NamedWire>& wires() {
  static const std::vector<NamedWire> all{
      {"raw", &boundary_ops(Raw)},
      {"half", &boundary_ops(Half)},
      {"quant16", &boundary_ops(Quant<16>)},
      {"quant8", &boundary_ops(Quant<8>)},
      {"quant6", &boundary_ops(Quant<6>)},
      {"quant4", &boundary_ops(Quant<4>)},
      {"quant2", &boundary_ops(Quant<2>)},
      {"quant4-grad8", &boundary_ops(Wire<Quant<4>, Quant<8>>{})},
      {"quant3-down2-grad",
       &boundary_ops(Wire<Quant<3, Group<256>>, Downsample<2> | Quant<3, Group<256>>>{})},
      {"quant4-chance", &boundary_ops(Wire<Quant<4>, Quant<4, Group<128>, Stochastic>>{})},
      {"hadamard-quant4", &boundary_ops(Hadamard<64> | Quant<4>)},
      {"hadamard-quant2", &boundary_ops(Hadamard<64> | Quant<2>)},
      {"step", &boundary_ops(Step<Ratio<1, 16>, 8>)},
      {"downsample2", &boundary_ops(Downsample<2>)},
      {"downsample4", &boundary_ops(Downsample<4>)},
      {"down2-quant3", &boundary_ops(Downsample<2> | Quant<3, Group<256>>)},
      {"down4-quant8", &boundary_ops(Downsample<4> | Quant<8>)},
      {"down4-quant4", &boundary_ops(Downsample<4> | Quant<4>)},
      {"topk80", &boundary_ops(TopK<Ratio<8, 10>>)},
      {"topk60", &boundary_ops(TopK<Ratio<6, 10>>)},
      {"topk40", &boundary_ops(TopK<Ratio<4, 10>>)},
      {"topk20", &boundary_ops(TopK<Ratio<2, 10>>)},
      {"topk10", &boundary_ops(TopK<Ratio<1, 10>>)},
      {"topk05", &boundary_ops(TopK<Ratio<1, 20>>)},
      {"topk20-quant16", &boundary_ops(TopK<Ratio<2, 10>> | Quant<16>)},
      {"topk10-quant16", &boundary_ops(TopK<Ratio<1, 10>> | Quant<16>)},
      {"topk05-quant16", &boundary_ops(TopK<Ratio<1, 20>> | Quant<16>)},
      {"topk20-quant8", &boundary_ops(TopK<Ratio<2, 10>> | Quant<8>)},
      {"topk10-quant8", &boundary_ops(TopK<Ratio<1, 10>> | Quant<8>)},
      {"topk05-quant8", &boundary_ops(TopK<Ratio<1, 20>> | Quant<8>)},
      {"topk10-sample-quant8", &boundary_ops(TopK<Ratio<1, 10>, Sample> | Quant<8>)},
      {"topk10-block-quant8", &boundary_ops(TopK<Ratio<1, 10>, Block<256>> | Quant<8>)},
      {"ef-topk10-quant8", &boundary_ops(ErrorFeedback | TopK<Ratio<1, 10>> | Quant<8>)},
      {"ef21-topk10-quant8", &boundary_ops(EF21 | TopK<Ratio<1, 10>> | Quant<8>)},
      {"quant4-ef-grad", &boundary_ops(Wire<Quant<4>, ErrorFeedback | Quant<4>>{})},
      {"delta-quant4", &boundary_ops(Delta<> | Quant<4>)},
      {"delta-quant2", &boundary_ops(Wire<Delta<> | Quant<2>, Quant<4>>{})},
      {"delta-topk10-quant8", &boundary_ops(Delta<Raw, BFloat16> | TopK<Ratio<1, 10>> | Quant<8>)},
      {"thin", &boundary_ops(thin)}};
  return all;
}

const NamedWire& find_wire(std::string_view name) {
  std::vector<std::string> names;
  for (const NamedWire& w : wires()) {
    if (w.name == name) return w;
    names.emplace_back(w.name);
  }
  throw Error("there is no wire '" + std::string(name) + "': did you mean '" + most_similar(name, names) +
              "'? --list-wires shows all");
}

std::vector<NamedWire> find_wires(std::string_view names) {
  std::vector<NamedWire> found;
  for (std::size_t begin = 0; begin <= names.size();) {
    const std::size_t end = std::min(names.find('+', begin), names.size());
    found.push_back(find_wire(names.substr(begin, end - begin)));
    begin = end + 1;
  }
  return found;
}

std::vector<NamedWire> wires_at(std::string_view names, const Cut& cut) {
  std::vector<NamedWire> found = find_wires(names);
  if (found.size() == 1) found.resize(cut.compressed.size(), found.front());
  if (found.size() != cut.compressed.size())
    throw Error("--wire " + std::string(names) + " names " + std::to_string(found.size()) +
                " wires, but --cut " + std::string(cut.name) + " has " +
                std::to_string(cut.compressed.size()) +
                " compressed boundaries: expected one wire for all, or one for each");
  return found;
}

std::string chains(const std::vector<NamedWire>& wires) {
  std::string all;
  for (const NamedWire& w : wires) all += (all.empty() ? "" : " + ") + std::string(w.ops->name.view());
  return all;
}

}  // namespace cifar
