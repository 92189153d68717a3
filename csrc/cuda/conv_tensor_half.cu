/* Convolution on tensor cores in fp16 or bf16: an implicit GEMM of m16n8k16 products with fp32 sums, rounded once.
[variant]
ops          = ["standard", "pointwise", "grouped", "fc"]
stationarity = "output"
fast         = true
arch         = ">=80"
dtypes       = ["fp16", "bf16"]
teaches      = "Half the bytes and twice the multiply-adds of tf32 in one instruction: two steps of the reduction are one word, eight one copy of 16 bytes, if channels lie last."
layout       = "channels_last"
knobs.tile_p = [128, 64, 256, 32]
knobs.tile_k = [128, 64, 32]
# Blocks that share a tile's reduction (split.cuh), each at least one stage of it.
knobs.splits = [1, 2, 3, 4, 6, 8, 12, 16]
define.sums = "split_sums(gemm_tiles(tile_p, tile_k), tile_p * tile_k, splits)"
define.macs = "gemm_macs(tile_p, tile_k, 32)"
prefer.tile_p = "tensor_tile_p(2, multiprocessors)"
prefer.tile_k = "tensor_tile_k(2, multiprocessors)"
prefer.splits = "tensor_splits(2, multiprocessors)"
requires     = ["R <= 16 and S <= 16", "splits <= ceil_div(C // groups * R * S, 32)"]
constants    = []
grid         = "instances * gemm_tiles(tile_p, tile_k) * splits"
block        = "32 * (tile_p // warp_side(tile_p)) * (tile_k // warp_side(tile_k))"
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
    conv_tensor_half(const Layer layer, int instances, const T* x, const T* w, T* y,
                     float* workspace) {
  DYNAMIC_SHARED(Chunk, shared);
  tensor_gemm(layer, instances, x, w, y, workspace, shared);
}
