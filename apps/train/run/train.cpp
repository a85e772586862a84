#include "train.hpp"

#include <ATen/Context.h>
#include <ATen/ops/zeros.h>
#include <torch/optim/sgd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <optional>
#include <pcomp/checkpoint/atomic_file.hpp>
#include <pcomp/checkpoint/optimizer_state.hpp>
#include <pcomp/nn/loss.hpp>
#include <pcomp/runtime/engine.hpp>
#include <pcomp/runtime/process_setup.hpp>
#include <pcomp/runtime/report.hpp>
#include <pcomp/schedule/policies/gpipe.hpp>
#include <pcomp/schedule/policies/one_f_one_b.hpp>
#include <pcomp/schedule/policies/zero_bubble.hpp>
#include <pcomp/transport/communicator.hpp>
#include <pcomp/viz/chrome_trace.hpp>

#include "../data/feed.hpp"
#include "../model/amp.hpp"
#include "../model/model.hpp"
#include "../model/wires.hpp"
#include "checkpoint.hpp"
#include "device.hpp"
#include "folders.hpp"
#include "loss_sum.hpp"
#include "printed.hpp"
#include "progress.hpp"
#include "recipe.hpp"
#include "summary.hpp"

namespace cifar {

volatile std::sig_atomic_t interrupted = 0;

namespace {

namespace fs = std::filesystem;

/// The boundaries' wires in an epoch, counted from 1. Those without the chosen wire lose nothing.
std::vector<const pcomp::kernel::WireKernels*> wires_of(const Settings& s, const Cut& cut, int epoch) {
  std::vector<const pcomp::kernel::WireKernels*> all(static_cast<std::size_t>(cut.stages()) - 1,
                                                     find_wire(s.amp == "off" ? "raw" : "bfloat16").ops);
  if (epoch <= s.raw_epochs) return all;
  const std::vector<NamedWire> chosen = wires_at(s.wire, cut);
  for (std::size_t i = 0; i < chosen.size(); ++i)
    all[static_cast<std::size_t>(cut.compressed[i])] = chosen[i].ops;
  return all;
}

pcomp::schedule::ScheduleTable schedule_of(const Settings& s, const Cut& cut) {
  if (s.schedule == "1f1b")
    return make_schedule(pcomp::OneFOneB{}, cut.stages(), s.microbatches,
                         pcomp::schedule::RankMap(cut.ranks));
  if (s.schedule == "zero-bubble")
    return make_schedule(pcomp::ZeroBubble{}, cut.stages(), s.microbatches,
                         pcomp::schedule::RankMap(cut.ranks));
  return make_schedule(pcomp::GPipe{}, cut.stages(), s.microbatches, pcomp::schedule::RankMap(cut.ranks));
}

pcomp::World world_of(const Settings& s) {
  pcomp::World world = pcomp::World::from_env();
  world.timeout = std::chrono::seconds(s.timeout);
  world.threads_per_rank = s.threads;
  if (s.link == "nccl" && !world.processes())
    throw pcomp::Error(
        "--link nccl: the ranks are threads of this one process, which need no link: start the ranks "
        "with torchrun, or leave --link out");
  world.link = s.link == "nccl" ? pcomp::transport::Backend::Nccl : pcomp::transport::Backend::Gloo;
  return world;
}

/// How many steps at most the loop runs ahead of a GPU.
constexpr int steps_ahead = 16;

/// Also for bfloat16 logits, for which autocast would use floats.
at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& classes) {
  return pcomp::cross_entropy(logits.to(at::kFloat), classes);
}

void refuse_another(const fs::path& folder) {
  if (fs::exists(folder / "checkpoint" / "manifest"))
    throw pcomp::Error(folder.string() +
                       " holds a run already: add --resume to go on with it, or choose another --out");
}

class Run {
 public:
  Run(const pcomp::World& world, Settings settings, at::Device device, fs::path folder,
      std::shared_ptr<void> held, State state)
      : settings_(std::move(settings)),
        folder_(std::move(folder)),
        held_(std::move(held)),
        state_(std::move(state)),
        cut_(find_cut(settings_.cut)),
        has_images_(!world.processes() || cut_.ranks.front() == world.rank() ||
                    cut_.ranks.back() == world.rank()),
        data_(has_images_ ? find_data(settings_.data) : DataSet()),
        normalisation_(has_images_ ? normalisation(data_.train) : Normalisation()),
        wires_(wires_of(settings_, cut_, std::max(done(), 1))),
        device_(device),
        engine_(world,
                stages(settings_.width, cut_, settings_.seed,
                       {settings_.deferred_batch_norm, settings_.amp == "bf16", device}),
                wires_, schedule_of(settings_, cut_)),
        optimiser_(engine_.parameters(), torch::optim::SGDOptions(settings_.lr)
                                             .momentum(settings_.momentum)
                                             .weight_decay(settings_.weight_decay)) {
    pcomp::checkpoint::expect_saveable(optimiser_);
    agree_on_images();
    prints_ = engine_.here(0);
    rank_ = world.rank();
    order_.pictures = engine_.here(0);
    order_.seed = settings_.seed;
    order_.batch = settings_.batch;
    order_.limit = settings_.images;
    order_.least = settings_.microbatches;
    steps_ = batch_count(data_.train.size(), order_);
    if (steps_ == 0)
      throw pcomp::Error("there is no batch of at least " + std::to_string(settings_.microbatches) +
                         " images, one for each micro-batch: raise --images or lower --micro-batches");
    images_ = settings_.images > 0 ? std::min(settings_.images, data_.train.size()) : data_.train.size();
    if (device_.is_cuda() && order_.pictures) {
      train_there_.emplace(data_.train, normalisation_, device_);
      test_there_.emplace(data_.test, normalisation_, device_);
    }
  }

