#include "train.hpp"

#include <ATen/Context.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <torch/optim/sgd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <optional>
#include <pcomp/core/keep_memory.hpp>
#include <pcomp/pipeline/engine.hpp>
#include <pcomp/pipeline/loss.hpp>
#include <pcomp/pipeline/total_report.hpp>
#include <pcomp/pipeline/total_trace.hpp>
#include <pcomp/pipeline/write_whole.hpp>
#include <pcomp/schedule/chrome_trace.hpp>
#include <pcomp/schedule/gpipe.hpp>
#include <pcomp/schedule/one_f_one_b.hpp>
#include <pcomp/schedule/zero_bubble.hpp>
#include <sstream>

#include "batches.hpp"
#include "checkpoint.hpp"
#include "model.hpp"
#include "progress.hpp"
#include "recipe.hpp"
#include "summary.hpp"
#include "wires.hpp"

namespace cifar {

volatile std::sig_atomic_t interrupted = 0;

namespace {

namespace fs = std::filesystem;

/// What the boundaries carry in an epoch, counted from 1.
std::vector<const pcomp::BoundaryOps*> wires_of(const Settings& s, const Cut& cut, int epoch) {
  std::vector<const pcomp::BoundaryOps*> all(static_cast<std::size_t>(cut.stages()) - 1,
                                             find_wire("raw").ops);
  if (epoch <= s.raw_epochs) return all;
  const std::vector<NamedWire> chosen = wires_at(s.wire, cut);
  for (std::size_t i = 0; i < chosen.size(); ++i)
    all[static_cast<std::size_t>(cut.compressed[i])] = chosen[i].ops;
  return all;
}

pcomp::ScheduleTable schedule_of(const Settings& s, const Cut& cut) {
  if (s.schedule == "1f1b")
    return make_schedule(pcomp::OneFOneB{}, cut.stages(), s.micro_batches, pcomp::RankMap(cut.ranks));
  if (s.schedule == "zero-bubble")
    return make_schedule(pcomp::ZeroBubble{}, cut.stages(), s.micro_batches, pcomp::RankMap(cut.ranks));
  return make_schedule(pcomp::GPipe{}, cut.stages(), s.micro_batches, pcomp::RankMap(cut.ranks));
}

pcomp::World world_of(const Settings& s) {
  pcomp::World world = pcomp::World::from_env();
  world.timeout = std::chrono::seconds(s.timeout);
  world.threads_per_rank = s.threads;
  return world;
}

/// A new folder runs/wire-cut, runs/wire-cut-2, ...: an older run is never written over.
fs::path new_folder(const Settings& s) {
  fs::create_directories("runs");
  const std::string base = "runs/" + s.wire + "-" + s.cut;
  for (int n = 1;; ++n)
    if (const fs::path folder = n == 1 ? base : base + "-" + std::to_string(n); fs::create_directory(folder))
      return folder;
}

fs::path latest_run() {
  std::optional<fs::directory_entry> latest;
  std::error_code none;
  for (const auto& run : fs::directory_iterator("runs", none))
    if (const fs::directory_entry c(run.path() / "checkpoint" / "manifest");
        c.exists() && (!latest || c.last_write_time() > latest->last_write_time()))
      latest = c;
  if (!latest)
    throw pcomp::Error("--resume: there is no run in runs/ to go on with; name its folder with --out");
  return latest->path().parent_path().parent_path();
}

class Run {
 public:
  Run(const pcomp::World& world, Settings settings, fs::path folder, State state)
      : settings_(std::move(settings)),
        folder_(std::move(folder)),
        state_(std::move(state)),
        cut_(find_cut(settings_.cut)),
        data_(find_data(settings_.data)),
        normalisation_(normalisation(data_.train)),
        wires_(wires_of(settings_, cut_, std::max(done(), 1))),
        engine_(world, stages(settings_.width, cut_, settings_.seed, settings_.deferred_batch_norm), wires_,
                schedule_of(settings_, cut_)),
        optimiser_(engine_.parameters(), torch::optim::SGDOptions(settings_.lr)
                                             .momentum(settings_.momentum)
                                             .weight_decay(settings_.weight_decay)) {
    prints_ = engine_.here(0);
    rank_ = world.rank();
    order_.pictures = engine_.here(0);
    order_.seed = settings_.seed;
    order_.batch = settings_.batch;
    order_.limit = settings_.images;
    order_.least = settings_.micro_batches;
    steps_ = Batches::count(data_.train.size(), order_);
    if (steps_ == 0)
      throw pcomp::Error("there is no batch of at least " + std::to_string(settings_.micro_batches) +
                         " images, one for each micro-batch: raise --images or lower --micro-batches");
    images_ = settings_.images > 0 ? std::min(settings_.images, data_.train.size()) : data_.train.size();
  }

