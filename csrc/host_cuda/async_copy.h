// csrc/cuda/async_copy.cuh on the CPU. A copy happens when its thread waits for it, the latest moment a GPU
// may choose; its destination turns NaN at once, the earliest. So a missing wait, a missing barrier and a
// buffer that is refilled too early all give wrong numbers.
#pragma once
#include <string.h>

#include <vector>

#include "counting.h"

namespace dibench_host {
struct Copy {
  void* to;
  unsigned char value[16];
  unsigned bytes;
};
struct Copies {  // of one thread
  unsigned long long block = 0;
  std::vector<std::vector<Copy>> batches{1};
};

inline Copies& copies() {
  static std::vector<Copies> of_thread(1024);
  Copies& mine = of_thread[threadIdx.x];
  if (mine.block != block_serial()) mine = {block_serial(), {{}}};  // what another block left
  return mine;
}

template <typename V>
inline void copy_async(Kind kind, V* shared, const V* p, bool inside, const char* file, int line) {
  Copy copy{shared, {}, sizeof(V)};
  if (inside) {
    touch(kind, p, sizeof(V), elements_of<V>, file, line);
    memcpy(copy.value, p, sizeof(V));
  } else {
    pass(kind, file, line);
  }
  memset(static_cast<void*>(shared), 0xFF, sizeof(V));
  touch_shared(shared, sizeof(V), true, reinterpret_cast<uintptr_t>(file) + unsigned(line));
  copies().batches.back().push_back(copy);
}
}  // namespace dibench_host

template <typename V>
inline void copy_weight(V* shared, const V* p, bool inside, DIBENCH_SITE) {
  dibench_host::copy_async(dibench_host::weight, shared, p, inside, file, line);
}
template <typename V>
inline void copy_input(V* shared, const V* p, bool inside, DIBENCH_SITE) {
  dibench_host::copy_async(dibench_host::input, shared, p, inside, file, line);
}
inline void commit_copies() { dibench_host::copies().batches.emplace_back(); }
template <int batches>
inline void wait_for_copies() {
  auto& open = dibench_host::copies().batches;  // the last one is not closed yet
  while (open.size() > batches + 1) {
    for (const auto& copy : open.front()) memcpy(copy.to, copy.value, copy.bytes);
    open.erase(open.begin());
  }
}
