#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace pcomp::detail {

/// The calling thread's scratch memory for the duration of one call; a call like the previous one allocates nothing.
///
/// Law: spans live until the frame ends; frames are destroyed in reverse order of construction.
class Scratch {
 public:
  Scratch() : arena_(mine()), block_(arena_.block), used_(arena_.used) { ++arena_.frames; }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    arena_.block = block_, arena_.used = used_;
    if (--arena_.frames == 0 && arena_.blocks.size() > 1) {  // one block is enough next time
      std::size_t all = 0;
      for (const Block& b : arena_.blocks) all += b.size;
      arena_.blocks.clear();
      arena_.blocks.push_back(make(all));
      arena_.block = 0, arena_.used = 0;
    }
  }

  /// `count` uninitialised objects of a trivial type.
  template <class T>
  std::span<T> take(std::int64_t count) {
    const std::size_t size = (static_cast<std::size_t>(count) * sizeof(T) + 63) / 64 * 64;
    while (arena_.block < arena_.blocks.size() && arena_.used + size > arena_.blocks[arena_.block].size)
      ++arena_.block, arena_.used = 0;
    if (arena_.block == arena_.blocks.size()) arena_.blocks.push_back(make(size < 4096 ? 4096 : size));
    std::byte* at = arena_.blocks[arena_.block].bytes.get() + arena_.used;
    arena_.used += size;
    return {reinterpret_cast<T*>(at), static_cast<std::size_t>(count)};
  }

 private:
  struct Block {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size;
  };
  struct Arena {
    std::vector<Block> blocks;
    std::size_t block = 0, used = 0;
    int frames = 0;
  };
  static Block make(std::size_t size) { return {std::unique_ptr<std::byte[]>(new std::byte[size]), size}; }
  static Arena& mine() {
    thread_local Arena arena;
    return arena;
  }

  Arena& arena_;
  std::size_t block_, used_;
};

}  // namespace pcomp::detail
