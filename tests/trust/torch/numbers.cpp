// Rows of numbers, through boundaries and pipelines: a loss behind a wire is NaN where it would be without the wire.
#include <torch/nn.h>

#include <pcomp/autograd/boundary.hpp>
#include <pcomp/core.hpp>
#include <pcomp/runtime/engine.hpp>

#include "../../unit/kernels/kernels.hpp"
#include "../../unit/torch/catch.hpp"

namespace {

using namespace pcomp;

const float quiet = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();

/// What a wire with memory does with the kernels of one without.
kernel::WireKernels remembering(const kernel::WireKernels& plain, codec::Memory m, bool in_bfloat16 = false) {
  kernel::WireKernels ops = plain;
  ops.forward.memory = ops.backward.memory = m;
  ops.forward.in_bfloat16 = ops.backward.in_bfloat16 = in_bfloat16;
  if (m == codec::Memory::samples) ops.first = &plain;
  return ops;
}

bool finite(const at::Tensor& x) { return at::isfinite(x).all().item<bool>(); }

std::vector<runtime::StageSpec> spoilt_stages(float weight) {
  return {runtime::stage_spec([] {
            torch::nn::Linear l(16, 24);
            return torch::nn::Sequential(l, torch::nn::Unflatten(1, std::vector<std::int64_t>{2, 3, 4}));
          }),
          runtime::stage_spec([weight] {
            torch::nn::Linear l(24, 24);
            torch::NoGradGuard off;
            if (weight != 0) l->weight.fill_(weight);
            return torch::nn::Sequential(torch::nn::Flatten(), l,
                                         torch::nn::Unflatten(1, std::vector<std::int64_t>{2, 3, 4}));
          }),
          runtime::stage_spec(
              [] { return torch::nn::Sequential(torch::nn::Flatten(), torch::nn::Linear(24, 10)); })};
}

}  // namespace

TEST_CASE("numbers: a stage whose weights are NaN or infinite gives a loss that is NaN, behind every wire",
          "[trust]") {
  torch::manual_seed(1);
  const at::Tensor x = torch::randn({8, 16}), y = torch::randint(10, {8});
  World world = World::threads();
  world.threads_per_rank = 1;
  const schedule::ScheduleTable table = make_schedule(OneFOneB{}, 3, 2);
  for (const kernel::WireKernels* w : all_kernels())
    for (const float weight : {quiet, inf}) {
      Engine engine(world, spoilt_stages(weight), {w, w}, table);
      INFO(w->name.view() << ", weights " << weight);
      CHECK(!finite(engine.step(x, y, cross_entropy)));
      // What a loss scaler looks at: the gradients of the stage before, behind the wire.
      bool all = true;
      for (const at::Tensor& p : engine.module(0)->parameters()) all = all && finite(p.grad());
      CHECK_FALSE(all);
    }
}

TEST_CASE("numbers: a NaN or an infinity crosses a boundary with memory, and the memory recovers",
          "[trust]") {
  torch::manual_seed(2);
  const at::Tensor clean = torch::randn({4, 2, 8, 8}), sample_ids = torch::arange(4);
  for (const codec::Memory m : {codec::Memory::residual, codec::Memory::estimate, codec::Memory::samples})
    for (const char* name : {"Quant<8>", "Half", "Step<1/10, 8>", "Hadamard<64> | Quant<4>"}) {
      const kernel::WireKernels* plain = nullptr;
      for (const kernel::WireKernels* k : all_kernels())
        if (k->name == name) plain = k;
      REQUIRE(plain);
      const kernel::WireKernels ops = remembering(*plain, m);
      for (const float odd : {quiet, inf, -inf}) {
        Boundary cut(ops);
        const auto cross = [&](const at::Tensor& given, const at::Tensor& dy) {
          const at::Tensor x = given.clone().requires_grad_();
          const at::Tensor out = cut(x, 0, sample_ids);
          out.backward(dy);
          return std::pair{out.detach(), x.grad()};
        };
        cross(clean, clean);
        at::Tensor spoilt = clean.clone();
        spoilt[1][0][3][5] = odd;
        INFO(name << " with memory " << static_cast<int>(m) << ", " << odd);
        const auto came = cross(spoilt, spoilt);
        CHECK(!std::isfinite(came.first[1][0][3][5].item<float>()));
        CHECK(!std::isfinite(came.second[1][0][3][5].item<float>()));
        for (int i = 0; i < 3; ++i)
          CHECK((finite(cross(clean, clean).first) && finite(cross(clean, clean).second)));
      }
    }
}

TEST_CASE("numbers: finite tensors of each dtype stay finite through boundaries, with memory or without",
          "[trust]") {
  const at::Tensor sample_ids = torch::arange(4);
  for (const auto& [type, most] :
       {std::pair{at::kHalf, 65504.0}, {at::kBFloat16, 0x1.fep127}, {at::kFloat, 0x1.fffffep127}})
    for (const kernel::WireKernels* k : all_kernels())
      for (const int kind : {0, 1, 2}) {
        at::Tensor x = torch::full({4, 2, 8, 8}, kind == 1 ? -most : most, at::TensorOptions(type));
        if (kind == 2) x.view(-1).slice(0, 0, 512, 3).fill_(-most);
        INFO(k->name.view() << " on " << c10::toString(type) << ", kind " << kind);
        {
          at::Tensor in = x.clone().requires_grad_();
          const at::Tensor out = boundary(*k, in);
          out.backward(x);
          CHECK(finite(out));
          CHECK(finite(in.grad()));
        }
        if (k->name.view().find("TopK") != std::string_view::npos || k->name == "Raw") continue;
        for (const codec::Memory m :
             {codec::Memory::residual, codec::Memory::estimate, codec::Memory::samples}) {
          const kernel::WireKernels ops = remembering(*k, m, m == codec::Memory::samples);
          Boundary cut(ops);
          for (int visit = 0; visit < 3; ++visit) {
            at::Tensor in = (visit % 2 ? -x : x).clone().requires_grad_();
            const at::Tensor out = cut(in, 0, sample_ids);
            out.backward(visit % 2 ? -x : x);
            CHECK(finite(out));
            CHECK(finite(in.grad()));
          }
        }
      }
}
