/* DRAM read anchor: a buffer many times larger than L2, read end to end.
[anchor]
level        = "dram"
access       = "read"
arch         = ">=60"
teaches      = "The cost of a read from memory: nothing of the buffer is still in a cache when it is read again."
block        = 256
elements     = "l2_bytes"
buffer       = "elements"
passes       = 16
counts.macs_executed = "0"
counts.reads         = "elements * passes"
counts.writes        = "0"
*/
#include "access.cuh"

// buffer[elements], read `passes` times from one end to the other. It should be at least four times L2.
// The XOR uses what is read, or ptxas would drop the loads (see anchor_l1.cu).
extern "C" __global__ void __launch_bounds__(256, 1) anchor_dram_read(float* buffer, long long elements, int passes) {
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
