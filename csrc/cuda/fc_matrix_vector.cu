/* Fully-connected layer at small batch: a block streams tile_k rows of weights past tile_p images, 16 bytes a lane at a time.
[variant]
ops          = ["fc"]
stationarity = "output"
fast         = true
arch         = ">=60"
dtypes       = ["fp32"]
teaches      = "At batch 1 each weight is used once, so only memory counts: enough loads in flight, whole sectors, and sums that meet in a fixed tree."
knobs.tile_k = [1, 2, 4, 8]
knobs.tile_p = [1, 2, 4, 8]
knobs.warps  = [4, 1, 2, 8]
prefer.tile_k = "1 if K < 8 else 8 if N >= 8 else 4 if N >= 2 else 2"
prefer.tile_p = "8 if N >= 8 else 4 if N >= 4 else 2 if N >= 2 else 1"
prefer.warps  = "1 if C <= 512 else 2 if C <= 1024 else 8 if N >= 8 and N * K < 16384 or C > 8192 else 4"
requires     = ["tile_k <= K", "tile_p <= N"]
constants    = []
grid         = "instances * ceil_div(K, tile_k) * ceil_div(N, tile_p)"
block        = "32 * warps"
shared       = "0"
counts.macs_executed = "N * K * C"
counts.weight_reads  = "K * C * ceil_div(N, tile_p)"
counts.input_reads   = "N * C * ceil_div(K, tile_k)"
counts.output_reads  = "0"
counts.output_writes = "N * K"
*/
#include "layer.cuh"
//
#include "access.cuh"

// y[n][k] = sum over c of w[k][c] * x[n][c]
//
//   a block makes y[n0 .. n0 + tile_p - 1][k0 .. k0 + tile_k - 1]:
//     its lanes take 4 channels each, 128 * warps of each row together, and go on to the next as many
//       acc[j][i] += w[k0 + i][c .. c + 3] * x[n0 + j][c .. c + 3]
//     32 lanes add up by exchange, then the warps through shared memory: always in the same order
//
// The limit is DRAM, as long as little else comes from L2: 4 bytes of w for tile_p multiply-adds, 4 of x for tile_k. At
// 8 x 8 that is half a byte each, and every load of 16 bytes feeds 32 FFMA: 303 instructions for 256 FFMA of a lane. At 2 x 1
// w alone matters: 4 steps have 8 loads of w and 4 of x in flight, and 16 warps on a multiprocessor, where 64 fit, keep
// the 32 KiB in flight that an H200 delivers within its latency.
// sm_90: 106 registers at 2 x 1 (16 warps), 168 at 8 x 8 (8); Blackwell up to 254. No spills, sm_60 to sm_120. On paper,
// by `variants --limits`, 50% of DRAM's bandwidth for 2048 x 1000 weights at batch 1 (1.5 of 3.4 us are the launch), 42%
// at batch 8, and 89% for 25088 x 4096. Not yet measured on a GPU.

constexpr int threads = 32 * warps, sums = tile_k * tile_p;
constexpr int ahead = sums > 16 ? 1 : sums > 4 ? 2 : 4;  // steps whose loads are in flight together

/// The rows and images of a block's tile; fewer than tile_k or tile_p where the layer ends.
struct Tile {
  const float *w, *x;
  int rows, images, C;
};

__device__ __forceinline__ float dot(float4 a, float4 b, float sum, bool inside) {
  sum = mac(sum, a.x, b.x, inside);
  sum = mac(sum, a.y, b.y, inside);
  sum = mac(sum, a.z, b.z, inside);
  return mac(sum, a.w, b.w, inside);
}
__device__ __forceinline__ float dot(float a, float b, float sum, bool inside) { return mac(sum, a, b, inside); }

