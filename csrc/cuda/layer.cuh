// The layer that a kernel is given, by value. Sizes are run-time arguments, so that one compile serves all layers.
//
// x[instances][N][C][H][W] * w[instances][K][C/groups][R][S] -> y[instances][N][K][P][Q], dense
//
// One instance of each operand has fewer than 2^31 elements (the planner checks this), so offsets inside an
// instance are int; only the step to an instance is wider.
#pragma once
#include "constants.cuh"  // generated for each compile: one `constexpr int` for every knob and constant

#ifndef DIBENCH_PROOF
struct Layer {
  int N, C, H, W, K, R, S, P, Q;
  int stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, groups;
};
#endif
// A proof compile gets its Layer from constants.cuh instead, with every size a static constant: all loops
// unroll, and the SASS must hold exactly as many instructions as the header's formulas say accesses.

// DIBENCH_LOOP stands before outer loops (tiles, chunks, taps), DIBENCH_STREAM before the innermost one, which
// keeps a few iterations of loads in flight; in a proof both unroll whole. DIBENCH_HELD stands before loops
// over what a thread holds in registers: unless they are unrolled, it would live in memory.
#if defined(DIBENCH_HOST)
#define DIBENCH_LOOP
#define DIBENCH_STREAM
#define DIBENCH_HELD
#elif defined(DIBENCH_PROOF)
#define DIBENCH_LOOP _Pragma("unroll")
#define DIBENCH_STREAM _Pragma("unroll")
#define DIBENCH_HELD _Pragma("unroll")
#else
#define DIBENCH_LOOP _Pragma("unroll 1")
#define DIBENCH_STREAM _Pragma("unroll 4")
#define DIBENCH_HELD _Pragma("unroll")
#endif

#ifndef DIBENCH_HOST
#define DYNAMIC_SHARED(type, name) extern __shared__ __align__(16) type name[]
#endif

__device__ __forceinline__ constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }

__device__ __forceinline__ long long x_elements(const Layer& l) { return (long long)l.N * l.C * l.H * l.W; }
__device__ __forceinline__ long long w_elements(const Layer& l) { return (long long)l.K * (l.C / l.groups) * l.R * l.S; }
__device__ __forceinline__ long long y_elements(const Layer& l) { return (long long)l.N * l.K * l.P * l.Q; }

/// The same number, hidden from the compiler: what is derived from it is computed where it is needed, not earlier, which
/// would take a register through a main loop that has none to spare.
__device__ __forceinline__ int late(int number) {
#ifndef DIBENCH_HOST
  asm volatile("" : "+r"(number));
#endif
  return number;
}
/// The same address of global memory: what is added to it stays an addition of its own.
template <typename E>
__device__ __forceinline__ const E* late(const E* address) {
#ifndef DIBENCH_HOST
  asm volatile("" : "+l"(address));
  __builtin_assume(__isGlobal(address));
#endif
  return address;
}
