#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <pcomp/checkpoint/load_state.hpp>
#include <pcomp/kernel/wire_kernels.hpp>
#include <pcomp/schedule/policies/one_f_one_b.hpp>
#include <pcomp/stage/cut.hpp>

#include "catch.hpp"

using namespace pcomp;

namespace {

struct StateFolder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("pcomp-state-" + std::to_string(::getpid()));
  StateFolder() { std::filesystem::create_directories(path); }
  ~StateFolder() { std::filesystem::remove_all(path); }
  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path / name, std::ios::binary) << bytes;
    return path / name;
  }
};

torch::nn::Sequential small_net() {
  return torch::nn::Sequential(torch::nn::Linear(3, 4), torch::nn::BatchNorm1d(4), torch::nn::Linear(4, 2));
}
Engine two_stages() {
  return Engine(World::threads(), cut(small_net(), {2}), {&kernel::wire_kernels(Raw)},
                make_schedule(OneFOneB{}, 2, 2));
}
checkpoint::NamedTensors state_of(Engine& pipe, const checkpoint::StateName& name) {
  checkpoint::NamedTensors all;
  for (const auto& t : pcomp::detail::state_targets(pipe, name))
    all.emplace_back(t.name, t.to.detach().clone());
  return all;
}
std::string refusal(const auto& act) {
  try {
    act();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}
/// A file with a header of these words over these bytes.
std::string with_header(std::string header, const std::string& bytes) {
  const std::uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), sizeof size) + header + bytes;
}

}  // namespace

TEST_CASE("A safetensors file holds every dtype, shape and name as it was") {
  const StateFolder folder;
  checkpoint::NamedTensors all;
  for (const auto& [text, dtype] : pcomp::detail::safetensors_dtypes)
    all.emplace_back("of \"" + std::string(text) + "\"", at::arange(6, at::kFloat).view({2, 3}).to(dtype));
  all.emplace_back("scalar", at::arange(1, at::kDouble).view({}));
  all.emplace_back("empty", at::empty({0, 3}));
  all.emplace_back("turned", at::arange(6, at::kFloat).view({2, 3}).t());
  const auto path = folder.write("all.safetensors", checkpoint::pack_safetensors(all, {{"format", "pt"}}));
  checkpoint::SafetensorsFile file(path);
  CHECK(checkpoint::SafetensorsFile::is_one(path));
  CHECK(file.names().size() == all.size());
  CHECK(file.about() == std::map<std::string, std::string>{{"format", "pt"}});
  for (const auto& [name, tensor] : all) {
    INFO(name);
    const at::Tensor read = file.read(name);
    CHECK((read.scalar_type() == tensor.scalar_type() && read.sizes() == tensor.sizes()));
    CHECK(at::equal(read.view(-1).view(at::kByte), tensor.contiguous().view(-1).view(at::kByte)));
  }
  const std::string once = refusal([&] {
    (void)checkpoint::pack_safetensors({{"a", at::empty({1})}, {"a", at::empty({1})}});
  });
  CHECK(once == "pcomp: a safetensors file has each name once, but 'a' came again");
  CHECK(refusal([&] {
          (void)checkpoint::pack_safetensors({{"q", at::empty({1}, at::kComplexDouble)}});
        }).find("no dtype for 'q'") != std::string::npos);
}

TEST_CASE("A damaged safetensors file is refused by what is wrong with it") {
  const StateFolder folder;
  const auto said = [&](const std::string& bytes) {
    const auto path = folder.write("bad", bytes);
    return refusal([&] { checkpoint::SafetensorsFile file(path); });
  };
  const std::string good = R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})";
  CHECK(said(with_header(good, "xy")).empty());
  CHECK(said("").find("no safetensors header") != std::string::npos);
  CHECK(said(with_header(good, "xy").substr(0, 20)).find("no safetensors header") != std::string::npos);
  CHECK(said(with_header(good, "x")).find("'a' takes 2 bytes, but stands at 0 to 2 of 1") !=
        std::string::npos);
  CHECK(said(with_header(good, "xyz")).find("it has 3 bytes of tensors, and its header says 2") !=
        std::string::npos);
  CHECK(said(with_header("{\"a\":7}", "")).find("its header is damaged") != std::string::npos);
  CHECK(said(with_header("{\"a\"", "")).find("its header is damaged") != std::string::npos);
  for (const auto& [from, to, why] :
       {std::tuple("U8", "Q4", "'a' has an unknown dtype, Q4"), std::tuple("[2]", "[-2]", "impossible shape"),
        std::tuple("[2]", "[4611686018427387904,8]", "impossible shape"),
        std::tuple("[0,2]", "[2,0]", "'a' takes 2 bytes"), std::tuple("[2]", "[1]", "'a' takes 1 bytes")}) {
    std::string bad = good;
    bad.replace(bad.find(from), std::string(from).size(), to);
    INFO(bad);
    CHECK(said(with_header(bad, "xy")).find(why) != std::string::npos);
  }
  const std::string two = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)";
  CHECK(said(with_header(two + R"("b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "xy"))
            .find("overlap, or leave bytes out") != std::string::npos);
  CHECK(said(with_header(two + R"("b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})", "xyz"))
            .find("overlap, or leave bytes out") != std::string::npos);
}

