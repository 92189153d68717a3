// The most multiply-adds a second: independent chains of FFMA in registers, nothing else.
//
// Each thread does `rounds` x 16 x 8 multiply-adds: 8 chains hide the latency of one, 16 steps the loop.
extern "C" __global__ void __launch_bounds__(256) peak_mac(int rounds, float a, float b, float* sink) {
  float acc[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) acc[i] = threadIdx.x + i;
#pragma unroll 1
  for (int round = 0; round < rounds; ++round)
#pragma unroll
    for (int step = 0; step < 16; ++step)
#pragma unroll
      for (int i = 0; i < 8; ++i) acc[i] = __fmaf_rn(acc[i], a, b);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) sum += acc[i];
  if (sum == 1.2345e30f) *sink = sum;  // never true, but the compiler cannot know: the chains must be computed
}
