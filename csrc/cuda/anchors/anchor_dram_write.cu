/* DRAM write anchor: a buffer many times larger than L2, written end to end.
[anchor]
level        = "dram"
access       = "write"
arch         = ">=60"
teaches      = "The cost of a write that ends in memory; L2 can only delay it."
block        = 256
elements     = "l2_bytes"
buffer       = "elements"
passes       = 16
counts.macs_executed = "0"
counts.reads         = "0"
counts.writes        = "elements * passes"
*/
#include "access.cuh"

// buffer[elements] <- pass number, `passes` times from one end to the other. It should be at least four times L2.
extern "C" __global__ void __launch_bounds__(256, 1) anchor_dram_write(float* buffer, long long elements, int passes) {
  const int stride = 256 * 8;  // elements of a block's step
  const long long first = blockIdx.x * (long long)stride + threadIdx.x, step = (long long)gridDim.x * stride;
#pragma unroll 1
  for (int pass = 0; pass < passes; ++pass)
#pragma unroll 1
    for (long long i = first; i < elements; i += step)
#pragma unroll
      for (int u = 0; u < 8; ++u) store_output(buffer + i + u * 256, float(pass), i + u * 256 < elements);
}