  int go() {
    expect_same_images();
    if (settings_.resume) {
      restore(checkpoint(), engine_, optimiser_);
    } else {
      if (folder_.empty())  // the one rank that prints names it
        for (const std::string& name : pcomp::transport::gather<std::string>(engine_, "name of the run", [&] {
                                         return prints_ ? new_folder(settings_).string() : "";
                                       }).values())
          folder_ += name;
      take_folder();
      save(checkpoint(), state_, engine_, optimiser_);
    }
    say_what();
    for (int epoch = done() + 1; epoch <= settings_.epochs; ++epoch)
      if (!train_epoch_or_stop(epoch)) {
        engine_.abort("rank " + std::to_string(rank_) + " was interrupted");
        const std::string data = settings_.data.empty() ? "" : " --data " + settings_.data;
        std::printf("interrupted in epoch %d; %s kept in %s\ngo on with: --out %s --resume%s\n", epoch,
                    done() == 0   ? "the start is"
                    : done() == 1 ? "epoch 1 is"
                                  : ("epochs 1 to " + std::to_string(done()) + " are").c_str(),
                    folder_.c_str(), folder_.c_str(), data.c_str());
        return 130;
      }
    conclude();
    return 0;
  }

 private:
  /// The ranks of the first and the last stage must have the same images; those between learn how many there are.
  void agree_on_images() {
    using Counts = std::array<int, 2>;
    const auto counts = pcomp::transport::gather<Counts>(engine_, "number of images", [&] {
                          return Counts{data_.train.size(), data_.test.size()};
                        }).values();
    const auto all = pcomp::transport::gather<std::string>(engine_, "images", [&] {
                       return has_images_ ? identity(data_) : std::string();
                     }).values();
    const std::size_t from = all.size() > 1 ? static_cast<std::size_t>(cut_.ranks.front()) : 0;
    for (std::size_t r = 0; r < all.size(); ++r)
      if (!all[r].empty() && all[r] != all[from])
        throw pcomp::Error("the ranks have different images: rank " + std::to_string(from) + " " + all[from] +
                           "; rank " + std::to_string(r) + " " + all[r] + "; give each the same with --data");
    images_are_ = all[from];
    if (has_images_) return;
    data_.train.labels.resize(static_cast<std::size_t>(counts[from][0]));  // without pictures
    data_.test.labels.resize(static_cast<std::size_t>(counts[from][1]));
  }
  /// From the first epoch of a run to its last.
  void expect_same_images() {
    if (state_.data.empty()) state_.data = images_are_;
    if (state_.data != images_are_)
      throw pcomp::Error("the run to resume has other images: " + state_.data + "; here are " + images_are_ +
                         ": " +
                         (state_.data.starts_with("drawings")
                              ? "go on where neither --data, $PCOMP_CIFAR10 nor data/ has CIFAR-10"
                              : "name the folder of its images with --data"));
  }

  /// For a new run. A resumed one has held its folder since before its checkpoint was read.
  void take_folder() {
    const auto taken = pcomp::transport::gather<bool>(engine_, "folder of the run", [&] {
      if (!prints_) return false;
      fs::create_directories(folder_);
      held_ = hold(folder_);
      refuse_another(folder_);
      return true;
    });
    taken.failure().raise_if_any();
  }

  /// A signal that reaches every rank ends some before others.
  bool train_epoch_or_stop(int epoch) {
    try {
      return train_epoch(epoch);
    } catch (const pcomp::Error&) {
      if (!interrupted) throw;
      return false;
    }
  }