  int go() {
    if (settings_.resume) {
      restore(checkpoint(), engine_, optimiser_);
    } else {
      if (folder_.empty()) folder_ = agree_on(prints_ ? new_folder(settings_).string() : "");
      fs::create_directories(folder_);
      save(checkpoint(), state_, engine_, optimiser_);
    }
    say_what();
    for (int epoch = done() + 1; epoch <= settings_.epochs; ++epoch)
      if (!train_epoch_or_stop(epoch)) {
        engine_.abort("rank " + std::to_string(rank_) + " was interrupted");
        std::printf("interrupted in epoch %d; %s kept in %s\ngo on with: --out %s --resume\n", epoch,
                    done() == 0   ? "the start is"
                    : done() == 1 ? "epoch 1 is"
                                  : ("epochs 1 to " + std::to_string(done()) + " are").c_str(),
                    folder_.c_str(), folder_.c_str());
        return 130;
      }
    conclude();
    return 0;
  }

 private:
  /// The one text that is not empty, of all ranks.
  std::string agree_on(const std::string& text) {
    for (const std::string& t : engine_.exchange("folder of the run", text))
      if (!t.empty()) return t;
    return text;
  }

  /// A signal that reaches every rank ends some of them before the others.
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
    for (const std::string& count : engine_.exchange("number of parameters", std::to_string(parameters)))
      all += std::stoll(count);
    if (!prints_) return;
    std::printf("data      %s: %d for training, %d for testing\n", data_.what.c_str(), images_, tested());
    std::printf("network   MobileNetV2, width %g, %lld parameters, cut %s: %s\n", settings_.width,
                static_cast<long long>(all), settings_.cut.c_str(), std::string(cut_.text).c_str());
    std::printf("wire      %s: %s\n", settings_.wire.c_str(),
                (chains(find_wires(settings_.wire)) + raw_at_first()).c_str());
    std::printf("schedule  %s, %d micro-batches of %d images, %d ranks, bubble %.0f %%\n",
                engine_.schedule().policy.c_str(), settings_.micro_batches,
                (settings_.batch + settings_.micro_batches - 1) / settings_.micro_batches,
                engine_.schedule().ranks, 100 * engine_.schedule().bubble);
    std::printf("recipe    %s: %d epoch%s, batch %d, lr %g, weight decay %g, seed %llu\n",
                settings_.recipe.c_str(), settings_.epochs, settings_.epochs == 1 ? "" : "s", settings_.batch,
                settings_.lr, settings_.weight_decay, static_cast<unsigned long long>(settings_.seed));
    if (done() > 0)
      std::printf("results   %s, resumed after epoch %d\n", folder_.c_str(), done());
    else
      std::printf("results   %s\n", folder_.c_str());
    std::fflush(stdout);
  }

  std::string raw_at_first() const {
    const int n = settings_.raw_epochs;
    return n == 0   ? ""
           : n == 1 ? ", raw in the first epoch"
                    : ", raw in the first " + std::to_string(n) + " epochs";
  }

  at::Tensor tensor(Batch& b) const {
    if (!order_.pictures) return at::zeros({1}).expand({b.size(), 3, side, side});
    return at::from_blob(b.x.data(), {b.size(), 3, side, side}, at::kFloat);
  }

  static double bytes_of(const pcomp::Report& report) {
    double bytes = 0;
    for (const pcomp::BoundaryReport& b : report.boundaries)
      bytes += static_cast<double>(b.forward.bytes + b.gradient.bytes);
    return bytes;
  }

