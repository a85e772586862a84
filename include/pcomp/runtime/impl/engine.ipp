#pragma once
#include <ATen/ops/cat.h>

#include <set>

#include "../device_streams.hpp"
#include "../engine.hpp"
#include "../engine_parts.hpp"
#include "../gather.hpp"
#include "../process_setup.hpp"
#include "../sample_ids.hpp"

namespace pcomp {

PCOMP_IMPL Engine::Engine(const World& world, std::vector<runtime::StageSpec> stages, kernel::Wires wires,
                          schedule::ScheduleTable schedule, const transport::CommunicatorFactory& join)
    : parts_(std::make_unique<detail::EngineParts>(std::move(schedule), std::move(wires))) {
  detail::EngineParts& p = *parts_;
  detail::expect_runnable(p.table, stages.size(), p.wires.size());
  p.communicator = join(world, p.table.ranks, p.table.rank_map());
  detail::Agreement::handshake(*p.communicator, world, p.table, p.wires, stages);
  const std::uint64_t seed = detail::shared_seed(*p.communicator);
  for (int r : p.communicator->here()) p.ranks.add(r, p.table.rank_map(), p.wires, p.communicator->link(r));
  const int neighbours =
      world.launch() && world.launch()->local_size ? world.launch()->local_size : p.table.ranks;
  const int threads =
      world.threads_per_rank > 0 ? world.threads_per_rank : detail::default_threads(neighbours);
  p.ranks.on_every([&](detail::Rank&) {
    at::set_num_threads(threads);
    detail::set_local_device(world);
  });
  p.checked([&] { p.ranks.build(stages, p.table.rank_map(), seed); });
  p.graphs->know(p.all_stages());
}
PCOMP_IMPL Engine::Engine(Engine&&) noexcept = default;
PCOMP_IMPL Engine& Engine::operator=(Engine&&) noexcept = default;
PCOMP_IMPL Engine::~Engine() = default;

PCOMP_IMPL at::Tensor Engine::step(const at::Tensor& given, const training::BatchTensors& y,
                                   const training::Loss& loss, const training::BatchTensors& side,
                                   const at::Tensor& sample_ids) {
  detail::EngineParts& p = *parts_;
  at::Tensor x = given;
  const auto call = p.called("trains", x);
  const at::AutoGradMode grad(true);
  detail::Batch batch = p.checked([&] {
    p.expect_loss(loss);
    return p.batch_of({x, y, side, sample_ids});
  });
  const schedule::ScheduleTable& table = p.tables.training(p.table, static_cast<int>(batch.parts.size()));
  const at::Tensor source = std::exchange(batch.x, batch.x.detach());
  batch.loss = &loss;
  batch.frozen = p.table.frozen();
  batch.wants_grad = source.requires_grad() && here(0);
  p.checked([&] {
    if (batch.wants_grad && batch.frozen > 0)
      throw Error("pcomp: x requires a gradient, but the first " + std::to_string(batch.frozen) +
                  " stages are frozen and give it none: detach x, or freeze no stage");
  });
  for (const kernel::BoundaryWires& boundary : p.wires)
    for (const kernel::WireKernels* w : boundary)
      if (w->first && batch.sample_ids.empty())
        batch.sample_ids =
            detail::agreed_sample_ids(sample_ids, x.size(0), p.table.rank_of(0), *p.communicator);
  const void* shapes = p.infer_shapes(batch);
  detail::EngineParts::Numbers losses;
  p.shared.set_aside();
  p.graphs->begin(batch.parts.size(), batch.frozen, shapes, p.all_stages());
  batch.graphs = p.graphs.get();
  try {
    losses = p.run(table, batch);
    p.graphs->shared.end(true);  // what stages of one rank share is complete
    p.checked([&] { p.shared.add_up(*p.communicator, p.table.stages); });
  } catch (...) {
    p.shared.put_back();
    p.end_step(false);
    throw;
  }
  p.end_step(true);
  (*p.ranks.begin())->executor.stopwatch().count(&runtime::RankReport::agreement, p.shared.sent());
  ++p.steps;
  if (batch.wants_grad) detail::pass_back(source, batch, p.find_rank(0)->executor.input_grads());
  p.predict(batch, &runtime::BoundaryReport::forward, detail::Direction::forward);
  p.predict(batch, &runtime::BoundaryReport::gradient, detail::Direction::backward, batch.frozen);
  return detail::EngineParts::sum_of(losses, 0);
}

PCOMP_IMPL at::Tensor Engine::infer(const at::Tensor& x, const training::Outputs& outputs) {
  return infer(x, training::BatchTensors(), outputs);
}

PCOMP_IMPL at::Tensor Engine::infer(const at::Tensor& given, const training::BatchTensors& side,
                                    const training::Outputs& outputs) {
  detail::EngineParts& p = *parts_;
  at::Tensor x = given;
  const auto call = p.called("infers", x, [&] { return ", outputs for " + outputs.text(); });
  detail::Batch batch = p.forward_batch({x, {}, side, {}});
  batch.outputs = &outputs;
  std::vector<at::Tensor> all;
  for (auto& made : p.run_forward(batch))
    if (!made.empty()) all.push_back(made[0]);
  return all.empty() ? at::Tensor() : at::cat(all);
}

PCOMP_IMPL training::Evaluation Engine::evaluate(const at::Tensor& given, const training::BatchTensors& y,
                                                 const training::Loss& loss,
                                                 const std::vector<training::Metric>& metrics,
                                                 const training::BatchTensors& side,
                                                 const at::Tensor& sample_ids) {
  detail::EngineParts& p = *parts_;
  at::Tensor x = given;
  const auto call =
      p.called("evaluates", x, [&] { return ", " + std::to_string(metrics.size()) + " metrics"; });
  p.checked([&] { p.expect_loss(loss); });
  detail::Batch batch = p.forward_batch({x, y, side, sample_ids});
  batch.judge = &loss;
  batch.metrics = &metrics;
  const detail::EngineParts::Numbers made = p.run_forward(batch);
  training::Evaluation e{detail::EngineParts::sum_of(made, 0), {}};
  for (std::size_t i = 0; i < metrics.size(); ++i)
    e.metrics.push_back(detail::EngineParts::sum_of(made, i + 1));
  return e;
}

PCOMP_IMPL std::vector<at::Tensor> Engine::parameters() const {
  const detail::EngineParts& p = *parts_;
  std::vector<at::Tensor> all;
  std::set<const void*> listed;
  for (int s = 0; s < p.table.stages; ++s)
    if (const auto m = p.module(s))
      for (const at::Tensor& w : m->parameters())
        if (listed.insert(w.unsafeGetTensorImpl()).second) all.push_back(w);
  return all;
}

PCOMP_IMPL void Engine::train(bool on) {
  detail::EngineParts& p = *parts_;
  p.in_eval = !on;
  for (int s = 0; s < p.table.stages; ++s)
    if (const auto m = p.module(s)) m->train(on);
}

PCOMP_IMPL double Engine::clip_grad_norm(double max, double norm_type, bool error_if_nonfinite) {
  detail::EngineParts& p = *parts_;
  const transport::Calls::Scope call(p.communicator->calls(), "clips the gradients",
                                     [&] { return c10::str("norm ", norm_type, " to at most ", max); });
  p.checked([&] {
    if (!(max >= 0) || !(norm_type >= 0))
      throw Error("pcomp: gradients are clipped to a norm of at least 0 and of an order of at least 0, not " +
                  std::to_string(max) + " and " + std::to_string(norm_type));
  });
  const double norm =
      detail::clip_gradients(p.ranks, p.table.rank_map(), p.gather, *p.communicator, p.table.stages, max,
                             norm_type, error_if_nonfinite, p.shared.copies());
  p.count_gathered();
  return norm;
}

PCOMP_IMPL at::Tensor Engine::sum(const at::Tensor& values) {
  detail::EngineParts& p = *parts_;
  const transport::Calls::Scope call(p.communicator->calls(), "sums",
                                     [&] { return detail::summand_text(values); });
  p.checked([&] { detail::expect_summand(values); });
  const at::Tensor total = detail::sum_of_all(p.gather, *p.communicator, p.table.stages, values);
  p.count_gathered();
  return total;
}

PCOMP_IMPL std::vector<double> Engine::sum(const std::vector<double>& values) {
  const at::Tensor total = sum(detail::tensor_of_numbers(values));
  return {total.const_data_ptr<double>(), total.const_data_ptr<double>() + total.numel()};
}

PCOMP_IMPL double Engine::sum(double value) { return sum(std::vector<double>{value})[0]; }

PCOMP_IMPL void Engine::smallest_microbatch(int samples) {
  detail::EngineParts& p = *parts_;
  if (samples < 1) throw Error("pcomp: a micro-batch has at least 1 sample, not " + std::to_string(samples));
  p.tables.smallest = samples;
}

PCOMP_IMPL void Engine::rewire(kernel::Wires wires) {
  detail::EngineParts& p = *parts_;
  const transport::Calls::Scope call(p.communicator->calls(), "rewires");
  p.checked([&] {
    if (wires.size() != p.wires.size())
      throw Error("pcomp: " + std::to_string(p.wires.size() + 1) + " stages take " +
                  std::to_string(p.wires.size()) + " wires, not " + std::to_string(wires.size()));
    for (std::size_t b = 0; b < wires.size(); ++b) {
      bool alike = wires[b].size() == p.wires[b].size();
      for (std::size_t k = 0; alike && k < wires[b].size(); ++k)
        alike = wires[b][k].verbatim == p.wires[b][k].verbatim;
      if (!alike)
        throw Error("pcomp: boundary " + std::to_string(b) + " carries " + p.wires[b].name() + ", so " +
                    wires[b].name() + " cannot take its place: as many wires, Verbatim where it was");
    }
  });
  detail::Agreement::compare(*p.communicator, "description of the wires", p.table, wires);
  p.wires = std::move(wires);
  p.agreement.forget();
  for (auto& rank : p.ranks) rank->executor.ends().rewire(p.wires);
}

PCOMP_IMPL void Engine::freeze(int stages) {
  detail::EngineParts& p = *parts_;
  const transport::Calls::Scope call(p.communicator->calls(), "freezes");
  schedule::ScheduleTable less = p.checked([&] { return p.whole.freeze(stages); });
  detail::Agreement::compare(*p.communicator, "number of frozen stages", less, p.wires);
  p.table = std::move(less);
  p.tables.forget();
}

PCOMP_IMPL void Engine::share(const runtime::WeightName& first, const runtime::WeightName& second,
                              const kernel::WireKernels* through) {
  detail::EngineParts& p = *parts_;
  const transport::Calls::Scope call(p.communicator->calls(), "shares weights", [&] {
    return c10::str(first.name, " of stage ", first.stage, " and ", second.name, " of stage ", second.stage,
                    through ? c10::str(" over ", through->name.view()) : std::string());
  });
  p.checked([&] {
    p.shared.add(first, second, through, p.table, p.ranks, *p.communicator, p.table.stages, p.steps);
  });
}

PCOMP_IMPL void Engine::recompute(const std::vector<int>& stages) {
  detail::EngineParts& p = *parts_;
  for (const int s : stages)
    if (s < 0 || s >= p.table.stages)
      throw Error("pcomp: there is no stage " + std::to_string(s) + " to recompute, only 0 to " +
                  std::to_string(p.table.stages - 1));
  for (int s = 0; s < p.table.stages; ++s)
    if (detail::Rank* rank = p.find_rank(s))
      rank->executor.recompute(s, std::find(stages.begin(), stages.end(), s) != stages.end());
  p.graphs->forget();
}

PCOMP_IMPL void Engine::record(bool on) { parts_->recording = on; }

PCOMP_IMPL const schedule::Trace& Engine::trace() const { return parts_->trace; }

PCOMP_IMPL runtime::Report Engine::report() const {
  const detail::EngineParts& p = *parts_;
  return detail::report_of(p.table, p.wires, p.boundaries, p.steps, p.ranks);
}

PCOMP_IMPL bool Engine::here(int stage) const { return parts_->find(stage) != nullptr; }

PCOMP_IMPL std::shared_ptr<torch::nn::Module> Engine::module(int stage) const {
  return parts_->module(stage);
}

PCOMP_IMPL const schedule::ScheduleTable& Engine::schedule() const { return parts_->table; }

PCOMP_IMPL const kernel::Wires& Engine::wires() const { return parts_->wires; }

PCOMP_IMPL detail::BoundaryEnds* Engine::ends_at(int stage) { return parts_->ends_at(stage); }

PCOMP_IMPL std::vector<std::string> Engine::exchange(const std::string& about, const std::string& text) {
  return parts_->communicator->exchange(about, text);
}

PCOMP_IMPL void Engine::abort(const std::string& reason) {
  for (auto& rank : parts_->ranks) rank->link.abort(reason);
}

PCOMP_IMPL std::shared_ptr<void>& Engine::kept(const std::string& name) { return parts_->kept[name]; }

PCOMP_IMPL transport::Calls* Engine::calls() const { return parts_->communicator->calls(); }

PCOMP_IMPL std::chrono::steady_clock::time_point Engine::trace_origin() const { return parts_->trace_origin; }

}  // namespace pcomp
