// Makes the calls of its command line on a pipeline, as one rank or with all ranks as threads, and prints what they
// return. processes.py starts it in several processes with the same or with different calls.
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <pcomp/checkpoint/checkpoint.hpp>
#include <pcomp/pcomp.hpp>
#include <pcomp/runtime/report.hpp>

using namespace pcomp;

namespace {

using Settings = std::map<std::string, std::string>;

std::vector<std::string> words(const std::string& text, char by) {
  std::vector<std::string> all;
  std::istringstream in(text);
  for (std::string word; std::getline(in, word, by);) all.push_back(word);
  return all;
}

unsigned long long checksum(const at::Tensor& t) {
  const at::Tensor c = t.detach().contiguous();
  unsigned long long sum = 0xcbf29ce484222325u;
  const auto* bytes = static_cast<const unsigned char*>(c.const_data_ptr());
  for (std::size_t i = 0; i < c.nbytes(); ++i) sum = (sum ^ bytes[i]) * 0x100000001b3u;
  return sum;
}

/// Four stages of a few linear layers; the gradients are large, so that clipping changes them.
std::vector<runtime::StageSpec> stages() {
  const auto linear = [](int in, int out) {
    return runtime::stage_spec(
        [=] { return torch::nn::Sequential(torch::nn::Linear(in, out), torch::nn::Tanh()); });
  };
  return {linear(16, 24), linear(24, 16), linear(16, 16),
          runtime::stage_spec([] { return torch::nn::Linear(16, 4); })};
}
std::vector<const kernel::WireKernels*> wires(const std::string& name) {
  return std::vector<const kernel::WireKernels*>(
      3, name == "raw" ? &kernel::wire_kernels(Raw) : &kernel::wire_kernels(Quant<8>));
}

class Program {
 public:
  explicit Program(const Settings& s) : settings_(s), world_(world(s)) { begin(); }

  void run(const std::string& call) {
    const std::vector<std::string> word = words(call, ':');
    const auto given = [&](std::size_t i, const char* otherwise) {
      return word.size() > i ? word[i] : std::string(otherwise);
    };
    const std::string& what = word.at(0);
    const int n = what.starts_with("step") || what.starts_with("infer") || what == "evaluate"
                      ? std::stoi(given(1, "8"))
                      : 0;
    torch::manual_seed(std::stoi(n ? given(2, "7") : "0"));
    at::Tensor x = n ? torch::randn({n, 16}) : at::Tensor(), y = n ? torch::randint(4, {n}) : at::Tensor(),
               sample_ids;
    if (what == "step-no-targets") y = at::Tensor();
    if (what == "step-other-targets") y = torch::zeros({n, 3});
    if (what == "step-no-x") x = torch::zeros({n, 16});
    if (what == "step-real") y = torch::randn({n, 4});
    if (what == "step-near") y = torch::randn({n, 4}) * (1 + 1e-6);
    if (what == "step-ids") sample_ids = torch::arange(n) + std::stoi(given(3, "0"));
    if (what == "step-ids") y = y.roll(world_.rank());
    training::Loss loss = cross_entropy;
    if (what == "step-real" || what == "step-near")
      loss = [](const at::Tensor& o, const at::Tensor& t) { return torch::mse_loss(o, t); };
    if (what.starts_with("step")) {
      print("loss", engine_->step(x, y, loss, sample_ids));
    } else if (what == "infer") {
      print("output", engine_->infer(x));
    } else if (what == "infer-last") {
      print("output", engine_->infer(x, training::Outputs::last_stage));
    } else if (what == "infer-on") {
      print("output", engine_->infer(x, training::Outputs::on({std::stoi(given(3, "0"))})));
    } else if (what == "evaluate") {
      const training::Evaluation e = engine_->evaluate(x, y, cross_entropy, {training::count_correct});
      print("evaluated loss", e.loss), print("right", e.metrics.at(0));
    } else if (what == "clip") {
      number("norm", engine_->clip_grad_norm(std::stod(given(1, "0.1")), std::stod(given(2, "2")),
                                             given(3, "") == "strict"));
    } else if (what == "torch-clip") {
      number("norm", torch::nn::utils::clip_grad_norm_(engine_->parameters(), std::stod(given(1, "0.1")),
                                                       std::stod(given(2, "2"))));
    } else if (what == "sum") {  // an entry for each stage, and one for each rank
      std::vector<double> each(4);
      for (int s = 0; s < 4; ++s)
        if (engine_->here(s)) each[static_cast<std::size_t>(s)] = 0.1 * s + 0.3;
      for (double v : engine_->sum(each)) number("sum", v);
    } else if (what == "sum-of") {
      print("sum of tensors", engine_->sum(torch::full({std::stoi(given(1, "2"))},
                                                       0.1f * static_cast<float>(world_.rank() + 1))));
    } else if (what == "poison") {
      if (const auto m = engine_->module(std::stoi(given(1, "0"))))
        m->parameters()[0].mutable_grad().view({-1})[0] = std::stod(given(2, "nan"));
    } else if (what == "eval") {
      engine_->eval();
    } else if (what == "train") {
      engine_->train();
    } else if (what == "optimise") {
      sgd_->step(), sgd_->zero_grad();
    } else if (what == "rewire") {
      engine_->rewire(wires(given(1, "raw")));
    } else if (what == "freeze") {
      engine_->freeze(std::stoi(given(1, "1")));
    } else if (what == "save") {
      save_checkpoint(checkpoint::CheckpointFolder(given(1, "")), {}, *engine_, *sgd_, {});
    } else if (what == "load") {
      const checkpoint::CheckpointFolder folder(given(1, ""));
      load_checkpoint(folder, folder.manifest(), *engine_, *sgd_);
    } else if (what == "exchange") {
      engine_->exchange(given(1, "text"), "text");
    } else if (what == "report") {
      report(runtime::total_report(*engine_));
    } else if (what == "sleep") {
      std::this_thread::sleep_for(std::chrono::milliseconds(std::stoi(given(1, "0"))));
    } else if (what == "until") {  // there is such a file
      while (!std::filesystem::exists(given(1, "")))
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    } else if (what == "say") {
      std::printf("%s\n", given(1, "").c_str());
    } else if (what == "end") {
      engine_.reset();
    } else if (what == "new") {
      begin();
    } else if (what == "second") {  // an engine that lives beside this one
      others_.push_back(std::exchange(engine_, std::nullopt));
      begin();
    } else {
      throw std::runtime_error("no call " + call);
    }
    std::fflush(stdout);
  }

