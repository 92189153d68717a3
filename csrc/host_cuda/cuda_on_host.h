// CUDA's execution model for g++: include before a .cu file that holds only device code (what NVRTC takes).
//
// One block runs at a time and each of its threads is a fiber. __syncthreads() parks a fiber until every
// live thread of the block stands at the same barrier; a warp exchange parks it until its warp has come. What
// a GPU would let pass, or hang on, is an error here that names block, thread and line: see harness.cc.
//
// Rules for device code, beyond NVRTC's: __shared__ arrays stand in the kernel function itself, and dynamic
// shared memory is declared by DYNAMIC_SHARED(type, name).
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>
#include <utility>

struct dim3 {
  unsigned x, y, z;
};
extern dim3 gridDim, blockDim, blockIdx, threadIdx;  // set before a fiber resumes
constexpr int warpSize = 32;

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) int4 { int x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(n) alignas(n)
// The section gives the harness the bounds of a block's shared memory, to fill it with NaN; GCC puts red
// zones around the variables in it because the sanitizer build names it in -fsanitize-sections.
#define __shared__ static __attribute__((section("cuda_shared")))
#define DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(dibench_host::dynamic_shared)

template <typename T>
inline T min(T a, T b) { return b < a ? b : a; }
template <typename T>
inline T max(T a, T b) { return a < b ? b : a; }
// <math.h> would be a third of what a kernel takes to compile.
inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline float __int_as_float(int i) { float f; memcpy(&f, &i, 4); return f; }
inline int __float_as_int(float f) { int i; memcpy(&i, &f, 4); return i; }
inline unsigned __float_as_uint(float f) { unsigned i; memcpy(&i, &f, 4); return i; }
inline float __uint_as_float(unsigned i) { float f; memcpy(&f, &i, 4); return f; }

namespace dibench_host {
extern void* dynamic_shared;
/// Parks the fiber until the live threads of the block stand at the barrier of this line; whether one of them votes for it.
bool block_barrier(bool vote, const char* file, int line);
/// Deposits `bytes` (at most 64) of this lane, parks until the warp's lanes of `mask` have, and returns the
/// deposits of all 32 lanes, 64 bytes apart: valid until this lane's next exchange but one.
const unsigned char* warp_exchange(unsigned mask, const void* deposit, size_t bytes, const char* file, int line);
int lane();  // of the running thread in its warp

template <typename T>
inline T from_lane(unsigned mask, T value, int source, const char* file, int line) {
  static_assert(sizeof(T) <= 64);
  const unsigned char* cells = warp_exchange(mask, &value, sizeof(T), file, line);
  T result;
  memcpy(&result, cells + 64 * source, sizeof(T));
  return result;
}
inline unsigned ballot(unsigned mask, bool vote, const char* file, int line) {
  const unsigned char* cells = warp_exchange(mask, &vote, 1, file, line);
  unsigned result = 0;
  for (int i = 0; i < 32; ++i) result |= unsigned((mask >> i & 1) && cells[64 * i]) << i;
  return result;
}
inline void warp_barrier(const char* file, int line, unsigned mask = 0xffffffffu) { ballot(mask, true, file, line); }
}  // namespace dibench_host

#define DIBENCH_HERE __FILE__, __LINE__
#define __syncthreads() ((void)dibench_host::block_barrier(false, DIBENCH_HERE))
#define __syncthreads_or(vote) int(dibench_host::block_barrier(vote, DIBENCH_HERE))
#define __syncwarp(...) dibench_host::warp_barrier(DIBENCH_HERE __VA_OPT__(, ) __VA_ARGS__)
// As on the GPU, a source outside the segment of `width` lanes gives a lane its own value back.
#define __shfl_sync(mask, value, source, ...)                                                                      \
  dibench_host::from_lane(mask, value, dibench_host::shuffle_index(source, DIBENCH_WIDTH(__VA_ARGS__)), DIBENCH_HERE)
#define __shfl_xor_sync(mask, value, bits, ...)                                                                    \
  dibench_host::from_lane(mask, value, dibench_host::shuffle_xor(bits, DIBENCH_WIDTH(__VA_ARGS__)), DIBENCH_HERE)
#define __shfl_down_sync(mask, value, by, ...)                                                                     \
  dibench_host::from_lane(mask, value, dibench_host::shuffle_move(int(by), DIBENCH_WIDTH(__VA_ARGS__)), DIBENCH_HERE)
#define __shfl_up_sync(mask, value, by, ...)                                                                       \
  dibench_host::from_lane(mask, value, dibench_host::shuffle_move(-int(by), DIBENCH_WIDTH(__VA_ARGS__)), DIBENCH_HERE)
#define DIBENCH_WIDTH(...) (0 __VA_OPT__(+(__VA_ARGS__) - 32) + 32)
#define __ballot_sync(mask, vote) dibench_host::ballot(mask, vote, DIBENCH_HERE)
#define __any_sync(mask, vote) (dibench_host::ballot(mask, vote, DIBENCH_HERE) != 0)
#define __all_sync(mask, vote) (dibench_host::ballot(mask, !(vote), DIBENCH_HERE) == 0)

namespace dibench_host {
inline int shuffle_index(int source, int width) { return lane() / width * width + (source & (width - 1)); }
inline int shuffle_xor(int bits, int width) {
  const int source = lane() ^ bits;
  return source / width <= lane() / width ? source : lane();
}
inline int shuffle_move(int by, int width) {
  const int source = lane() + by;
  return source >= 0 && source / width == lane() / width ? source : lane();
}

/// Calls a kernel with its arguments as cuLaunchKernel passes them: one pointer to each.
template <typename... P, size_t... I>
inline void call(void (*kernel)(P...), void** argv, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_const_t<P>*>(argv[I])...);
}
template <typename... P>
inline void call(void (*kernel)(P...), void** argv) {
  call(kernel, argv, std::index_sequence_for<P...>{});
}
}  // namespace dibench_host

/// Ends a translation unit: names its kernel for the harness.
#define DIBENCH_HOST_ENTRY(kernel) \
  void dibench_kernel(void** argv) { dibench_host::call(kernel, argv); }
