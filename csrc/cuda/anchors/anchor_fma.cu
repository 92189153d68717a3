/* FMA anchor: multiply-adds on registers and nothing else.
[anchor]
level        = "register"
access       = "fma"
arch         = ">=60"
teaches      = "The cost of a multiply-add whose operands are in registers: the floor under every kernel."
block        = 256
elements     = "blocks * 256"
buffer       = "elements"
passes       = 4096
counts.macs_executed = "blocks * 256 * passes * 64"
counts.reads         = "0"
counts.writes        = "blocks * 256"
*/
#include "access.cuh"

// buffer[blocks * 256] <- one sum of each thread, so that the work cannot be left out
//
// Eight sums take turns: a multiply-add waits four cycles for the one before it, so one chain would measure waiting.
extern "C" __global__ void __launch_bounds__(256, 1) anchor_fma(float* buffer, long long elements, int passes) {
  float sum[8];
  const float factor = 0.5f, term = 1.0f + threadIdx.x;
#pragma unroll
  for (int i = 0; i < 8; ++i) sum[i] = i;
#pragma unroll 1
  for (int pass = 0; pass < passes; ++pass)
#pragma unroll
    for (int i = 0; i < 64; ++i) sum[i % 8] = mac(term, sum[i % 8], factor);
  float total = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i) total += sum[i];
  const long long thread = blockIdx.x * 256ll + threadIdx.x;
  store_output(buffer + thread, total, thread < elements);
}