  fs::path checkpoint() const { return folder_ / "checkpoint"; }
  int done() const { return static_cast<int>(state_.metrics.size()); }

  void say_what() {
    std::int64_t parameters = 0;
    for (const at::Tensor& p : engine_.parameters()) parameters += p.numel();
    std::int64_t all = 0;
    const auto own = [&] { return parameters; };
    for (const std::int64_t n :
         pcomp::transport::gather<std::int64_t>(engine_, "number of parameters", own).values())
      all += n;
    if (prints_) print_beginning(summary(state_.traffic), engine_.schedule(), all, folder_.string(), done());
  }

  static const DeviceImages* find(const std::optional<DeviceImages>& there) {
    return there ? &*there : nullptr;
  }

  static double bytes_of(const pcomp::runtime::Report& report) {
    double bytes = 0;
    for (const pcomp::runtime::BoundaryReport& b : report.boundaries)
      bytes += static_cast<double>(b.forward.bytes + b.gradient.bytes);
    return bytes;
  }

  /// False if a signal came: the epoch then counts as not begun.
  bool train_epoch(int epoch) {
    if (auto wires = wires_of(settings_, cut_, epoch); wires != wires_)
      engine_.rewire(wires_ = std::move(wires));
    engine_.train();
    engine_.record(!settings_.trace.empty());
    order_.epoch = epoch;
    Feed feed(data_.train, find(train_there_), normalisation_, order_);
    Progress progress("epoch " + std::to_string(epoch) + "/" + std::to_string(settings_.epochs), images_);
    const double sent_before = bytes_of(engine_.report());
    LossSum losses(device_.is_cuda() ? steps_ahead : 1);
    double lr = 0;
    std::int64_t step = static_cast<std::int64_t>(epoch - 1) * steps_;
    for (TensorBatch batch; feed.next(batch); ++step) {
      lr = learning_rate(settings_, step, steps_);
      static_cast<torch::optim::SGDOptions&>(optimiser_.param_groups()[0].options()).lr(lr);
      optimiser_.zero_grad();
      const at::Tensor loss = engine_.step(batch.x, batch.y, cross_entropy, batch.sample_ids);
      forget_casts();
      if (!losses.add(loss, batch.size())) not_finite(step + 1, losses.unseen());
      optimiser_.step();
      if (prints_ && losses.unseen() == 0)
        progress.update(losses.images(), losses.mean(), bytes_of(engine_.report()) - sent_before);
      if (interrupted) {
        if (prints_) progress.finish();
        return false;
      }
    }
    if (!losses.look()) not_finite(step, losses.unseen());
    const double seconds = progress.seconds();
    const std::optional<double> accuracy = test();
    if (prints_) progress.finish();
    if (!accuracy) return false;

    pcomp::runtime::Report traffic = pcomp::runtime::total_report(engine_);
    const double sent_in_all = bytes_of(traffic) - sent_before_;
    sent_before_ = bytes_of(traffic);
    add(traffic, state_.traffic);
    Metrics m{static_cast<double>(epoch),
              losses.mean(),
              *accuracy,
              lr,
              seconds,
              static_cast<double>(losses.images()) / seconds,
              0,
              0};
    for (const pcomp::runtime::BoundaryReport& b : traffic.boundaries) {
      m.forward_bytes += static_cast<double>(b.forward.bytes);
      m.gradient_bytes += static_cast<double>(b.gradient.bytes);
    }
    state_.metrics.push_back(m);
    state_.images += losses.images();
    save(checkpoint(), state_, engine_, optimiser_);
    if (!prints_) return true;
    pcomp::checkpoint::atomic_write_file(folder_ / "metrics.csv", to_csv(state_.metrics));
    print_epoch(settings_, m, sent_in_all);
    return true;
  }

  /// The share of test images classified correctly, through the same wires.
  std::optional<double> test() {
    engine_.eval();
    Order order;
    order.augment = false;
    order.pictures = order_.pictures;
    order.batch = std::max(settings_.batch, 256);
    order.limit = settings_.test_images;
    Feed feed(data_.test, find(test_there_), normalisation_, order);
    at::Tensor right = at::zeros({}, at::kLong);
    for (TensorBatch batch; feed.next(batch);) {
      // Counted where the labels are, the same on every rank.
      right = right +
              engine_.evaluate(batch.x, batch.y, cross_entropy, {pcomp::training::count_correct}).metrics[0];
      if (interrupted) return std::nullopt;
    }
    return static_cast<double>(right.item<std::int64_t>()) / tested();
  }

