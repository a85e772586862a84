#pragma once
#include <cstdint>
#include <memory>
#include <type_traits>

namespace pcomp {

/// How a kernel asks for threads: a non-owning view of a functor `par(n, grain, body)`.
///
/// Law: the functor calls `body(begin, end)` on ranges that cover [0, n) once each, in any order, on any
/// threads,
///   and returns when all are done. The bytes do not depend on how it divides.
/// Shapes: n units of work, at least `grain` of them worth a hand-over. No functor: the calling thread does
/// it all. Errors: what a body throws must reach the caller. Example: examples/020-bytes
class ParallelFor {
 public:
  class Body {
   public:
    template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, Body>) Body(F& f)
        : object_(std::addressof(f)),
          call_([](void* o, std::int64_t b, std::int64_t e) { (*static_cast<F*>(o))(b, e); }) {}
    void operator()(std::int64_t begin, std::int64_t end) const { call_(object_, begin, end); }

   private:
    void* object_;
    void (*call_)(void*, std::int64_t, std::int64_t);
  };

  ParallelFor() = default;
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, ParallelFor>) ParallelFor(const F& f)
      : object_(std::addressof(f)), call_([](const void* o, std::int64_t n, std::int64_t grain, Body body) {
          (*static_cast<const F*>(o))(n, grain, body);
        }) {}

  template <class F>
  void operator()(std::int64_t n, std::int64_t grain, F&& body) const {
    if (n <= 0) return;
    if (call_ && n > grain)
      call_(object_, n, grain, Body(body));
    else
      body(std::int64_t{0}, n);
  }

 private:
  const void* object_ = nullptr;
  void (*call_)(const void*, std::int64_t, std::int64_t, Body) = nullptr;
};

}  // namespace pcomp
