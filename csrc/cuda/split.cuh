// A reduction that `splits` blocks share, for layers that have too few tiles to fill the card.
//
//   workspace: partial[tile][split][i][thread], float4; then a counter for each tile
//
// Each block puts its sums of a tile there and arrives at the tile's counter. The last to arrive adds all of them, its own
// too, beginning with split 0: the same sum whoever comes last, without atomics on floats. The others are done: no block
// waits for another, so any number of blocks is right.
#pragma once
#include "access.cuh"

/// Steps of a reduction, from the first to behind the last.
struct Steps {
  int begin, end;
};

/// A split's share of a reduction in stages of `depth` steps: whole stages, as many as the others have or one more. Where
/// there are fewer stages than splits, some have none.
__device__ __forceinline__ Steps share_of(int split, int steps, int depth) {
  if (splits == 1) return {0, steps};
#ifdef DIBENCH_PROOF  // of whole stages, as many for each: the compiler then knows how many, and unrolls
  return {split * (steps / splits), (split + 1) * (steps / splits)};
#endif
  const int all = ceil_div(steps, depth);
  return {all * split / splits * depth, min(all * (split + 1) / splits * depth, steps)};
}

/// A tile's partial sums in the workspace, as one of `threads` has them: `parts` of each split. In a block of more threads
/// several may have the same.
template <int threads, int parts>
struct Split {
  float4* first;
  int* counter;

  __device__ __forceinline__ Split(float* workspace, int tiles, int tile, unsigned thread = threadIdx.x) {
    constexpr long long of_tile = (long long)splits * parts * threads;
    first = (float4*)workspace + tile * of_tile + thread;
    counter = (int*)((float4*)workspace + tiles * of_tile) + tile;
  }
  __device__ __forceinline__ void put(int split, int i, float4 part) const {
    put_partial(first + (split * parts + i) * threads, part);
  }
  /// Whether the other splits of the tile are there already, when all threads of the block have put theirs and call this.
  __device__ __forceinline__ bool complete() const {
    __syncthreads();  // all have put theirs before one of them says so
    return __syncthreads_or(threadIdx.x == 0 && arrive(counter, splits));
  }
  /// Part i of all splits and the next few, four splits of them on their way at once.
  template <int count>
  __device__ __forceinline__ void sum(float4 (&all)[count], int i) const {
    const float4* const own = first + i * threads;
    DIBENCH_HELD for (int n = 0; n < count; ++n) all[n] = fetch_partial(own + n * threads);
    DIBENCH_STREAM for (int s = 1; s < splits; ++s)
      DIBENCH_HELD for (int n = 0; n < count; ++n) {
        const float4 part = fetch_partial(own + (s * parts + n) * threads);
        all[n].x += part.x, all[n].y += part.y, all[n].z += part.z, all[n].w += part.w;
      }
  }
};