  /// `unseen`: how many steps up to this one were not looked at before.
  [[noreturn]] void not_finite(std::int64_t step, int unseen) const {
    const std::string which =
        unseen == 1 ? "step " + std::to_string(step)
                    : "one of the steps " + std::to_string(step - unseen + 1) + " to " + std::to_string(step);
    throw pcomp::Error("the loss is not finite in " + which +
                       ": lower --lr or choose a milder --wire; what was saved before is in " +
                       folder_.string());
  }

  int tested() const {
    return settings_.test_images > 0 ? std::min(settings_.test_images, data_.test.size()) : data_.test.size();
  }

  /// What is known of the run so far.
  Summary summary(const pcomp::runtime::Report& traffic) const {
    Summary s{settings_, cut_, traffic};
    s.data = data_.what;
    s.train_images = images_, s.test_images = tested();
    s.ranks = engine_.schedule().ranks;
    s.images = state_.images;
    for (const Metrics& m : state_.metrics) {
      s.accuracy = m.accuracy;
      if (s.best_epoch == 0 || m.accuracy > s.best_accuracy)
        s.best_accuracy = m.accuracy, s.best_epoch = static_cast<int>(m.epoch);
      s.seconds += m.seconds;
    }
    return s;
  }

  void conclude() {
    const pcomp::runtime::Report since_start = pcomp::runtime::total_report(engine_);
    pcomp::runtime::Report traffic = since_start;
    add(traffic, state_.traffic);
    if (!settings_.trace.empty() && since_start.steps > 0) {
      const pcomp::schedule::Trace trace = pcomp::runtime::total_trace(engine_);
      if (prints_) pcomp::checkpoint::atomic_write_file(settings_.trace, pcomp::viz::ChromeTrace()(trace));
    }
    if (!prints_) return;
    const Summary end = summary(traffic);
    // Again: a kill may have come between the last checkpoint and its row.
    pcomp::checkpoint::atomic_write_file(folder_ / "metrics.csv", to_csv(state_.metrics));
    pcomp::checkpoint::atomic_write_file(folder_ / "run.json", to_json(end));
    print_result(end);
    since_start.print_times(std::cout);
    std::cout.flush();
  }

  Settings settings_;
  fs::path folder_;
  std::shared_ptr<void> held_;
  State state_;
  const Cut& cut_;
  bool has_images_;  ///< this rank has the first or the last stage
  DataSet data_;
  std::string images_are_;
  Normalisation normalisation_;
  std::vector<const pcomp::kernel::WireKernels*> wires_;
  at::Device device_;
  std::optional<DeviceImages> train_there_, test_there_;
  pcomp::Engine engine_;
  torch::optim::SGD optimiser_;
  Order order_;
  int steps_ = 0, images_ = 0, rank_ = 0;
  bool prints_ = true;
  double sent_before_ = 0;
};

}  // namespace

int train(Settings settings) {
  const pcomp::World world = world_of(settings);
  if (world.processes()) {
    std::signal(SIGTERM, SIG_DFL);  // launchers end ranks with it; the last checkpoint is whole
    if (world.rank() != 0) std::signal(SIGINT, SIG_DFL);
  }
  State state;
  std::shared_ptr<void> held;
  fs::path folder = settings.out;
  // If a launcher restarts all ranks after a fault, the run resumes.
  if (world.launch() && world.launch()->attempt > 0 && !settings.resume) {
    if (folder.empty()) folder = latest_run();
    settings.resume = fs::exists(folder / "checkpoint" / "manifest");
  }
  if (settings.resume) {
    if (folder.empty()) folder = latest_run();
    if (world.rank() == 0 && fs::exists(folder)) held = hold(folder);  // the ranks of one run share a folder
    state = load(folder / "checkpoint");
    settings = resumed(settings, state.identity);
  } else {
    if (!folder.empty()) refuse_another(folder);
    if (settings.batch < settings.microbatches)
      throw pcomp::Error("--batch " + std::to_string(settings.batch) +
                         " cannot be cut into --micro-batches " + std::to_string(settings.microbatches));
    if (settings.cut == "whole" && settings.wire != "raw")
      throw pcomp::Error("--cut whole has no boundary for --wire " + settings.wire);
    state.identity = identity(settings);
  }
  const at::Device device = find_device(settings.device, world.launch());
  if (device.is_cuda()) at::globalContext().setBenchmarkCuDNN(true);
  const auto& ranks = find_cut(settings.cut).ranks;
  pcomp::runtime::keep_memory(world.processes() ? 1 : *std::max_element(ranks.begin(), ranks.end()) + 1);
  at::manual_seed(settings.seed);
  return Run(world, std::move(settings), device, std::move(folder), std::move(held), std::move(state)).go();
}

}  // namespace cifar