  /// False if a signal came: the epoch is then as if it had not begun.
  bool train_epoch(int epoch) {
    if (auto wires = wires_of(settings_, cut_, epoch); wires != wires_)
      engine_.rewire(wires_ = std::move(wires));
    engine_.train();
    engine_.record(!settings_.trace.empty());
    order_.epoch = epoch;
    Batches batches(data_.train, normalisation_, order_);
    Progress progress("epoch " + std::to_string(epoch) + "/" + std::to_string(settings_.epochs), images_);
    const double sent_before = bytes_of(engine_.report());
    double loss_sum = 0, lr = 0;
    std::int64_t images = 0, step = static_cast<std::int64_t>(epoch - 1) * steps_;
    for (Batch batch; batches.next(batch); ++step) {
      lr = learning_rate(settings_, step, steps_);
      static_cast<torch::optim::SGDOptions&>(optimiser_.param_groups()[0].options()).lr(lr);
      optimiser_.zero_grad();
      const at::Tensor y = at::from_blob(batch.y.data(), {batch.size()}, at::kLong);
      const at::Tensor ids = at::from_blob(batch.ids.data(), {batch.size()}, at::kLong);
      const double loss = engine_.step(tensor(batch), y, pcomp::cross_entropy, ids).item<double>();
      if (!std::isfinite(loss))
        throw pcomp::Error("the loss is not finite in step " + std::to_string(step + 1) +
                           ": lower --lr or choose a milder --wire; what was saved before is in " +
                           folder_.string());
      optimiser_.step();
      loss_sum += loss * batch.size();
      images += batch.size();
      if (prints_)
        progress.update(images, loss_sum / static_cast<double>(images),
                        bytes_of(engine_.report()) - sent_before);
      if (interrupted) {
        if (prints_) progress.finish();
        return false;
      }
    }
    const double seconds = progress.seconds();
    const std::optional<double> accuracy = test();
    if (prints_) progress.finish();
    if (!accuracy) return false;

    pcomp::Report traffic = pcomp::total_report(engine_);
    const double sent_in_all = bytes_of(traffic) - sent_before_;
    sent_before_ = bytes_of(traffic);
    add(traffic, state_.traffic);
    Metrics m{static_cast<double>(epoch),
              loss_sum / static_cast<double>(images),
              *accuracy,
              lr,
              seconds,
              static_cast<double>(images) / seconds,
              0,
              0};
    for (const pcomp::BoundaryReport& b : traffic.boundaries) {
      m.forward_bytes += static_cast<double>(b.forward.bytes);
      m.gradient_bytes += static_cast<double>(b.gradient.bytes);
    }
    state_.metrics.push_back(m);
    state_.images += images;
    save(checkpoint(), state_, engine_, optimiser_);
    if (!prints_) return true;
    write_metrics();
    std::printf("epoch %d/%d  loss %.4f  test accuracy %.2f %%  %.0f images/s  %s  %s sent\n", epoch,
                settings_.epochs, m.loss, 100 * m.accuracy, m.images_per_second, time_text(seconds).c_str(),
                bytes_text(sent_in_all).c_str());
    std::fflush(stdout);
    return true;
  }

  /// The share of test images that are classified right, through the same wires.
  std::optional<double> test() {
    engine_.eval();
    Order order;
    order.augment = false;
    order.pictures = order_.pictures;
    order.batch = std::max(settings_.batch, 256);
    order.limit = settings_.test_images;
    Batches batches(data_.test, normalisation_, order);
    std::int64_t right = 0;
    for (Batch batch; batches.next(batch);) {
      const at::Tensor y = at::from_blob(batch.y.data(), {batch.size()}, at::kLong);
      right += engine_.infer(tensor(batch)).argmax(1).eq(y).sum().item<std::int64_t>();
      if (interrupted) return std::nullopt;
    }
    return static_cast<double>(right) / tested();
  }

  int tested() const {
    return settings_.test_images > 0 ? std::min(settings_.test_images, data_.test.size()) : data_.test.size();
  }

  void write_metrics() const {
    std::ostringstream csv;
    csv.precision(8);
    csv << "epoch,loss,accuracy,lr,seconds,images_per_second,forward_bytes,gradient_bytes\n";
    for (const Metrics& m : state_.metrics)
      csv << m.epoch << ',' << m.loss << ',' << m.accuracy << ',' << m.lr << ',' << m.seconds << ','
          << m.images_per_second << ',' << std::int64_t(m.forward_bytes) << ','
          << std::int64_t(m.gradient_bytes) << '\n';
    pcomp::write_whole(folder_ / "metrics.csv", csv.str());
  }

