#pragma once
#include <algorithm>
#include <atomic>

#include "../coded_source.hpp"
#include "../scratch.hpp"

namespace pcomp::detail {

/// An array into which several threads put runs of values, each run contiguous.
///
/// Law: a run lies where `put` says; runs that do not fit are lost, and `overflown` says so.
template <class T>
class SharedList {
 public:
  /// Room for `count` values, whatever each writer leaves unused of a block.
  void make(Scratch& frame, std::int64_t count, std::int64_t writers) {
    room_ = count + writers * block;
    all_ = frame.take<T>(room_ + slack);
  }
  const T* data() const { return all_.data(); }
  bool overflown() const { return used_.load(std::memory_order_relaxed) > room_; }

  /// One thread's writer: reserves a block at a time, as threads that reserved for every run would contend.
  class Writer {
   public:
    explicit Writer(SharedList& list) : list_(&list) {}
    /// Puts a run; returns where it begins.
    std::int64_t put(const T* run, std::int64_t count) {
      if (at_ + count > end_) {
        const std::int64_t size = std::max(count, block);
        at_ = list_->used_.fetch_add(size, std::memory_order_relaxed);
        end_ = at_ + size;
      }
      if (end_ <= list_->room_) std::copy_n(run, count, list_->all_.data() + at_);
      at_ += count;
      return at_ - count;
    }

   private:
    SharedList* list_;
    std::int64_t at_ = 0, end_ = 0;
  };

 private:
  static constexpr std::int64_t block = 4 * chunk;

  std::int64_t room_ = 0;
  std::span<T> all_;
  alignas(128) std::atomic<std::int64_t> used_{0};
};

}  // namespace pcomp::detail