  void state() {
    for (int s = 0; s < 4 && engine_; ++s)
      if (const auto m = engine_->module(s))
        for (const auto& p : m->named_parameters()) {
          std::printf("stage %d %s %016llx", s, p.key().c_str(), checksum(p.value()));
          std::printf(" %016llx\n", p.value().grad().defined() ? checksum(p.value().grad()) : 0ull);
        }
  }

 private:
  static World world(const Settings& s) {
    World w = s.at("mode") == "threads" ? World::threads() : World::from_env();
    w.threads_per_rank = 1;
    w.timeout = std::chrono::milliseconds(std::stoi(s.at("timeout")));
    return w;
  }
  void begin() {
    std::vector<int> ranks;
    for (char c : settings_.at("placement")) ranks.push_back(c - '0');
    const int microbatches = std::stoi(settings_.at("micros"));
    torch::manual_seed(3);
    engine_.emplace(world_, stages(), wires(settings_.at("wire")),
                    make_schedule(OneFOneB{}, 4, microbatches, schedule::RankMap(ranks)));
    sgd_.reset();
    if (const auto all = engine_->parameters(); !all.empty())
      sgd_.emplace(all, torch::optim::SGDOptions(0.5).momentum(0.9));
    std::printf("connected\n");
    std::fflush(stdout);
  }
  static void print(const char* what, const at::Tensor& t) {
    if (t.defined()) std::printf("%s %016llx\n", what, checksum(t));
  }
  static void number(const char* what, double v) { std::printf("%s %a\n", what, v); }
  static void report(const runtime::Report& r) {
    for (std::size_t k = 0; k < r.ranks.size(); ++k)
      for (const auto& [name, t] : {std::pair("losses", r.ranks[k].losses),
                                    {"outputs", r.ranks[k].outputs},
                                    {"agreement", r.ranks[k].agreement}})
        std::printf("report rank %d %s %d %d %d\n", static_cast<int>(k), name, static_cast<int>(t.messages),
                    static_cast<int>(t.bytes), static_cast<int>(t.predicted));
  }

  Settings settings_;
  World world_;
  std::optional<Engine> engine_;
  std::vector<std::optional<Engine>> others_;
  std::optional<torch::optim::SGD> sgd_;
};

}  // namespace

int main(int argc, char** argv) {
  Settings s{{"mode", "processes"}, {"placement", "0011"}, {"wire", "quant"},
             {"micros", "2"},       {"timeout", "20000"},  {"calls", ""}};
  for (int i = 1; i < argc; ++i)
    if (const char* equal = std::strchr(argv[i], '='))
      s[std::string(argv[i], static_cast<std::size_t>(equal - argv[i]))] = equal + 1;
  try {
    at::set_num_threads(1);
    Program program(s);
    for (const std::string& call : words(s.at("calls"), ',')) program.run(call);
    program.state();
    return 0;
  } catch (const std::exception& e) {
    std::fflush(stdout);
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