/// acc[j * tile_k + i] = this lane's part of w[i][0 .. C-1] * x[j][0 .. C-1], taken `V` at a time. `full`: all are there.
template <typename V, bool full>
__device__ __forceinline__ void stream(float (&acc)[sums], const Tile& t) {
  constexpr int wide = sizeof(V) / sizeof(float);
  DIBENCH_HELD for (int v = 0; v < sums; ++v) acc[v] = 0.0f;
#pragma unroll ahead
  for (int c = threadIdx.x * wide; c < t.C; c += threads * wide) {
    V w_now[tile_k];
    DIBENCH_HELD for (int i = 0; i < tile_k; ++i)
      w_now[i] = fetch_weight((const V*)(t.w + i * t.C + c), full || i < t.rows);
    DIBENCH_HELD for (int j = 0; j < tile_p; ++j) {
      const V x_now = fetch_input((const V*)(t.x + j * t.C + c), full || j < t.images);
      DIBENCH_HELD for (int i = 0; i < tile_k; ++i) {
        float& sum = acc[j * tile_k + i];
        sum = dot(w_now[i], x_now, sum, full || (i < t.rows && j < t.images));
      }
    }
  }
}

/// Adds up acc[v] of a warp's lanes in a fixed tree: at each step a lane keeps one half of its sums and gives away the
/// other. Afterwards acc[0 .. held - 1] of a lane are the sums from lane / sharing * held on.
constexpr int held = sums < 32 ? 1 : sums / 32, sharing = sums < 32 ? 32 / sums : 1;
template <int away>
__device__ __forceinline__ void add_up_lanes(float (&acc)[sums], int lane) {
  constexpr int half = sums * away / 32;
  const bool upper = lane & away;
  if constexpr (half >= held)
    DIBENCH_HELD for (int v = 0; v < half; ++v) {
      const float given = upper ? acc[v] : acc[v + half], kept = upper ? acc[v + half] : acc[v];
      acc[v] = kept + __shfl_xor_sync(0xffffffffu, given, away);
    }
  else
    acc[0] += __shfl_xor_sync(0xffffffffu, acc[0], away);
  if constexpr (away > 1) add_up_lanes<away / 2>(acc, lane);
}

extern "C" __global__ void __launch_bounds__(threads, 1)
    fc_matrix_vector(const Layer layer, int instances, const float* x, const float* w, float* y) {
  __shared__ float of_warps[warps][sums];
  const int p_tiles = ceil_div(layer.N, tile_p), k_tiles = ceil_div(layer.K, tile_k);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  DIBENCH_LOOP for (int item = blockIdx.x; item < instances * k_tiles * p_tiles; item += gridDim.x) {
    const int n0 = item % p_tiles * tile_p, k0 = item / p_tiles % k_tiles * tile_k, instance = item / (p_tiles * k_tiles);
    const Tile tile{
        w + instance * w_elements(layer) + k0 * layer.C, x + instance * x_elements(layer) + n0 * layer.C,
        layer.K - k0, layer.N - n0, layer.C};
    const bool full = sums == 1 || (tile.rows >= tile_k && tile.images >= tile_p);
    float acc[sums];
    // What is missing of a tile is hidden from the compiler, which would drop the products of which it knows.
    const Tile edge{tile.w, tile.x, late(tile.rows), late(tile.images), tile.C};
    if (layer.C % 4 != 0)
      stream<float, sums == 1>(acc, edge);
    else if (full)  // every row starts on 16 bytes
      stream<float4, true>(acc, tile);
    else
      stream<float4, false>(acc, edge);

    add_up_lanes<16>(acc, lane);
    if (lane % sharing == 0)
      DIBENCH_HELD for (int v = 0; v < held; ++v) of_warps[warp][lane / sharing * held + v] = acc[v];
    __syncthreads();  // each warp's sums are there
    DIBENCH_HELD for (int turn = 0; turn < ceil_div(sums, threads); ++turn) {
      const int v = turn * threads + threadIdx.x, i = v % tile_k, j = v / tile_k;
      if (v >= sums || i >= tile.rows || j >= tile.images) continue;
      float sum = of_warps[0][v];
      DIBENCH_HELD for (int one = 1; one < warps; ++one) sum += of_warps[one][v];
      put_output(y + instance * y_elements(layer) + (n0 + j) * layer.K + k0 + i, sum);
    }
    __syncthreads();  // and read: the next tile's may take their place
  }
}
