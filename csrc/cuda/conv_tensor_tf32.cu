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
# Blocks that share a tile's reduction (split.cuh), each at least one stage of it.
knobs.splits = [1, 2, 3, 4, 6, 8, 12, 16]
define.sums = "split_sums(gemm_tiles(tile_p, tile_k), tile_p * tile_k, splits)"
define.macs = "gemm_macs(tile_p, tile_k, 16)"
define.stages = "ceil_div(C // groups * R * S, 16)"
define."block_size(p, k)" = "32 * (p // warp_side(p)) * (k // warp_side(k))"
# A tile's tile_p and tile_k; blocks of it that a multiprocessor holds; cycles for which a stage of one keeps it busy
# (shared memory more than tensor cores); and cycles of a stage of one alone whose loads come from L2, or from DRAM. From
# the machine code for sm_90 (benchmarks/tile_choice.py).
define.tiles = [
  [256, 128, 1, 1020, 830, 980],
  [128, 128, 2, 575, 950, 964],
  [256, 64, 1, 800, 660, 948],
  [128, 64, 3, 432, 662, 949],
  [64, 128, 3, 415, 545, 926],
  [256, 32, 3, 560, 875, 1056],
  [32, 128, 4, 272, 560, 937],
  [128, 32, 5, 297, 880, 1058],
  [64, 64, 4, 280, 440, 898],
  [64, 32, 8, 180, 547, 951],
  [32, 64, 8, 172, 467, 906],
  [32, 32, 13, 106, 568, 957],
]
define.best = "min(labelled(gemm_cycles(4, p, k, n, 16, block_size(p, k), held, busy, near, far, instances, multiprocessors), p, k, n) for p, k, held, busy, near, far in tiles for n in knobs.splits if n <= stages)"
prefer.tile_p = "label_tile_p(best)"
prefer.tile_k = "label_tile_k(best)"
prefer.splits = "label_splits(best)"
requires     = ["R <= 16 and S <= 16", "splits <= stages"]
constants    = []
grid         = "instances * gemm_tiles(tile_p, tile_k) * splits"
block        = "block_size(tile_p, tile_k)"
shared       = "256 * (tile_p + tile_k) + 8 * tile_p"
workspace    = "split_bytes(instances * gemm_tiles(tile_p, tile_k), tile_p * tile_k, splits)"
counts.macs_executed = "macs"
counts.weight_reads  = "K * (C // groups) * R * S * ceil_div(N * P * Q, tile_p) + macs // warp_side(tile_p)"
counts.input_reads   = "C * taps_inside() * ceil_div(K // groups, tile_k) + macs // warp_side(tile_k)"
counts.output_reads  = "sums"
counts.output_writes = "N * K * P * Q + sums"
counts.weight_reads_shared = "macs // warp_side(tile_p)"
counts.input_reads_shared  = "macs // warp_side(tile_k)"
*/
#include "layer.cuh"
//
#include "tensor_gemm.cuh"

extern "C" __global__ void __launch_bounds__(threads, 1)
    conv_tensor_tf32(const Layer layer, int instances, const T* x, const T* w, T* y,
                     float* workspace) {
  DYNAMIC_SHARED(Chunk, shared);
  tensor_gemm(layer, instances, x, w, y, workspace, shared);
}
