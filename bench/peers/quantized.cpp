#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <memory>

#include "contender.hpp"

namespace bench {
namespace {

using Unary = at::Tensor(const at::Tensor&);
c10::TypedOperatorHandle<Unary> operator_named(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Unary>();
}

}  // namespace

std::vector<Contender> quantized_operators(const at::Tensor& x) {
  struct State {
    at::Tensor sent, y;
  };
  const at::Tensor rows = x.view({-1, 128});
  const auto pack = operator_named("quantized::embedding_bag_byte_prepack");
  const auto unpack = operator_named("quantized::embedding_bag_byte_unpack");
  auto a = std::make_shared<State>();
  auto b = std::make_shared<State>();
  const auto per_tensor = [=] {
    const auto [least, most] = at::aminmax(x);
    const float low = least.item<float>(), high = most.item<float>();
    const double step = std::max((high - low) / 255.0F, 1e-30F);
    b->sent =
        at::quantize_per_tensor(x, step, static_cast<std::int64_t>(std::lround(-low / step)), at::kQUInt8);
  };
  return {{"FBGEMM rowwise 8-bit, rows of 128", [=] { a->sent = pack.call(rows); },
           [=] { a->y = unpack.call(a->sent); }, [=] { return a->sent.nbytes(); },
           [=] { return a->y.const_data_ptr<float>(); }},
          {"aminmax, quantize_per_tensor", per_tensor, [=] { b->y = b->sent.dequantize(); },
           [=] { return b->sent.nbytes() + 12; }, [=] { return b->y.const_data_ptr<float>(); }}};
}

}  // namespace bench
