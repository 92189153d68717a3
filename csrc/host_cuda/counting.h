// The accessors of csrc/cuda/access.cuh on the CPU: each checks bounds and ownership, counts its elements
// and joins the request of its warp. Included by access.cuh.
#pragma once
#include "cuda_on_host.h"
#include "tally.h"

namespace dibench_host {
// Elements in what one accessor call moves. A header that brings a type of several elements says so.
template <typename T> constexpr int elements_of = 1;
template <> constexpr int elements_of<float2> = 2;
template <> constexpr int elements_of<float4> = 4;
}  // namespace dibench_host

namespace dibench_host {
#if defined(__SANITIZE_THREAD__)  // where every access is told to the harness, this one tells of itself
#define DIBENCH_UNTOLD __attribute__((no_sanitize("thread"), noinline))
#else
#define DIBENCH_UNTOLD inline
#endif
DIBENCH_UNTOLD float untold(const float* p) { return *p; }
#undef DIBENCH_UNTOLD

/// A word of a copy in shared memory. As in global memory, a lane with `inside` false keeps its place in the sequence.
inline float load_shared(Kind kind, const float* p, bool inside, const char* file, int line) {
  const uintptr_t site = reinterpret_cast<uintptr_t>(file) + unsigned(line);
  if (!inside) return pass_shared(false, site), 0.0f;
  count_shared(kind, 1);
  touch_shared(p, sizeof *p, false, site);
  return untold(p);
}
}  // namespace dibench_host

#define DIBENCH_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

template <Level>
inline float load_weight(const float* p, bool inside, DIBENCH_SITE) {
  if (!inside) return dibench_host::pass(dibench_host::weight, file, line), 0.0f;
  dibench_host::touch(dibench_host::weight, p, 4, 1, file, line);
  return *p;
}
template <Level>
inline float load_input(const float* p, bool inside, DIBENCH_SITE) {
  if (!inside) return dibench_host::pass(dibench_host::input, file, line), 0.0f;
  dibench_host::touch(dibench_host::input, p, 4, 1, file, line);
  return *p;
}
inline float load_partial(const float* p, bool inside, DIBENCH_SITE) {
  if (!inside) return dibench_host::pass(dibench_host::partial, file, line), 0.0f;
  dibench_host::touch(dibench_host::partial, p, 4, 1, file, line);
  return *p;
}
inline void store_output(float* p, float value, bool inside, DIBENCH_SITE) {
  if (!inside) return dibench_host::pass(dibench_host::output, file, line);
  dibench_host::touch(dibench_host::output, p, 4, 1, file, line);
  *p = value;
}
inline float mac(float acc, float a, float b, bool inside = true) {
  if (!inside) return acc;
  dibench_host::count_macs(1);
  return __fmaf_rn(a, b, acc);
}

inline float load_weight_shared(const float* p, bool inside = true, DIBENCH_SITE) {
  return dibench_host::load_shared(dibench_host::weight, p, inside, file, line);
}
inline float load_input_shared(const float* p, bool inside = true, DIBENCH_SITE) {
  return dibench_host::load_shared(dibench_host::input, p, inside, file, line);
}

template <typename T>
inline T fetch_weight(const T* p, bool inside = true, DIBENCH_SITE) {
  if (!inside) return dibench_host::pass(dibench_host::weight, file, line), T{};
  dibench_host::touch(dibench_host::weight, p, sizeof(T), dibench_host::elements_of<T>, file, line);
  return *p;
}
template <typename T>
inline T fetch_input(const T* p, bool inside = true, DIBENCH_SITE) {
  if (!inside) return dibench_host::pass(dibench_host::input, file, line), T{};
  dibench_host::touch(dibench_host::input, p, sizeof(T), dibench_host::elements_of<T>, file, line);
  return *p;
}
template <typename T>
inline void put_output(T* p, T value, bool inside = true, DIBENCH_SITE) {
  if (!inside) return dibench_host::pass(dibench_host::output, file, line);
  dibench_host::touch(dibench_host::output, p, sizeof(T), dibench_host::elements_of<T>, file, line);
  *p = value;
}
template <typename T>
inline T fetch_partial(const T* p, DIBENCH_SITE) {
  dibench_host::touch_partial(false, p, sizeof(T), file, line);
  return *p;
}
template <typename T>
inline void put_partial(T* p, T value, DIBENCH_SITE) {
  dibench_host::touch_partial(true, p, sizeof(T), file, line);
  *p = value;
}
inline bool arrive(int* counter, int blocks, DIBENCH_SITE) { return dibench_host::arrive(counter, blocks, file, line); }
template <typename T>
inline T fetch_weight_shared(const T* p) {
  dibench_host::count_shared(dibench_host::weight, dibench_host::elements_of<T>);
  return *p;
}
template <typename T>
inline T fetch_input_shared(const T* p) {
  dibench_host::count_shared(dibench_host::input, dibench_host::elements_of<T>);
  return *p;
}
