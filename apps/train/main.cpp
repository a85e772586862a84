// Trains MobileNetV2 on CIFAR-10 in stages that send each other compressed activations and gradients.
// docs/train.md says how to use it.
#include <c10/util/Exception.h>

#include <csignal>
#include <cstdio>
#include <exception>

#include "run/list_wires.hpp"
#include "run/train.hpp"

int main(int argc, char** argv) {
  struct sigaction stop {};
  stop.sa_handler = [](int) { cifar::interrupted = 1; };
  stop.sa_flags = static_cast<int>(SA_RESETHAND);  // a second one ends the program at once
  sigaction(SIGINT, &stop, nullptr);
  sigaction(SIGTERM, &stop, nullptr);

  try {
    const cifar::Parsed parsed = cifar::parse(argc, argv);
    if (!parsed.go_on) return parsed.exit;
    if (parsed.settings.list_wires) return cifar::list_wires(parsed.settings);
    return cifar::train(parsed.settings);
  } catch (const c10::Error& e) {
    std::fflush(stdout);
    std::fprintf(stderr, "mobilenetv2-cifar10: %s\n", e.what_without_backtrace());
  } catch (const std::exception& e) {
    std::fflush(stdout);
    std::fprintf(stderr, "mobilenetv2-cifar10: %s\n", e.what());
  }
  return 1;
}
