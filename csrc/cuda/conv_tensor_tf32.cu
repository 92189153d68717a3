/* Convolution on tensor cores in tf32: an implicit GEMM of m16n8k8 products, floats in and out.
[variant]
ops          = ["standard", "pointwise", "grouped", "fc"]
stationarity = "output"
fast         = true
arch         = ">=80"
dtypes       = ["tf32"]
teaches      = "tf32 keeps float's range and 10 bits of mantissa: operands stay floats in memory and are rounded in registers, where that adds an instruction to each word that an mma takes."
layout       = "channels_last"
knobs.tile_p = [128, 64, 256, 32]
knobs.tile_k = [128, 64, 32]
# A warp's part of the tile.
define."part(tile)" = "64 if tile >= 128 else 32"
define.macs = "gemm_macs(tile_p, tile_k, 16)"
# tile_p, tile_k, percent of the tensor cores' rate that shared memory leaves, blocks that a multiprocessor holds:
# from the bytes of a stage and the registers on sm_90, not yet measured.
define.tiles = [
  [256, 128, 92, 1], [128, 128, 88, 2], [256, 64, 76, 1], [128, 64, 72, 3], [64, 128, 72, 3], [128, 32, 59, 6],
  [64, 64, 54, 4], [64, 32, 46, 8], [32, 64, 46, 8], [32, 32, 40, 12],
]
# Time of the fullest of 128 multiprocessors: its tiles one after another, slower where few warps hide latencies.
define."most(p, k)" = "ceil_div(gemm_tiles(p, k), 128)"
define."warps_held(p, k, held)" = "min(most(p, k), held) * (p // part(p)) * (k // part(k))"
define."time(p, k, percent, held)" = "1000 * most(p, k) * p * k * (warps_held(p, k, held) + 2) // (percent * warps_held(p, k, held))"
define.least = "min(time(p, k, percent, held) for p, k, percent, held in tiles)"
prefer.tile_p = "first(p for p, k, percent, held in tiles if time(p, k, percent, held) == least)"
prefer.tile_k = "first(k for p, k, percent, held in tiles if time(p, k, percent, held) == least)"
requires     = ["R <= 16 and S <= 16"]
constants    = []
grid         = "instances * gemm_tiles(tile_p, tile_k)"
block        = "32 * (tile_p // part(tile_p)) * (tile_k // part(tile_k))"
shared       = "256 * (tile_p + tile_k) + 8 * tile_p"
counts.macs_executed = "macs"
counts.weight_reads  = "K * (C // groups) * R * S * ceil_div(N * P * Q, tile_p) + macs // part(tile_p)"
counts.input_reads   = "C * taps_inside() * ceil_div(K // groups, tile_k) + macs // part(tile_k)"
counts.output_reads  = "0"
counts.output_writes = "N * K * P * Q"
counts.weight_reads_shared = "macs // part(tile_p)"
counts.input_reads_shared  = "macs // part(tile_k)"
*/
#include "layer.cuh"
//
#include "tensor_gemm.cuh"

extern "C" __global__ void __launch_bounds__(threads, 1)
    conv_tensor_tf32(const Layer layer, int instances, const T* x, const T* w, float* y) {
  DYNAMIC_SHARED(Chunk, shared);
  tensor_gemm(layer, instances, x, w, y, shared);
}