  void write_summary(const pcomp::Report& traffic) const {
    Summary s{settings_, cut_, traffic};
    s.data = data_.what;
    s.train_images = images_, s.test_images = tested();
    s.ranks = engine_.schedule().ranks;
    s.images = state_.images;
    s.accuracy = state_.metrics.back().accuracy;
    for (const Metrics& m : state_.metrics) {
      s.best_accuracy = std::max(s.best_accuracy, m.accuracy);
      s.seconds += m.seconds;
    }
    pcomp::write_whole(folder_ / "run.json", to_json(s));
  }

  void conclude() {
    const pcomp::Report since_start = pcomp::total_report(engine_);
    pcomp::Report traffic = since_start;
    add(traffic, state_.traffic);
    if (!settings_.trace.empty() && since_start.steps > 0) {
      const pcomp::Trace trace = pcomp::total_trace(engine_);
      if (prints_) pcomp::write_whole(settings_.trace, pcomp::ChromeTrace()(trace));
    }
    if (!prints_) return;
    write_summary(traffic);
    const auto best =
        std::max_element(state_.metrics.begin(), state_.metrics.end(),
                         [](const Metrics& a, const Metrics& b) { return a.accuracy < b.accuracy; });
    std::printf("\ntest accuracy %.2f %% (best %.2f %%, epoch %.0f), wire %s, cut %s\n",
                100 * state_.metrics.back().accuracy, 100 * best->accuracy, best->epoch,
                settings_.wire.c_str(), settings_.cut.c_str());
    std::fflush(stdout);
    traffic.print_traffic(std::cout);
    std::cout.flush();
    const auto images = static_cast<double>(state_.images);
    const auto share = [&](const char* what, auto counts) {
      double bytes = 0, raw = 0;
      for (const pcomp::BoundaryReport& b : traffic.boundaries)
        if (counts(b.edge)) {
          bytes += static_cast<double>(b.forward.bytes + b.gradient.bytes);
          raw += static_cast<double>(b.forward.raw + b.gradient.raw);
        }
      std::printf("%s: %s for each of %lld images trained, 1/%.1f of raw\n", what,
                  bytes_text(bytes / images).c_str(), static_cast<long long>(state_.images), raw / bytes);
    };
    share("compressed boundaries", [&](int edge) {
      return std::find(cut_.compressed.begin(), cut_.compressed.end(), edge) != cut_.compressed.end();
    });
    share("all boundaries", [](int) { return true; });
    std::fflush(stdout);
    since_start.print_times(std::cout);
    std::cout.flush();
  }

  Settings settings_;
  fs::path folder_;
  State state_;
  const Cut& cut_;
  DataSet data_;
  Normalisation normalisation_;
  std::vector<const pcomp::BoundaryOps*> wires_;
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
  fs::path folder = settings.out;
  // A launcher that starts all ranks anew after a fault means: go on.
  if (world.launch() && world.launch()->attempt > 0 && !settings.resume) {
    if (folder.empty()) folder = latest_run();
    settings.resume = fs::exists(folder / "checkpoint" / "manifest");
  }
  if (settings.resume) {
    if (folder.empty()) folder = latest_run();
    state = load(folder / "checkpoint");
    settings = resumed(settings, state.identity);
  } else if (!folder.empty() && fs::exists(folder / "checkpoint" / "manifest")) {
    throw pcomp::Error(folder.string() +
                       " holds a run already: add --resume to go on with it, or choose another --out");
  } else {
    if (settings.batch < settings.micro_batches)
      throw pcomp::Error("--batch " + std::to_string(settings.batch) +
                         " cannot be cut into --micro-batches " + std::to_string(settings.micro_batches));
    state.identity = identity(settings);
  }
  const auto& ranks = find_cut(settings.cut).ranks;
  pcomp::keep_memory(world.processes() ? 1 : *std::max_element(ranks.begin(), ranks.end()) + 1);
  at::manual_seed(settings.seed);
  return Run(world, std::move(settings), std::move(folder), std::move(state)).go();
}

}  // namespace cifar
