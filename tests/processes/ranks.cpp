// Runs one rank, or all of them as threads, or the sequential loop, and prints losses and checksums. The scripts beside
// this file start it in several processes, compare what they print, and make them fail.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <pcomp/checkpoint/load_state.hpp>
#include <pcomp/pcomp.hpp>
#include <random>

#include "../unit/torch/any_net.hpp"
#include "../unit/torch/net.hpp"

using namespace pcomp;

namespace {

using Settings = std::map<std::string, std::string>;

constexpr auto chain = Quant<8> | TopK<Ratio<1, 4>>;

/// A copy of a payload with some of its bits flipped.
std::vector<std::byte> flipped(std::span<const std::byte> payload) {
  static thread_local std::mt19937 random(1);
  std::vector<std::byte> bytes(payload.begin(), payload.end());
  for (int i = 0; i < 5; ++i) bytes[random() % bytes.size()] ^= static_cast<std::byte>(1u << random() % 8);
  return bytes;
}
kernel::WireKernels damaged_ops() {
  kernel::WireKernels ops = kernel::wire_kernels(chain);
  ops.decode = [](std::span<const std::byte> payload, const Extents& s, kernel::MutableTensorView y,
                  kernel::ParallelFor par) {
    kernel::wire_kernels(chain).decode(flipped(payload), s, y, par);
  };
  ops.decode_grad = [](std::span<const std::byte> payload, const Extents& s, std::span<const std::byte> index,
                       kernel::MutableTensorView dx, kernel::ParallelFor par) {
    kernel::wire_kernels(chain).decode_grad(flipped(payload), s, flipped(index), dx, par);
  };
  return ops;
}

std::vector<const kernel::WireKernels*> wires_of(const std::string& name) {
  if (name == "raw") return std::vector<const kernel::WireKernels*>(4, &kernel::wire_kernels(Raw));
  if (name == "quant") return std::vector<const kernel::WireKernels*>(4, &kernel::wire_kernels(Quant<8>));
  if (name == "mixed" || name == "frozen")
    return {&kernel::wire_kernels(Quant<8> | TopK<Ratio<1, 10>> | Downsample<2>),
            &kernel::wire_kernels(Wire<Quant<4>, Quant<8>>{}), &kernel::wire_kernels(Raw),
            &kernel::wire_kernels(BFloat16)};
  if (name == "memory")
    return {&kernel::wire_kernels(ErrorFeedback | TopK<Ratio<1, 4>> | Quant<8>),
            &kernel::wire_kernels(Wire<Delta<> | Quant<4>, ErrorFeedback | Quant<4>>{}),
            &kernel::wire_kernels(EF21 | Quant<4>),
            &kernel::wire_kernels(Wire<Quant<4>, Quant<4, PerGroup<128>, Stochastic>>{})};
  if (name == "broken") {
    static const kernel::WireKernels broken = [] {
      kernel::WireKernels ops = kernel::wire_kernels(Raw);
      ops.decode_grad = [](auto...) { throw std::runtime_error("this decoder is out of order"); };
      return ops;
    }();
    return std::vector<const kernel::WireKernels*>(4, &broken);
  }
  if (name == "damaged") {
    static const kernel::WireKernels damaged = damaged_ops();
    return std::vector<const kernel::WireKernels*>(4, &damaged);
  }
  throw Error("no wires " + name);
}

schedule::RankMap placement_of(const std::string& text) {
  std::vector<int> ranks;
  for (char c : text) ranks.push_back(c - '0');
  return schedule::RankMap(std::move(ranks));
}

schedule::ScheduleTable schedule_of(const Settings& s) {
  const int microbatches = std::stoi(s.at("micros"));
  const schedule::RankMap where = placement_of(s.at("placement"));
  const std::string& policy = s.at("schedule");
  if (policy == "gpipe") return make_schedule(GPipe{}, 5, microbatches, where);
  if (policy == "1f1b") return make_schedule(OneFOneB{}, 5, microbatches, where);
  if (policy == "zero-bubble") return make_schedule(ZeroBubble{}, 5, microbatches, where);
  throw Error("no schedule " + policy);
}

std::uint64_t checksum(const at::Tensor& t) {
  const at::Tensor c = t.detach().contiguous();
  std::uint64_t sum = 0xcbf29ce484222325u;
  const auto* bytes = static_cast<const unsigned char*>(c.const_data_ptr());
  for (std::size_t i = 0; i < c.nbytes(); ++i) sum = (sum ^ bytes[i]) * 0x100000001b3u;
  return sum;
}
void print(const std::string& what, const at::Tensor& t) {
  std::printf("%s %016llx\n", what.c_str(), static_cast<unsigned long long>(t.defined() ? checksum(t) : 0));
}

struct Data {
  torch::Tensor x, y, sample_ids;
  explicit Data(std::int64_t n, bool one_shape = true) {
    torch::manual_seed(7);
    const bool odd = n % 2 && !one_shape;  // another shape, and channels-last
    x = torch::randn({n, 3, 9, odd ? 8 : 7})
            .contiguous(odd ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
    y = torch::randint(10, {n});
    if (n == 10) y.narrow(0, 0, 4).fill_(-100);  // all of the first micro-batch, and one of the second
    sample_ids = torch::arange(n);
  }
};

/// Four steps, each followed by an optimiser step, and one inference. The batches have three sizes, one below the number
/// of micro-batches, and, where the wires have no memory, two shapes and memory formats. `grads`: x wants its gradient.
template <class Step, class Infer>
void train(const std::string& name, const std::vector<at::Tensor>& parameters, bool grads, Step step,
           Infer infer) {
  std::optional<torch::optim::SGD> sgd;
  if (!parameters.empty()) sgd.emplace(parameters, torch::optim::SGDOptions(0.05).momentum(0.9));
  for (std::int64_t n : {10, 11, 10, 3}) {
    Data data(n, name.ends_with("memory"));
    if (grads) data.x.requires_grad_();
    print(name + " loss", step(data));
    if (data.x.grad().defined()) print(name + " x", data.x.grad());  // on stage 0's rank
    if (sgd) sgd->step(), sgd->zero_grad();
  }
  print(name + " output", infer(Data(6).x));
}

void print_state(const std::string& name, int stage, torch::nn::Module* m) {
  if (!m) return;
  std::vector<at::Tensor> all;
  net::Sequential::collect(*m, all);
  for (std::size_t i = 0; i < all.size(); ++i)
    print(name + " stage " + std::to_string(stage) + " " + std::to_string(i), all[i]);
}

World world(const Settings& s) {
  World w = s.at("mode") == "threads" ? World::threads() : World::from_env();
  w.threads_per_rank = 1;
  w.timeout = std::chrono::milliseconds(std::stoi(s.at("timeout")));
  return w;
}

/// Two engines of stages that leave their seeds to them, though the ranks' generators differ, as after dropout.
void seeds(const World& w) {
  for (const std::string placement : {"01", "012", "0123", "01234"}) {
    const int n = static_cast<int>(placement.size());
    if (w.processes() && n != w.size()) continue;
    torch::manual_seed(5);
    if (w.rank() > 0) torch::randn({w.rank()});
    for (const char* engine : {"first", "second"}) {
      const std::vector<runtime::StageSpec> stages(
          placement.size(), runtime::stage_spec([] { return torch::nn::Linear(3, 3); }));
      Engine e(w, stages,
               std::vector<const kernel::WireKernels*>(placement.size() - 1, &kernel::wire_kernels(Raw)),
               make_schedule(GPipe{}, n, 2, placement_of(placement)));
      for (int s = 0; s < n; ++s)
        if (const auto m = e.module(s))
          print(placement + " seeds of the " + engine + " engine, stage " + std::to_string(s),
                m->parameters()[0]);
    }
  }
}

/// Several tensors on a boundary, a side input, a shared weight, recomputation; each rank is given what it needs.
void several(const Settings& given, const World& w) {
  const bool sequential = given.at("mode") == "sequential";
  const kernel::WireKernels& first = kernel::wire_kernels(Quant<8>);
  const kernel::WireKernels& second = kernel::wire_kernels(Half);
  const kernel::WireKernels* mask = &kernel::wire_kernels(Verbatim);
  const kernel::Wires wires{kernel::BoundaryWires({&first, &second, mask}),
                            kernel::BoundaryWires({&second, &first, mask})};
  for (const char* placement : {"010", "011", "012"})
    for (const char* policy : {"gpipe", "1f1b", "zero-bubble"}) {
      const schedule::RankMap where = placement_of(placement);
      const int ranks = 1 + *std::max_element(placement, placement + 3) - '0';
      if (w.processes() && ranks != w.size()) continue;
      const std::string name = std::string(placement) + " " + policy + " several";
      const net::SeveralData d(11);
      const auto print_all = [&](const std::vector<at::Tensor>& all, int stage, std::size_t from,
                                 std::size_t n) {
        for (std::size_t i = 0; i < n; ++i)
          print(name + " stage " + std::to_string(stage) + " " + std::to_string(i), all[from + i]);
      };
      if (sequential) {
        net::SeveralLoop plain(first, second);
        plain.tie();
        torch::optim::SGD sgd(plain.parameters(), 0.1);
        for (int step = 0; step < 2; ++step) {
          print(name + " loss", plain.step(d, 4));
          plain.add_up();
          sgd.step(), sgd.zero_grad();
        }
        const auto all = plain.parameters();
        print_all(all, 0, 0, 1), print_all(all, 1, 1, 4), print_all(all, 2, 5, 1);
        continue;
      }
      const schedule::ScheduleTable table =
          std::strcmp(policy, "gpipe") == 0  ? make_schedule(GPipe{}, 3, 4, where)
          : std::strcmp(policy, "1f1b") == 0 ? make_schedule(OneFOneB{}, 3, 4, where)
                                             : make_schedule(ZeroBubble{}, 3, 4, where);
      Engine pipe(w, net::several_stages(), wires, table);
      pipe.share({0, "table.weight"}, {2, "out.weight"});
      pipe.recompute({0, 1});
      std::optional<torch::optim::SGD> sgd;
      if (!pipe.parameters().empty()) sgd.emplace(pipe.parameters(), 0.1);
      const training::BatchTensors side =
          pipe.here(1) ? training::BatchTensors{d.scale} : training::BatchTensors{};
      for (int step = 0; step < 2; ++step) {
        print(name + " loss", pipe.here(2)
                                  ? pipe.step(pipe.here(0) ? d.x : at::Tensor(), d.y, cross_entropy, side)
                                  : pipe.step(pipe.here(0) ? d.x : at::Tensor(), {}, {}, side));
        if (sgd) sgd->step(), sgd->zero_grad();
      }
      for (int stage = 0; stage < 3; ++stage)
        if (const auto m = pipe.module(stage)) print_all(m->parameters(), stage, 0, m->parameters().size());
      for (const runtime::BoundaryReport& b : pipe.report().boundaries)
        if (b.forward.bytes != b.forward.predicted || b.gradient.bytes != b.gradient.predicted)
          throw Error(name + ": bytes and prediction differ");
    }
}

/// Skip connections between stages of one rank: a U-Net whose outer level, or whose both levels, fold back.
void skips(const Settings& given, const World& w) {
  torch::manual_seed(8);
  const at::Tensor x = torch::randn({7, 4, 8, 8}), y = torch::randn({7, 4, 8, 8});
  for (const char* placement : {"0000", "0110"})
    for (const char* policy : {"gpipe", "1f1b", "zero-bubble"})
      for (const bool again : {false, true}) {
        const int ranks = placement[1] == '1' ? 2 : 1;
        if (w.processes() && ranks != w.size()) continue;
        const std::string name = std::string(placement) + " " + policy + (again ? " skips again" : " skips");
        const auto print_all = [&](const torch::nn::Module& m, int stage) {
          const auto all = m.parameters();
          for (std::size_t i = 0; i < all.size(); ++i)
            print(name + " stage " + std::to_string(stage) + " " + std::to_string(i), all[i]);
        };
        const auto train = [&](const std::vector<at::Tensor>& parameters, auto step) {
          torch::optim::SGD sgd(parameters, 0.1);
          for (int i = 0; i < 2; ++i) print(name + " loss", step()), sgd.step(), sgd.zero_grad();
        };
        if (given.at("mode") == "sequential") {
          net::SkipsLoop plain;
          std::vector<at::Tensor> all;
          for (const torch::nn::Module* m : plain.parts())
            for (const at::Tensor& p : m->parameters()) all.push_back(p);
          train(all, [&] { return plain.step(x, y, 3); });
          for (int s = 0; s < 4; ++s) print_all(*plain.parts()[static_cast<std::size_t>(s)], s);
          continue;
        }
        const schedule::RankMap where = placement_of(placement);
        const std::vector<const kernel::WireKernels*> wires(3, &kernel::wire_kernels(Quant<8>));
        Engine pipe(w, net::skip_stages(), wires,
                    std::strcmp(policy, "gpipe") == 0  ? make_schedule(GPipe{}, 4, 3, where)
                    : std::strcmp(policy, "1f1b") == 0 ? make_schedule(OneFOneB{}, 4, 3, where)
                                                       : make_schedule(ZeroBubble{}, 4, 3, where));
        if (again) pipe.recompute({0, 1, 2, 3});
        train(pipe.parameters(), [&] { return pipe.step(x, y, net::mse); });
        for (int s = 0; s < 4; ++s)
          if (const auto m = pipe.module(s)) print_all(*m, s);
      }
}

/// Every combination of schedule, placement and wire that suits this number of ranks; all where ranks are threads.
void same(const Settings& given) {
  const bool sequential = given.at("mode") == "sequential";
  const World w = world(given);
  for (const char* placement : {"01100", "01010", "01210", "01230", "01234"})
    for (const char* policy : {"gpipe", "1f1b", "zero-bubble"})
      for (const char* wire : {"raw", "mixed", "memory", "frozen"}) {
        const bool frozen = std::strcmp(wire, "frozen") == 0;
        if ((frozen || std::strcmp(wire, "memory") == 0) && std::strcmp(policy, "1f1b") != 0) continue;
        Settings s = given;
        s["placement"] = placement, s["schedule"] = policy, s["micros"] = "4";
        const schedule::ScheduleTable table = schedule_of(s);
        if (w.processes() && table.ranks != w.size()) continue;
        const std::string name = std::string(placement) + " " + policy + " " + wire;
        if (sequential) {
          net::Sequential plain(wires_of(wire));
          std::vector<at::Tensor> parameters;
          for (const auto& p : plain.parts)
            if (p.module)
              for (const at::Tensor& t : p.module->parameters()) parameters.push_back(t);
          if (frozen)
            for (at::Tensor t : plain.parts[0].module->parameters()) t.requires_grad_(false);
          train(
              name, parameters, !frozen,
              [&](const Data& d) {
                const int microbatches = static_cast<int>(std::min<std::int64_t>(4, d.x.size(0)));
                return plain.step(d.x, d.y, microbatches, cross_entropy, d.sample_ids);
              },
              [&](const auto& x) {
                const torch::NoGradGuard none;
                std::vector<at::Tensor> all;
                for (const auto& part : training::split(x.size(0), 4))
                  all.push_back(plain.forward(x.narrow(0, part.first, part.count)));
                return torch::cat(all);
              });
          for (int stage = 0; stage < 5; ++stage)
            print_state(name, stage, plain.parts[static_cast<std::size_t>(stage)].module.get());
        } else {
          Engine engine(w, net::stages(), wires_of(wire), table);
          if (frozen) engine.freeze(1);
          const bool spare = std::strcmp(policy, "gpipe") != 0;  // ranks are given only what they need
          train(
              name, engine.parameters(), !frozen,
              [&](const Data& d) {
                if (!spare) return engine.step(d.x, d.y, cross_entropy, d.sample_ids);
                return engine.step(engine.here(0) ? d.x : at::Tensor(), engine.here(4) ? d.y : at::Tensor(),
                                   engine.here(4) ? training::Loss(cross_entropy) : training::Loss(), {},
                                   engine.here(0) ? d.sample_ids : at::Tensor());
              },
              [&](const auto& x) { return engine.infer(!spare || engine.here(0) ? x : at::Tensor()); });
          for (int stage = 0; stage < 5; ++stage) print_state(name, stage, engine.module(stage).get());
          for (const runtime::BoundaryReport& b : engine.report().boundaries)
            for (const runtime::Traffic& t : {b.forward, b.gradient, b.inference})
              if (t.bytes != t.predicted) throw Error(name + ": bytes and prediction differ");
        }
      }
  several(given, w);
  skips(given, w);
  seeds(w);
}

/// Runs steps until it has done them all or is stopped.
void drill(const Settings& s) {
  std::vector<runtime::StageSpec> stages = net::stages();
  if (s.count("unbuilt"))
    stages[1] = runtime::stage_spec(
        []() -> torch::nn::Linear { throw std::runtime_error("no room for this stage"); });
  Engine engine(world(s), std::move(stages), wires_of(s.at("wire")), schedule_of(s));
  if (const int first = std::stoi(s.at("freeze"))) engine.freeze(first);
  const Data data(std::stoi(s.at("batch")));
  for (int i = 0; i < std::stoi(s.at("steps")); ++i) {
    engine.step(data.x, data.y, cross_entropy);
    std::printf("step %d\n", i);
    std::fflush(stdout);
  }
  std::printf("end\n");
}

/// Engines that are dropped as soon as they are built, by some ranks sooner than by others.
void drop(const Settings& s) {
  const World w = world(s);
  for (int i = 0; i < std::stoi(s.at("steps")); ++i)
    Engine(w, net::stages(), wires_of("raw"), schedule_of(s));
  std::printf("end\n");
}

/// A save that fails on rank 0 alone.
void save(const Settings& s) {
  const World w = world(s);
  Engine engine(w, net::stages(), wires_of("raw"), schedule_of(s));
  torch::optim::SGD sgd(engine.parameters(), 0.1);
  const checkpoint::NamedTensors run{{"best", w.rank() == 0 ? at::Tensor() : at::ones({})}};
  save_checkpoint(checkpoint::CheckpointFolder(s.at("folder")), {}, engine, sgd, run);
}

/// Loads weights from a file, which is written first where all stages are here; `others`: under names of another network.
void load(const Settings& s) {
  const World w = world(s);
  torch::manual_seed(w.processes() ? 2 : 1);
  Engine engine(w, net::stages(), wires_of("raw"), schedule_of(s));
  if (!w.processes()) {
    checkpoint::NamedTensors all;
    for (const auto& t : pcomp::detail::state_targets(engine, checkpoint::numbered_stages))
      all.emplace_back(t.name, t.to);
    std::ofstream(s.at("file"), std::ios::binary) << checkpoint::pack_safetensors(all);
  } else if (s.count("others")) {
    checkpoint::load_state(engine, s.at("file"), [](int stage, const std::string& name) {
      return "of" + std::to_string(stage) + "." + name;
    });
  } else {
    load_state(engine, s.at("file"));
    save_state(engine, s.at("file") + ".again");
  }
  for (int stage = 0; stage < 5; ++stage) print_state("loaded", stage, engine.module(stage).get());
}

const char* name_of(transport::Failure::Kind kind) {
  using Kind = transport::Failure::Kind;
  return kind == Kind::PeerLost   ? "PeerLost"
         : kind == Kind::Timeout  ? "Timeout"
         : kind == Kind::Mismatch ? "Mismatch"
                                  : "Error";
}

}  // namespace

int main(int argc, char** argv) {
  Settings s{{"mode", "same"},     {"schedule", "1f1b"}, {"placement", "01230"},
             {"wire", "mixed"},    {"micros", "4"},      {"steps", "3"},
             {"timeout", "20000"}, {"batch", "8"},       {"freeze", "0"}};
  for (int i = 1; i < argc; ++i)
    if (const char* equal = std::strchr(argv[i], '='))
      s[std::string(argv[i], static_cast<std::size_t>(equal - argv[i]))] = equal + 1;
  try {
    at::set_num_threads(1);
    const std::string& mode = s.at("mode");
    mode == "drill"  ? drill(s)
    : mode == "save" ? save(s)
    : mode == "drop" ? drop(s)
    : mode == "load" ? load(s)
                     : same(s);
    return 0;
  } catch (const std::exception& e) {
    const transport::Failure f = transport::Failure::of(e);
    std::printf("%s rank %d stage %d micro-batch %d\n", name_of(f.kind), f.rank, f.stage, f.microbatch);
    std::fflush(stdout);
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
