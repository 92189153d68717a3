// How kernels touch their operands: every access goes through one of these, so that it can be counted
// and so that the compiler executes it as written.
//
// Reuse kernels (DIBENCH_EXACT defined before including this file) use volatile accesses: reading an
// element twice costs two loads, and a partial sum that the dataflow sends back to memory goes there.
// Fast kernels use plain (vector) accesses and may keep what they like in registers.
// With DIBENCH_COUNT each access adds its elements to a counter per data type.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace dibench {

#if defined(__AVX512F__)
inline constexpr int lanes = 16;
#elif defined(__AVX__)
inline constexpr int lanes = 8;
#else
inline constexpr int lanes = 4;
#endif

/// As many floats as one register of this instruction set holds.
typedef float vec __attribute__((vector_size(4 * lanes)));
typedef float vec_unaligned __attribute__((vector_size(4 * lanes), aligned(4), may_alias));

#ifdef DIBENCH_COUNT
struct Counters { int64_t weight_reads, input_reads, output_reads, output_writes, macs_executed; };
extern "C" Counters dibench_counters;
#define DIBENCH_ADD(what, n) __atomic_fetch_add(&dibench::dibench_counters.what, int64_t(n), __ATOMIC_RELAXED)
#else
#define DIBENCH_ADD(what, n) ((void)0)
#endif

#ifdef DIBENCH_EXACT
#define DIBENCH_QUALIFIER volatile
#else
#define DIBENCH_QUALIFIER
#endif
#define DIBENCH_INLINE static inline __attribute__((always_inline))

DIBENCH_INLINE float load_weight(const float* p) { DIBENCH_ADD(weight_reads, 1); return *(const DIBENCH_QUALIFIER float*)p; }
DIBENCH_INLINE float load_input(const float* p) { DIBENCH_ADD(input_reads, 1); return *(const DIBENCH_QUALIFIER float*)p; }
DIBENCH_INLINE float load_partial(const float* p) { DIBENCH_ADD(output_reads, 1); return *(const DIBENCH_QUALIFIER float*)p; }
DIBENCH_INLINE void store_output(float* p, float v) { DIBENCH_ADD(output_writes, 1); *(DIBENCH_QUALIFIER float*)p = v; }

/// acc + a * b: one multiply-add of the layer, contracted to an FMA where the instruction set has one.
DIBENCH_INLINE float mac(float acc, float a, float b) { DIBENCH_ADD(macs_executed, 1); return acc + a * b; }

// The same for whole vectors; addresses need no alignment.
DIBENCH_INLINE vec load_weights(const float* p) { DIBENCH_ADD(weight_reads, lanes); return *(const vec_unaligned*)p; }
DIBENCH_INLINE vec load_inputs(const float* p) { DIBENCH_ADD(input_reads, lanes); return *(const vec_unaligned*)p; }
DIBENCH_INLINE vec load_partials(const float* p) { DIBENCH_ADD(output_reads, lanes); return *(const vec_unaligned*)p; }
DIBENCH_INLINE void store_outputs(float* p, vec v) { DIBENCH_ADD(output_writes, lanes); *(vec_unaligned*)p = v; }
DIBENCH_INLINE vec mac(vec acc, vec a, vec b) { DIBENCH_ADD(macs_executed, lanes); return acc + a * b; }

}  // namespace dibench
