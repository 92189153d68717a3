// Copies from global to shared memory that run while the threads compute. On sm_80 and later a copy is one
// instruction, LDGSTS (cp.async), that passes by the registers; before, it is a load and a store.
//
//   copy_weight(shared, p, inside)   starts a copy of *p, 4, 8 or 16 bytes; zeros where not `inside`
//   commit_copies()                  closes a batch: the copies that this thread started since the last one
//   wait_for_copies<n>()             until at most n of the thread's latest batches are still under way
//
// A thread waits for its own copies only: a barrier after the wait makes everybody's visible to all. Until
// then the destination holds neither the old value nor the new (the harness fills it with NaN).
#pragma once
#include "access.cuh"

#ifdef DIBENCH_HOST
#include "async_copy.h"
#else
template <typename V>
__device__ __forceinline__ void copy_async(V* shared, const V* p, bool inside) {
#if __CUDA_ARCH__ >= 800
  const unsigned to = unsigned(__cvta_generic_to_shared(shared));
  const int bytes = inside ? int(sizeof(V)) : 0;  // the rest of the destination becomes zero
  if (sizeof(V) == 16)  // 16 bytes may pass by L1 too, where there is nothing to gain
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(p), "r"(bytes) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(p), "n"(sizeof(V)), "r"(bytes)
                 : "memory");
#else
  *shared = inside ? *p : V{};
#endif
}
template <typename V>
__device__ __forceinline__ void copy_weight(V* shared, const V* p, bool inside) { copy_async(shared, p, inside); }
template <typename V>
__device__ __forceinline__ void copy_input(V* shared, const V* p, bool inside) { copy_async(shared, p, inside); }

__device__ __forceinline__ void commit_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int batches>
__device__ __forceinline__ void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(batches) : "memory");
#endif
}
#endif
