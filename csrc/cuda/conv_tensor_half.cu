/* Convolution on tensor cores in fp16 or bf16: an implicit GEMM of m16n8k16 products with fp32 sums.
[variant]
ops          = ["standard", "pointwise", "grouped", "fc"]
stationarity = "output"
fast         = true
arch         = ">=80"
dtypes       = ["fp16", "bf16"]
teaches      = "Half the bytes and twice the multiply-adds of tf32 in one instruction, if two steps of the reduction lie in one word: weights do, inputs are paired on their way to shared memory."
knobs.tile_p = [128, 64]
knobs.tile_k = [128, 64]
# With fewer large tiles than some 100 multiprocessors, small ones keep more of them busy (not yet measured). Beside
# large tiles, shared memory has room for the offsets of 30 taps.
define.side = "128 if K // groups > 64 and R * S <= 30 and gemm_tiles(128, 128) >= 100 else 64"
define.shared_bytes = "8 * (24 * tile_k + 16 * (tile_p + 4)) + 256 * R * S"
define.macs = "gemm_macs(tile_p, tile_k, 32)"
prefer.tile_p = "side"
prefer.tile_k = "side"
requires     = ["tile_p == tile_k", "R <= 16 and S <= 16", "shared_bytes <= 49152"]
constants    = []
grid         = "instances * gemm_tiles(tile_p, tile_k)"
block        = "2 * tile_p"
shared       = "shared_bytes"
counts.macs_executed = "macs"
counts.weight_reads  = "K * (C // groups) * R * S * ceil_div(N * P * Q, tile_p) + macs // 32"
counts.input_reads   = "C * taps_inside() * ceil_div(K // groups, tile_k) + macs // (tile_k // 2)"
counts.output_reads  = "0"
counts.output_writes = "N * K * P * Q"
counts.weight_reads_shared = "macs // 32"
counts.input_reads_shared  = "macs // (tile_k // 2)"
*/
#include "layer.cuh"
//
#include "tensor_gemm.cuh"

extern "C" __global__ void __launch_bounds__(threads, 1)
    conv_tensor_half(const Layer layer, int instances, const T* x, const T* w, float* y) {
  DYNAMIC_SHARED(unsigned, shared);
  tensor_gemm(layer, instances, x, w, y, shared);
}
