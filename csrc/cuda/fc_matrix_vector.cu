/* Fully-connected layer at small batch: a block streams one row of weights past tile_p images, 16 bytes a lane at a time.
[variant]
ops          = ["fc"]
stationarity = "output"
fast         = true
arch         = ">=60"
dtypes       = ["fp32"]
teaches      = "At batch 1 each weight is used once, so only memory counts: enough loads in flight, whole sectors, and sums that meet in a fixed tree."
knobs.tile_p = [1, 2, 4, 8]
knobs.warps  = [4, 1, 2, 8]
prefer.tile_p = "8 if N >= 8 else 4 if N >= 4 else 2 if N >= 2 else 1"
prefer.warps  = "1 if C <= 512 else 2 if C <= 1024 else 4 if C <= 8192 else 8"
requires     = ["tile_p <= N"]
constants    = []
grid         = "instances * K * ceil_div(N, tile_p)"
block        = "32 * warps"
shared       = "0"
counts.macs_executed = "N * K * C"
counts.weight_reads  = "K * C * ceil_div(N, tile_p)"
counts.input_reads   = "N * C * K"
counts.output_reads  = "0"
counts.output_writes = "N * K"
*/
#include "layer.cuh"
//
#include "access.cuh"

// y[n][k] = sum over c of w[k][c] * x[n][c]
//
//   a block makes y[n0 .. n0 + tile_p - 1][k]:
//     its lanes take 4 channels each, 128 * warps of a row together, and go on to the next as many
//       acc[j] += w[k][c .. c + 3] * x[n0 + j][c .. c + 3]
//     32 lanes add up by exchange, then the warps through shared memory: always in the same order
//
// The limit is DRAM: 4 bytes for tile_p multiply-adds. A lane has 4 loads of w in flight; 16 warps on a
// multiprocessor, where 64 fit, keep 32 KiB in flight, which is what an H200 delivers within its latency. x comes from L1
// and L2: at tile_p 1 as many bytes as w, which L1 serves beside what comes from DRAM.
// 16-byte loads where C is a multiple of 4: the loop of tile_p 1 is 8 LDG.128, then 16 FFMA, 35 instructions for 2 KiB
// of w in a warp. sm_90: 72 registers at tile_p 1 (28 warps), 170 at 8 (12); Blackwell 76 and up to 248. No spills, sm_60
// to sm_120. Not yet measured on a GPU.

constexpr int threads = 32 * warps;

__device__ __forceinline__ float dot(float4 a, float4 b, float sum, bool inside) {
  sum = mac(sum, a.x, b.x, inside);
  sum = mac(sum, a.y, b.y, inside);
  sum = mac(sum, a.z, b.z, inside);
  return mac(sum, a.w, b.w, inside);
}
__device__ __forceinline__ float dot(float a, float b, float sum, bool inside) { return mac(sum, a, b, inside); }

/// acc[j] = this lane's part of w[0 .. C-1] * x[j][0 .. C-1], taken `V` at a time.
template <typename V>
__device__ __forceinline__ void stream(float (&acc)[tile_p], const float* w, const float* x, int C, int positions) {
  constexpr int wide = sizeof(V) / sizeof(float);
  DIBENCH_HELD for (int j = 0; j < tile_p; ++j) acc[j] = 0.0f;
  DIBENCH_STREAM for (int c = threadIdx.x * wide; c < C; c += threads * wide) {
    const V w_now = fetch_weight((const V*)(w + c));
    DIBENCH_HELD for (int j = 0; j < tile_p; ++j)
      acc[j] = dot(w_now, fetch_input((const V*)(x + j * C + c), j < positions), acc[j], j < positions);
  }
}

extern "C" __global__ void __launch_bounds__(threads, 1)
    fc_matrix_vector(const Layer layer, int instances, const float* x, const float* w, float* y) {
  __shared__ float sums[tile_p][warps];
  const int p_tiles = ceil_div(layer.N, tile_p), lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  DIBENCH_LOOP for (int item = blockIdx.x; item < instances * layer.K * p_tiles; item += gridDim.x) {
    const int n0 = item % p_tiles * tile_p, k = item / p_tiles % layer.K, instance = item / (p_tiles * layer.K);
    const float* const row = w + instance * w_elements(layer) + k * layer.C;
    const float* const images = x + instance * x_elements(layer) + n0 * layer.C;
    float acc[tile_p];
    if (layer.C % 4 == 0)  // then every row starts on 16 bytes
      stream<float4>(acc, row, images, layer.C, layer.N - n0);
    else
      stream<float>(acc, row, images, layer.C, layer.N - n0);

    DIBENCH_HELD for (int j = 0; j < tile_p; ++j) {
      DIBENCH_HELD for (int away = 16; away > 0; away /= 2) acc[j] += __shfl_xor_sync(0xffffffffu, acc[j], away);
      if (lane == 0) sums[j][warp] = acc[j];
    }
    __syncthreads();  // each warp's sums are there
    if (threadIdx.x < tile_p && n0 + int(threadIdx.x) < layer.N) {
      float sum = sums[threadIdx.x][0];
      DIBENCH_HELD for (int i = 1; i < warps; ++i) sum += sums[threadIdx.x][i];
      put_output(y + instance * y_elements(layer) + (n0 + threadIdx.x) * layer.K + k, sum);
    }
    __syncthreads();  // and read: the next row's may take their place
  }
}
