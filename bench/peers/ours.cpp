#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <memory>
#include <pcomp/autograd/tensor.hpp>
#include <wires.hpp>

#include "contender.hpp"

namespace bench {

using namespace pcomp;
using namespace pcomp::detail;

std::vector<Contender> ours(const std::string& wire, const at::Tensor& x) {
  struct State {
    const kernel::WireKernels& ops;
    at::Tensor x, y, payload;
    Extents shape = extents_of(x);
    std::span<std::byte> bytes() const {
      return {static_cast<std::byte*>(payload.mutable_data_ptr()), static_cast<std::size_t>(payload.numel())};
    }
    void renew_payload() { payload = at::empty({static_cast<std::int64_t>(ops.bytes(shape))}, at::kByte); }
    void encode() { ops.encode(in(x), shape, bytes(), torch_threads); }
    void decode() { ops.decode(bytes(), shape, out(y), torch_threads); }
  };
  std::vector<Contender> both;
  for (const bool fresh : {false, true}) {
    auto s = std::make_shared<State>(State{*cifar::find_wire(wire).ops, x, at::empty_like(x), {}});
    s->renew_payload();
    both.push_back({fresh ? "pcomp, new buffers each call" : "pcomp",
                    [=] {
                      if (fresh) s->renew_payload();
                      s->encode();
                    },
                    [=] {
                      if (fresh) s->y = at::empty_like(s->x);
                      s->decode();
                    },
                    [=] { return s->bytes().size(); }, [=] { return s->y.const_data_ptr<float>(); }});
  }
  return both;
}

}  // namespace bench