TEST_CASE("Weights of a file go into the stages under the names that one gives them") {
  const StateFolder folder;
  torch::manual_seed(1);
  Engine from = two_stages(), to = two_stages();
  const auto differ = [&] {
    const auto a = state_of(from, checkpoint::numbered_stages), b = state_of(to, checkpoint::numbered_stages);
    std::size_t n = 0;
    for (std::size_t i = 0; i < a.size(); ++i) n += !at::equal(a[i].second, b[i].second);
    return n;
  };
  from.module(0)->named_buffers()["1.running_mean"].fill_(0.25);
  REQUIRE(differ() > 2);
  const auto numbered = state_of(from, checkpoint::numbered_stages);
  CHECK(numbered[0].first == "0.0.weight");
  checkpoint::load_state(to, folder.write("a.safetensors", checkpoint::pack_safetensors(numbered)));
  CHECK(differ() == 0);
  // Names of the whole network, in a file of torch.save's kind.
  const auto whole = [](int stage, const std::string& name) {
    return stage == 0 ? name : "2" + name.substr(name.find('.'));
  };
  Engine again = two_stages();
  checkpoint::load_state(again, folder.write("b.pt", checkpoint::pack_tensors(state_of(from, whole))), whole);
  CHECK(at::equal(again.module(1)->parameters()[0], from.module(1)->parameters()[0]));
  // Of another floating-point dtype, and one that stays as it is.
  checkpoint::NamedTensors halves;
  for (const auto& [name, t] : numbered)
    if (name != "0.1.num_batches_tracked")
      halves.emplace_back(name, t.is_floating_point() ? (t * 2).to(at::kHalf) : t);
  const auto kept = [](int stage, const std::string& name) {
    return name == "1.num_batches_tracked" ? std::string() : checkpoint::numbered_stages(stage, name);
  };
  checkpoint::load_state(to, folder.write("c.safetensors", checkpoint::pack_safetensors(halves)), kept);
  CHECK(at::equal(to.module(0)->parameters()[0],
                  (from.module(0)->parameters()[0] * 2).to(at::kHalf).to(at::kFloat)));
}

TEST_CASE("save_state writes what load_state reads") {
  const StateFolder folder;
  Engine from = two_stages();
  const at::AutoGradMode no_grad(false);
  for (const at::Tensor& p : from.parameters()) p.mul_(3);
  from.parameters()[0].view(-1)[0].fill_(-0.0);
  const std::filesystem::path path = folder.path / "out.safetensors";
  save_state(from, path);
  Engine to = two_stages();
  load_state(to, path);
  const auto saved = state_of(from, checkpoint::numbered_stages),
             loaded = state_of(to, checkpoint::numbered_stages);
  REQUIRE(saved.size() == loaded.size());
  for (std::size_t i = 0; i < saved.size(); ++i) {
    CHECK(saved[i].first == loaded[i].first);
    CHECK(at::equal(saved[i].second, loaded[i].second));
  }
  CHECK(std::signbit(to.parameters()[0].view(-1)[0].item<float>()));
  const auto twice = [](int, const std::string& name) { return name.substr(name.rfind('.') + 1); };
  CHECK(refusal([&] { save_state(from, folder.path / "b", twice); }).find("two weights would be saved as") !=
        std::string::npos);
  CHECK(refusal([&] { save_state(from, folder.path / "no" / "c"); }).find("cannot save") !=
        std::string::npos);
}

TEST_CASE("A file of weights that does not fit changes nothing and says every reason at once") {
  const StateFolder folder;
  Engine pipe = two_stages();
  const auto before = state_of(pipe, checkpoint::numbered_stages);
  checkpoint::NamedTensors wrong;
  for (const auto& [name, t] : before) {
    if (name == "0.0.bias") continue;
    wrong.emplace_back(name, name == "0.1.weight"                ? at::empty({5})
                             : name == "0.1.num_batches_tracked" ? t.to(at::kFloat)
                                                                 : t + 1);
  }
  wrong.emplace_back("head.weight", at::empty({1}));
  const auto path = folder.write("wrong.safetensors", checkpoint::pack_safetensors(wrong));
  try {
    checkpoint::load_state(pipe, path);
    FAIL("it was loaded");
  } catch (const BadCheckpoint& e) {
    const std::string text = e.what();
    INFO(text);
    CHECK(e.path == path);
    for (const char* why :
         {"'0.0.bias' is missing", "'0.1.weight' is [5], but the network has [4]",
          "'0.1.num_batches_tracked' is Float, but the network has Long", "'head.weight' is in no stage"})
      CHECK(text.find(why) != std::string::npos);
  }
  const auto after = state_of(pipe, checkpoint::numbered_stages);
  for (std::size_t i = 0; i < before.size(); ++i) CHECK(at::equal(before[i].second, after[i].second));
  CHECK_THROWS_AS(checkpoint::load_state(pipe, folder.path / "none"), BadCheckpoint);
  CHECK_THROWS_AS(checkpoint::load_state(pipe, folder.write("text", "no weights at all")), BadCheckpoint);
}

TEST_CASE("copies the weights in the file $PCOMP_STATE_FROM, of any kind, into a safetensors file", "[.]") {
  REQUIRE((std::getenv("PCOMP_STATE_FROM") && std::getenv("PCOMP_STATE_TO")));
  pcomp::detail::StateFile from(std::getenv("PCOMP_STATE_FROM"));
  checkpoint::NamedTensors all;
  for (const std::string& name : from.names()) all.emplace_back(name, from.read(name));
  std::ofstream(std::getenv("PCOMP_STATE_TO"), std::ios::binary) << checkpoint::pack_safetensors(all);
}
