#include <pcomp/checkpoint/checkpoint.hpp>
#include <pcomp/core.hpp>

#include "catch.hpp"
#include "net.hpp"

using namespace pcomp;

namespace {

std::string thrown_text(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing";
}

struct Folder {
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "pcomp-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()));
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

const std::vector<const kernel::WireKernels*>& wires() {
  static const std::vector<const kernel::WireKernels*> all{
      &kernel::wire_kernels(ErrorFeedback | TopK<Ratio<1, 4>> | Quant<8>),
      &kernel::wire_kernels(Wire<Delta<Raw, BFloat16> | Quant<4>, ErrorFeedback | Quant<4>>{}),
      &kernel::wire_kernels(Wire<EF21 | Quant<4>, Quant<4, PerGroup<128>, Stochastic>>{}),
      &kernel::wire_kernels(Quant<8>)};
  return all;
}

template <class Optimiser>
struct Run {
  Run(const schedule::RankMap& where, const typename Optimiser::Options& options)
      : engine(net::one_thread_each(), net::stages(), wires(), make_schedule(OneFOneB{}, 5, 4, where)),
        optimiser(engine.parameters(), options.value) {}
  /// Batches come from LibTorch's generator, so a resumed run draws the same ones.
  void train(int steps) {
    for (int i = 0; i < steps; ++i) {
      optimiser.zero_grad();
      const at::Tensor x = torch::randn({8, 3, 9, 7}), y = torch::randint(10, {8});
      engine.step(x, y, cross_entropy, torch::randperm(20).slice(0, 0, 8).contiguous());
      optimiser.step();
    }
  }
  Engine engine;
  typename Optimiser::Type optimiser;
};
struct Sgd {
  using Type = torch::optim::SGD;
  struct Options {
    torch::optim::SGDOptions value = torch::optim::SGDOptions(0.05).momentum(0.9);
  };
};
struct AdamW {
  using Type = torch::optim::AdamW;
  struct Options {
    torch::optim::AdamWOptions value = torch::optim::AdamWOptions(0.01).amsgrad(true);
  };
};

template <class Optimiser>
void check_resumed(const schedule::RankMap& before, const schedule::RankMap& after) {
  const Folder base;
  const checkpoint::CheckpointFolder folder(base.path);
  Run<Optimiser> whole(before, {});
  torch::manual_seed(5);
  whole.train(2);
  checkpoint::Manifest m;
  m.step = 2;
  save_checkpoint(folder, m, whole.engine, whole.optimiser, {{"mine", at::arange(3)}});
  whole.train(2);

  Run<Optimiser> resumed(after, {});
  resumed.train(1);  // something different, so that everything has to be put back
  load_checkpoint(folder, folder.manifest(), resumed.engine, resumed.optimiser);
  CHECK(torch::equal(checkpoint::find_tensor(checkpoint::load_run(folder, folder.manifest()), "mine", ""),
                     at::arange(3)));
  resumed.train(2);
  CHECK(net::differing(net::state(resumed.engine), net::state(whole.engine)) == 0);
}

}  // namespace

TEST_CASE("A run that is resumed under another placement ends with the same bits") {
  at::set_num_threads(1);
  check_resumed<Sgd>({0, 1, 2, 3, 4}, {0, 1, 2, 3, 0});
  check_resumed<Sgd>({0, 1, 1, 0, 1}, {0, 0, 0, 0, 0});
  check_resumed<AdamW>({0, 0, 1, 1, 0}, {2, 1, 0, 1, 2});
}

TEST_CASE("Tensors in a file keep bits, dtypes, strides and order") {
  const at::Tensor image = torch::randn({2, 3, 4, 5}).contiguous(at::MemoryFormat::ChannelsLast);
  const checkpoint::NamedTensors all{{"z", image},
                                     {"a", image.narrow(0, 1, 1)},
                                     {"half", torch::randn({3}).to(at::kBFloat16)},
                                     {"none", torch::empty({0, 2})},
                                     {"number", torch::scalar_tensor(7, at::kLong)}};
  const std::string bytes = checkpoint::pack_tensors(all);
  const checkpoint::NamedTensors came = checkpoint::unpack_tensors(bytes, "here");
  REQUIRE(came.size() == all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    CHECK(came[i].first == all[i].first);
    CHECK(came[i].second.scalar_type() == all[i].second.scalar_type());
    CHECK(came[i].second.strides() == all[i].second.strides());
    CHECK(torch::equal(came[i].second, all[i].second));
  }
  CHECK(checkpoint::pack_tensors({{"a", image.narrow(0, 1, 1)}}).size() <
        checkpoint::pack_tensors({{"a", image}}).size());
  for (const std::string& bad : {std::string("no tensors"), bytes.substr(0, bytes.size() / 2), std::string()})
    CHECK(thrown_text([&] { (void)checkpoint::unpack_tensors(bad, "here"); }) ==
          "pcomp: here: this is no file of named tensors");
}

TEST_CASE("A checkpoint of another network is one error") {
  const Folder base;
  const checkpoint::CheckpointFolder folder(base.path);
  Run<Sgd> run({0, 0, 0, 0, 0}, {});
  save_checkpoint(folder, {}, run.engine, run.optimiser, {});
  const auto error = [&](std::vector<runtime::StageSpec> stages) {
    const int n = static_cast<int>(stages.size());
    Engine other(
        net::one_thread_each(), std::move(stages),
        std::vector<const kernel::WireKernels*>(static_cast<std::size_t>(n) - 1, &kernel::wire_kernels(Raw)),
        make_schedule(GPipe{}, n, 1));
    torch::optim::SGD optimiser(other.parameters(), 0.1);
    return thrown_text([&] { load_checkpoint(folder, folder.manifest(), other, optimiser); });
  };
  auto stages = net::stages();
  stages.pop_back();
  CHECK(error(stages) == "pcomp: the checkpoint has 5 stages, the network 4");
  stages.push_back(runtime::stage_spec([] { return torch::nn::Linear(8, 11); }));
  CHECK(error(stages).find("stage 4 of the checkpoint: there is no tensor 'weight'") != std::string::npos);
  struct Wider : torch::nn::Module {
    Wider() { register_module("linear", torch::nn::Linear(8, 11)); }
    at::Tensor forward(const at::Tensor& x) { return x; }
  };
  stages.back() = runtime::stage_spec([] { return std::make_shared<Wider>(); });
  CHECK(error(stages).find("'linear.weight' is CPUFloatType 10x8, but the network has CPUFloatType 11x8") !=
        std::string::npos);
  stages.back() = runtime::stage_spec([] { return [](const at::Tensor& x) { return x; }; });
  CHECK(error(stages).find("the network uses 1 of its 3 tensors") != std::string::npos);
}

TEST_CASE("What a boundary remembers is loaded over the wire that it was saved with, or not at all") {
  const Folder base;
  const checkpoint::CheckpointFolder folder(base.path);
  Run<Sgd> run({0, 0, 0, 0, 0}, {});
  run.train(1);
  save_checkpoint(folder, {}, run.engine, run.optimiser, {});
  const auto error = [&](const kernel::WireKernels& wire) {
    auto all = wires();
    all[2] = &wire;
    Engine other(net::one_thread_each(), net::stages(), all, make_schedule(GPipe{}, 5, 1));
    torch::optim::SGD optimiser(other.parameters(), 0.1);
    return thrown_text([&] { load_checkpoint(folder, folder.manifest(), other, optimiser); });
  };
  CHECK(
      error(kernel::wire_kernels(ErrorFeedback | Quant<4>)) ==
      "pcomp: the checkpoint was made with the wire '" + std::string(wires()[2]->name.view()) +
          "' on boundary 2, but it has 'ErrorFeedback | Quant<4>', which would misread what was remembered");
  CHECK(error(kernel::wire_kernels(Raw)) == "nothing");
  CHECK(error(*wires()[2]) == "nothing");
}

TEST_CASE("The state of another optimiser is refused") {
  const Folder base, other;  // a folder belongs to the pipeline that saves into it
  const checkpoint::CheckpointFolder folder(base.path), second(other.path);
  Run<AdamW> adamw({0, 0, 0, 0, 0}, {});
  Run<Sgd> sgd({0, 0, 0, 0, 0}, {});
  adamw.train(1), sgd.train(1);
  save_checkpoint(folder, {}, adamw.engine, adamw.optimiser, {});
  CHECK(thrown_text([&] { load_checkpoint(folder, folder.manifest(), sgd.engine, sgd.optimiser); }) ==
        "pcomp: the checkpoint holds 'step' of another optimiser than SGD");
  torch::optim::Adam adam(adamw.engine.parameters(), torch::optim::AdamOptions(0.01).amsgrad(true));
  load_checkpoint(folder, folder.manifest(), adamw.engine, adam);
  adam.step();
  save_checkpoint(second, {}, sgd.engine, sgd.optimiser, {});
  CHECK_THROWS_AS(load_checkpoint(second, second.manifest(), adamw.engine, adamw.optimiser), BadCheckpoint);
  CHECK(thrown_text([&] { load_checkpoint(second, second.manifest(), adamw.engine, adamw.optimiser); }) ==
        "pcomp: the checkpoint holds 'momentum' of another optimiser than AdamW");
}

TEST_CASE("A tensor that cannot be saved is named, and the last checkpoint stays") {
  const Folder base;
  const checkpoint::CheckpointFolder folder(base.path);
  Run<Sgd> run({0, 0, 0, 0, 0}, {});
  save_checkpoint(folder, {}, run.engine, run.optimiser, {{"best", at::ones({})}});
  CHECK(thrown_text([&] {
          save_checkpoint(folder, {}, run.engine, run.optimiser, {{"best", at::Tensor()}});
        }) == "pcomp: a file takes tensors, but 'best' is undefined");
  CHECK(thrown_text([&] {
          save_checkpoint(folder, {}, run.engine, run.optimiser, {{"best", at::ones({}, at::kMeta)}});
        }).starts_with("pcomp: cannot save run: "));
  CHECK(checkpoint::find_tensor(checkpoint::load_run(folder, folder.manifest()), "best", "").item<int>() ==
        1);
}
