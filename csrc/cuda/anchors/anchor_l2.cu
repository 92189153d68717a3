/* L2 anchor: all blocks read one buffer that fits in L2, past L1.
[anchor]
level        = "l2"
access       = "read"
arch         = ">=60"
teaches      = "The cost of a read that L2 answers: the loads ask for a value that all multiprocessors agree on, which L1 may not serve."
block        = 256
elements     = "l2_bytes // 16"
buffer       = "elements"
passes       = 512
counts.macs_executed = "0"
counts.reads         = "elements * passes"
counts.writes        = "0"
*/
#include "access.cuh"

// buffer[elements], together read `passes` times. It should be well inside L2; all but the first pass then hit.
// The XOR uses what is read, or ptxas would drop the loads (see anchor_l1.cu).
extern "C" __global__ void __launch_bounds__(256, 1) anchor_l2(float* buffer, long long elements, int passes) {
  int bits = 0;
  const int stride = 256 * 8;  // elements of a block's step
  const long long first = blockIdx.x * (long long)stride + threadIdx.x, step = (long long)gridDim.x * stride;
#pragma unroll 1
  for (int pass = 0; pass < passes; ++pass)
#pragma unroll 1
    for (long long i = first; i < elements; i += step) {
      float value[8];
#pragma unroll
      for (int u = 0; u < 8; ++u) value[u] = load_input<level_l2>(buffer + i + u * 256, i + u * 256 < elements);
#pragma unroll
      for (int u = 0; u < 8; u += 2) bits ^= __float_as_int(value[u]) ^ __float_as_int(value[u + 1]);
    }
  if (bits == 0x7fdecade) buffer[0] = 0.0f;  // practically never, but the compiler cannot know
}
