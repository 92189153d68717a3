// The most that the machine can do, for the roofline: multiply-adds from registers, reads from memory and caches.
// Compiled once per instruction set like the kernels, under the same rule about the standard library.
#include "peaks.h"

#include "access.h"

namespace dibench {
namespace {

// Enough independent chains to cover the latency of every FMA unit, few enough for 16 registers.
constexpr int chains = 12;

int64_t multiply_adds(int64_t repeats) {
  volatile float factor = 0.5f, addend = 1.0f;  // not constants: the compiler must not evaluate the loop
  vec a = vec{} + factor, b = vec{} + addend, sum[chains];
  for (int i = 0; i < chains; ++i) sum[i] = b * float(i);
  for (int64_t n = 0; n < repeats; ++n)
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) sum[i] = sum[i] * a + b;
  vec total = {};
  for (int i = 0; i < chains; ++i) total += sum[i];
  volatile float sink = total[0];
  (void)sink;
  return repeats * chains * lanes;
}

/// Tells the compiler that x is a number of its own in a register: it must neither make vectors of several nor keep
/// them in memory, where each multiply-add would wait for the store before it.
DIBENCH_INLINE void keep_in_register(float& x) {
#if defined(__x86_64__)
  __asm__("" : "+x"(x));
#elif defined(__aarch64__)
  __asm__("" : "+w"(x));
#else
  (void)x;
#endif
}

/// As the reuse kernels compute: one number at a time.
int64_t scalar_multiply_adds(int64_t repeats) {
  volatile float factor = 0.5f, addend = 1.0f;
  const float a = factor, b = addend;
  float sum[chains];
#pragma GCC unroll 12
  for (int i = 0; i < chains; ++i) {
    sum[i] = b * float(i);
    keep_in_register(sum[i]);
  }
  for (int64_t n = 0; n < repeats; ++n)
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) {
      sum[i] = sum[i] * a + b;
      keep_in_register(sum[i]);
    }
  float total = 0;
#pragma GCC unroll 12
  for (int i = 0; i < chains; ++i) total += sum[i];
  volatile float sink = total;
  (void)sink;
  return repeats * chains;
}

void read(const float* data, int64_t floats) {
  constexpr int streams = 8;
  vec sum[streams] = {};
  for (int64_t i = 0; i + streams * lanes <= floats; i += streams * lanes)
#pragma GCC unroll 8
    for (int j = 0; j < streams; ++j) sum[j] += *(const vec_unaligned*)(data + i + j * lanes);
  vec total = {};
  for (int j = 0; j < streams; ++j) total += sum[j];
  volatile float sink = total[0];
  (void)sink;
}

}  // namespace
}  // namespace dibench

extern "C" const dibench::Peaks DIBENCH_CONCAT(dibench_, DIBENCH_ISA, peaks);
extern "C" const dibench::Peaks DIBENCH_CONCAT(dibench_, DIBENCH_ISA, peaks) = {
    dibench::lanes, dibench::multiply_adds, dibench::scalar_multiply_adds, dibench::read};
