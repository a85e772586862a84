#include "amp.hpp"

#include <ATen/autocast_mode.h>

namespace cifar {

using namespace at::autocast;

Amp::Amp(bool on, at::Device device) : on_(on), device_(device.type()) {
  if (!on_) return;
  enabled_ = is_autocast_enabled(device_), dtype_ = get_autocast_dtype(device_);
  cached_ = is_autocast_cache_enabled();
  set_autocast_enabled(device_, true);
  set_autocast_dtype(device_, at::kBFloat16);
  set_autocast_cache_enabled(at::GradMode::is_enabled());
}

Amp::~Amp() {
  if (!on_) return;
  set_autocast_enabled(device_, enabled_);
  set_autocast_dtype(device_, dtype_);
  set_autocast_cache_enabled(cached_);
}

void forget_casts() { clear_cache(); }

}  // namespace cifar
