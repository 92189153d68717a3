// How kernels touch their operands: every access goes through one of these, so that the harness can count
// it and so that ptxas executes it as written.
//
// Reuse kernels (box.cuh) need the second: reading an element twice must cost two loads, and a partial sum
// that the dataflow sends back to memory must go there. Plain loads do not do that: ptxas merges repeated
// ones, also __ldcg and `asm volatile ld.global.cg`. It leaves relaxed loads and stores alone, as long as
// their value is used; their scope chooses the cache:
//
//   ld.relaxed.cta  -> LDG.E.STRONG.SM   may hit L1          (knob cache = "ca")
//   ld.relaxed.gpu  -> LDG.E.STRONG.GPU  served by L2        (knob cache = "cg")
//   before sm_70    -> ld.volatile       served by L2, whatever the knob says
//
// Fast kernels use the plain vector forms below and may keep what they like in registers.
#pragma once

enum Level { level_l1, level_l2 };  // the nearest cache that may serve a load

// ---- one element, executed as written ---------------------------------------------------------------
// `inside` false: no access, and 0 instead. All lanes of a warp pass the same sequence of accessors, some
// with `inside` false, so that the harness can tell which accesses one request of the warp carries.

#ifdef DIBENCH_HOST
#include "counting.h"
#else
// Predicated in PTX, not by an if: a branch around every access would cost more than the access.
#define DIBENCH_LOAD(instruction)                                                                              \
  "{ .reg .pred inside; setp.ne.s32 inside, %2, 0; mov.f32 %0, 0f00000000; @inside " instruction " %0, [%1]; }"
#define DIBENCH_STORE(instruction) \
  "{ .reg .pred inside; setp.ne.s32 inside, %2, 0; @inside " instruction " [%0], %1; }"
#if __CUDA_ARCH__ >= 700
#define DIBENCH_LOAD_L1 DIBENCH_LOAD("ld.relaxed.cta.global.f32")
#define DIBENCH_LOAD_L2 DIBENCH_LOAD("ld.relaxed.gpu.global.f32")
#define DIBENCH_STORE_L2 DIBENCH_STORE("st.relaxed.gpu.global.f32")
#else
#define DIBENCH_LOAD_L1 DIBENCH_LOAD("ld.volatile.global.f32")
#define DIBENCH_LOAD_L2 DIBENCH_LOAD("ld.volatile.global.f32")
#define DIBENCH_STORE_L2 DIBENCH_STORE("st.volatile.global.f32")
#endif

template <Level level>
__device__ __forceinline__ float load_exact(const float* p, bool inside) {
#ifdef DIBENCH_MUTANT_PLAIN_LOADS  // what the SASS test must catch
  return inside ? *p : 0.0f;
#endif
  float value;
  if (level == level_l1)
    asm volatile(DIBENCH_LOAD_L1 : "=f"(value) : "l"(p), "r"(int(inside)));
  else
    asm volatile(DIBENCH_LOAD_L2 : "=f"(value) : "l"(p), "r"(int(inside)));
  return value;
}

template <Level level>
__device__ __forceinline__ float load_weight(const float* p, bool inside) { return load_exact<level>(p, inside); }
template <Level level>
__device__ __forceinline__ float load_input(const float* p, bool inside) { return load_exact<level>(p, inside); }
// Partial sums come back from L2, where stores go: L1 is written through.
__device__ __forceinline__ float load_partial(const float* p, bool inside) { return load_exact<level_l2>(p, inside); }
__device__ __forceinline__ void store_output(float* p, float value, bool inside) {
#ifdef DIBENCH_MUTANT_PLAIN_LOADS
  if (inside) *p = value;
  return;
#endif
  asm volatile(DIBENCH_STORE_L2 ::"l"(p), "f"(value), "r"(int(inside)));
}

/// acc + a * b, one FFMA, where `inside`; otherwise acc, and nothing is multiplied. Before Blackwell ptxas predicates the
/// FFMA of a conditional expression, from Blackwell on that of an explicit predicate; the other way round it always
/// multiplies, and drops the product with an FSEL.
__device__ __forceinline__ float mac(float acc, float a, float b, bool inside = true) {
#if __CUDA_ARCH__ >= 1000
  asm("{ .reg .pred inside; setp.ne.s32 inside, %3, 0; @inside fma.rn.f32 %0, %1, %2, %0; }"
      : "+f"(acc)
      : "f"(a), "f"(b), "r"(int(inside)));
  return acc;
#else
  return inside ? __fmaf_rn(a, b, acc) : acc;
#endif
}

// ---- copies of operands in shared memory: volatile, so that each is one LDS --------------------------
__device__ __forceinline__ float load_weight_shared(const float* p, bool inside = true) {
  return inside ? *(const volatile float*)p : 0.0f;
}
__device__ __forceinline__ float load_input_shared(const float* p, bool inside = true) {
  return inside ? *(const volatile float*)p : 0.0f;
}

// ---- any type (float, float4, half2 ...), free for the compiler to schedule: fast kernels -------------
template <typename T>
__device__ __forceinline__ T fetch_weight(const T* p, bool inside = true) { return inside ? *p : T{}; }
template <typename T>
__device__ __forceinline__ T fetch_input(const T* p, bool inside = true) { return inside ? *p : T{}; }
template <typename T>
__device__ __forceinline__ void put_output(T* p, T value, bool inside = true) {
  if (inside) *p = value;
}
// Partial sums that blocks hand to each other through the workspace: in L2, which all multiprocessors share.
template <typename T>
__device__ __forceinline__ T fetch_partial(const T* p) { return __ldcg(p); }
template <typename T>
__device__ __forceinline__ void put_partial(T* p, T value) { *p = value; }
/// Called by one thread of a block, after a barrier behind what the block has put: whether it is the last of so many blocks
/// to arrive. Then it sees what all of them have put, and so does its block behind another barrier. The counter is 0 before
/// the first arrives and after the last has.
__device__ __forceinline__ bool arrive(int* counter, int blocks) {
  __threadfence();  // what was put before, by other threads of the block too, is there before the count is
  const bool last = atomicInc((unsigned*)counter, unsigned(blocks) - 1) == unsigned(blocks) - 1;
  __threadfence();  // and nothing is fetched before the count is known
  return last;
}
template <typename T>
__device__ __forceinline__ T fetch_weight_shared(const T* p) { return *p; }
template <typename T>
__device__ __forceinline__ T fetch_input_shared(const T* p) { return *p; }
#endif
