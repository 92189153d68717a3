/* L1 anchor: every block reads its own small window again and again.
[anchor]
level        = "l1"
access       = "read"
arch         = ">=70"
teaches      = "The cost of a read that L1 answers: the window is small, and each load may be served there."
block        = 256
elements     = "4096"
buffer       = "blocks * elements"
passes       = 2048
counts.macs_executed = "0"
counts.reads         = "blocks * elements * passes"
counts.writes        = "0"
*/
#include "access.cuh"

// buffer[blocks][elements]: each block reads its own row `passes` times. A row should be well below L1 (16 KiB, say);
// all but the first pass then hit. Eight loads are in flight. ptxas drops loads that nobody uses, relaxed ones too: one
// XOR for two loads is the cheapest use. Before sm_70 such loads are volatile, which L2 serves (see access.cuh).
extern "C" __global__ void __launch_bounds__(256, 1) anchor_l1(float* buffer, long long elements, int passes) {
  float* window = buffer + blockIdx.x * elements;
  int bits = 0;
  const int stride = 256 * 8;
#pragma unroll 1
  for (int pass = 0; pass < passes; ++pass)
#pragma unroll 1
    for (long long i = threadIdx.x; i < elements; i += stride) {
      float value[8];
#pragma unroll
      for (int u = 0; u < 8; ++u) value[u] = load_input<level_l1>(window + i + u * 256, i + u * 256 < elements);
#pragma unroll
      for (int u = 0; u < 8; u += 2) bits ^= __float_as_int(value[u]) ^ __float_as_int(value[u + 1]);
    }
  if (bits == 0x7fdecade) window[0] = 0.0f;  // practically never, but the compiler cannot know
}
