#pragma once
#include <ucontext.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

namespace pcomp::detail::gpu {

/// Runs a kernel's blocks on the CPU, one after the other, each thread as a fiber, so that kernels can be tested, and
/// a codec's device code debugged, without a GPU. kernel/cuda/lane.cuh includes it for PCOMP_EMULATE_CUDA.
///
/// Law: a barrier or an exchange that not all of its threads reach is an error, where a GPU would hang. `order` sets
///   the order in which threads run between two of them; a kernel without races gives the same result for all.
class Emulator {
 public:
  enum class Order { forward, backward, scattered };
  static Order& order() {
    static Order o = Order::forward;
    return o;
  }
  static Emulator& current() { return *active(); }

  static void run(std::int64_t blocks, int threads, const std::function<void()>& body) {
    Emulator machine(threads, body);
    active() = &machine;
    for (machine.block_ = 0; machine.block_ < blocks; ++machine.block_) machine.run_block();
    active() = nullptr;
  }

  int thread() const { return now_; }
  int threads() const { return static_cast<int>(fibers_.size()); }
  std::int64_t block() const { return block_; }

  void sync_block() { wait(State::at_block); }
  /// Every lane of a warp passes a value; the result holds all of them.
  const std::uint64_t* exchange(std::uint64_t value) {
    Warp& w = warps_[static_cast<std::size_t>(now_ / 32)];
    Fiber& f = fibers_[static_cast<std::size_t>(now_)];
    const auto side = static_cast<std::size_t>(f.exchanges++ % 2);  // lanes are at most one exchange apart
    w[side][static_cast<std::size_t>(now_ % 32)] = value;
    wait(State::at_warp);
    return w[side].data();
  }

 private:
  enum class State { ready, at_block, at_warp, over };
  struct Fiber {
    ucontext_t here;
    std::unique_ptr<std::byte[]> stack;
    State state;
    unsigned exchanges;
  };
  using Warp = std::array<std::array<std::uint64_t, 32>, 2>;
  static constexpr std::size_t stack_bytes = 64 * 1024;

  Emulator(int threads, const std::function<void()>& body)
      : body_(body),
        fibers_(static_cast<std::size_t>(threads)),
        warps_(static_cast<std::size_t>(threads) / 32) {
    if (threads % 32) throw std::logic_error("pcomp: a block has whole warps");
    for (Fiber& f : fibers_) f.stack.reset(new std::byte[stack_bytes]);
  }
  static Emulator*& active() {
    thread_local Emulator* e = nullptr;
    return e;
  }
  static void enter() {
    Emulator& e = current();
    e.body_();
    e.fibers_[static_cast<std::size_t>(e.now_)].state = State::over;  // and on to uc_link, the scheduler
  }

  void wait(State s) {
    Fiber& f = fibers_[static_cast<std::size_t>(now_)];
    f.state = s;
    swapcontext(&f.here, &scheduler_);
  }
  std::size_t pick(std::size_t i) const {
    const std::size_t n = fibers_.size();
    return order() == Order::forward ? i
           : order() == Order::backward
               ? n - 1 - i
               : (i * 37 + static_cast<std::size_t>(block_)) % n;  // n is no multiple of 37
  }
  void run_block() {
    for (Fiber& f : fibers_) {
      getcontext(&f.here);
      f.here.uc_stack.ss_sp = f.stack.get();
      f.here.uc_stack.ss_size = stack_bytes;
      f.here.uc_link = &scheduler_;
      makecontext(&f.here, &Emulator::enter, 0);
      f.state = State::ready;
      f.exchanges = 0;
    }
    for (;;) {
      for (std::size_t i = 0; i < fibers_.size(); ++i) {
        now_ = static_cast<int>(pick(i));
        Fiber& f = fibers_[static_cast<std::size_t>(now_)];
        if (f.state == State::ready) swapcontext(&scheduler_, &f.here);
      }
      bool released = release_warps();
      if (all(0, fibers_.size(), State::over)) return;
      if (!released) released = release(0, fibers_.size(), State::at_block);
      if (!released) throw std::logic_error("pcomp: some threads wait for others that do not come");
    }
  }
  bool all(std::size_t begin, std::size_t end, State s) const {
    for (std::size_t i = begin; i < end; ++i)
      if (fibers_[i].state != s) return false;
    return true;
  }
  /// Resumes the threads if all of them wait at `s`; at a block's barrier, finished threads do not count.
  bool release(std::size_t begin, std::size_t end, State s) {
    bool any = false;
    for (std::size_t i = begin; i < end; ++i) {
      if (fibers_[i].state != s && !(s == State::at_block && fibers_[i].state == State::over)) return false;
      any = any || fibers_[i].state == s;
    }
    for (std::size_t i = begin; i < end; ++i)
      if (fibers_[i].state == s) fibers_[i].state = State::ready;
    return any;
  }
  bool release_warps() {
    bool any = false;
    for (std::size_t w = 0; w < warps_.size(); ++w) any = release(w * 32, w * 32 + 32, State::at_warp) || any;
    return any;
  }

  const std::function<void()>& body_;
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  ucontext_t scheduler_;
  std::int64_t block_ = 0;
  int now_ = 0;
};

}  // namespace pcomp::detail::gpu
