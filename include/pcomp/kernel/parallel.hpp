#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace pcomp::kernel {

template <class Signature>
class FunctionRef;

/// A non-owning view of a callable; the callable must outlive it.
template <class R, class... A>
class FunctionRef<R(A...)> {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>)
  FunctionRef(F&& f)  // NOLINT: implicit, as a function parameter
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* o, A... a) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(o))(std::forward<A>(a)...);
        }) {}

  R operator()(A... a) const { return call_(object_, std::forward<A>(a)...); }

 private:
  void* object_;
  R (*call_)(void*, A...);
};

}  // namespace pcomp::kernel

namespace pcomp::kernel {

/// How a kernel asks for threads: a non-owning view of a functor `par(n, grain, body)`.
///
/// Law: the functor calls `body(begin, end)` on ranges that cover [0, n) once each, in any order, on any
///   threads, and returns when all are done. The bytes do not depend on how it divides the work.
/// Shapes: n units of work, `grain` the fewest worth handing to another thread. Without a functor the calling
///   thread does it all.
/// Errors: what a body throws must reach the caller.
/// Example: examples/020-bytes
class ParallelFor {
 public:
  using Body = FunctionRef<void(std::int64_t begin, std::int64_t end)>;

  ParallelFor() = default;
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, ParallelFor>)
  ParallelFor(const F& f) : functor_(f) {}

  template <class F>
  void operator()(std::int64_t n, std::int64_t grain, F&& body) const {
    if (n <= 0) return;
    if (functor_ && n > grain)
      (*functor_)(n, grain, Body(body));
    else
      body(std::int64_t{0}, n);
  }

 private:
  std::optional<FunctionRef<void(std::int64_t, std::int64_t, Body)>> functor_;
};

}  // namespace pcomp::kernel
