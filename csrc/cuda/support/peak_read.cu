// The most bytes a second that can be read: every thread streams 16-byte loads, 4 in flight, and keeps a sum.
//
// `vectors` is the number of float4 in x, a multiple of 4 x all threads of the launch.
extern "C" __global__ void __launch_bounds__(256) peak_read(int vectors, const float4* __restrict__ x, float* sink) {
  const int threads = gridDim.x * 256;
  float sum = 0;
#pragma unroll 1
  for (int i = blockIdx.x * 256 + threadIdx.x; i < vectors; i += 4 * threads) {
    float4 v[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] = __ldcs(x + i + j * threads);  // streaming: nothing is read twice
#pragma unroll
    for (int j = 0; j < 4; ++j) sum += v[j].x + v[j].y + v[j].z + v[j].w;
  }
  if (sum == 1.2345e30f) *sink = sum;  // never true: keeps the loads
}
