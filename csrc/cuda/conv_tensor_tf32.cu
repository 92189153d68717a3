/* Convolution on tensor cores in tf32: an implicit GEMM of m16n8k8 products, floats in and out.
[variant]
ops          = ["standard", "pointwise", "grouped", "fc"]
stationarity = "output"
fast         = true
arch         = ">=80"
dtypes       = ["tf32"]
teaches      = "tf32 keeps float's range and 10 bits of mantissa: inputs stay floats in memory and are rounded once, on their way to shared memory."
knobs.tile_p = [128, 64]
knobs.tile_k = [128, 64]
# With fewer large tiles than some 100 multiprocessors, small ones keep more of them busy (not yet measured). Beside
# large tiles, shared memory has room for the offsets of 60 taps.
define.side = "128 if K // groups > 64 and R * S <= 60 and gemm_tiles(128, 128) >= 100 else 64"
define.shared_bytes = "8 * (24 * tile_k + 16 * (tile_p + 4)) + 128 * R * S"
define.macs = "gemm_macs(tile_p, tile_k, 16)"
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
    conv_tensor_tf32(const Layer layer, int instances, const T* x, const T* w, float* y) {
  DYNAMIC_SHARED(unsigned, shared);
  tensor_gemm(layer, instances, x, w, y, shared);
}
