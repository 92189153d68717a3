/* Depthwise convolution: a thread walks down one output column with the filter's window of inputs in registers.
[variant]
ops          = ["depthwise"]
stationarity = "output"
fast         = true
arch         = ">=60"
dtypes       = ["fp32"]
teaches      = "With no channels to sum over, inputs can only be reused between neighbours: rows in the registers of one thread, columns through L1 between the lanes of a warp."
knobs.tile_p = [7, 14, 28, 4]
prefer.tile_p = "28 if P >= 28 and R * S <= 25 and N * K * P * Q >= 7340032 else 14 if P >= 14 and R * S <= 25 and N * K * P * Q >= 3670016 else 7 if P > 4 and N * K * P * Q >= 917504 else 4"
# Input rows inside the image that strips of tile_p output rows read, each once per strip: those under a strip, or, where
# strides leave rows out, those under each output row.
define."inside(first, last)" = "max(0, min(last, H) - max(first, 0))"
define."under(first, last)" = "inside(first * stride_h - pad_h, (last - 1) * stride_h - pad_h + R)"
define.lines = "sum(under(p, min(p + tile_p, P)) for p in range(0, P, tile_p)) if stride_h <= R else lines_inside()"
requires     = ["dil_h == 1", "R * S <= 49", "tile_p <= 7 or R * S <= 25"]
constants    = ["R", "S", "stride_h", "stride_w", "dil_w"]
grid         = "ceil_div(instances * N * K * ceil_div(P, tile_p) * Q, 128)"
block        = "128"
shared       = "0"
counts.macs_executed = "N * K * P * Q * R * S"
counts.weight_reads  = "N * K * R * S * ceil_div(P, tile_p) * Q"
counts.input_reads   = "N * K * lines * columns_inside()"
counts.output_reads  = "0"
counts.output_writes = "N * K * P * Q"
*/
#include "layer.cuh"
//
#include "access.cuh"

// y[n][k][p][q] = sum over (r, s) of w[k][r][s] * x[n][k / (K/C)][p*stride_h - pad_h + r][q*stride_w - pad_w + s*dil_w]
//
//   a thread makes tile_p outputs, one below the other:      window[r][s] <- the inputs under the filter
//     from one to the next the window moves down by stride_h rows, and only these are read
//
// Lanes stand side by side in q, then in p and in the planes (n, k): small images fill warps as well as large ones.
// Each input goes from L2 to a multiprocessor about once, and from L1 to registers S/stride_w times.
//
// The limit is DRAM, 8 bytes for R*S multiply-adds, as long as all instructions fit into its time: the DRAM of an H200
// feeds 2.6 outputs a cycle to a multiprocessor, which can issue 49 instructions for each. sm_90, 3x3, stride 1: 30 for an
// output (9 FFMA, 3 LDG, 1 STG; predicates, addresses) and 290 for a strip (divisions, weights, first rows), so 71 at
// tile_p 7, 51 at 14 and 40 at 28: strips are longer where enough threads are left.
// Registers: up to 60 for 3x3 (32 warps), 96 for 5x5 (20), 152 for 7x7 (12). No spills, sm_60 to sm_120. Not yet measured
// on a GPU.

constexpr int threads = 128;
constexpr int fresh = stride_h < R ? stride_h : R;  // rows that the window gains from one output to the next

extern "C" __global__ void __launch_bounds__(threads, R * S <= 9 ? 8 : R * S <= 25 ? 5 : 3)
    depthwise_window(const Layer layer, int instances, const float* x, const float* w, float* y) {
  const int strips = ceil_div(layer.P, tile_p);
  // Of all instances together. A launch has at most 2^31 threads: neither these nor one stride more overflow.
  const unsigned items = unsigned(instances) * unsigned(layer.N * layer.K) * unsigned(strips * layer.Q);
  DIBENCH_LOOP for (unsigned item = blockIdx.x * threads + threadIdx.x; item < items; item += gridDim.x * threads) {
    const int row = int(item / unsigned(layer.Q)), q = int(item % unsigned(layer.Q));
    const int plane = row / strips, p0 = row % strips * tile_p;  // planes of y, of all images of all instances
    const int image = plane / layer.K, k = plane % layer.K, c = k / (layer.K / layer.C);

    const float* const filter = w + image / layer.N * w_elements(layer) + k * (R * S);
    float w_held[R][S];
    DIBENCH_HELD for (int r = 0; r < R; ++r)
      DIBENCH_HELD for (int s = 0; s < S; ++s) w_held[r][s] = fetch_weight(filter + r * S + s);

    const int line = p0 * stride_h - layer.pad_h, column = q * stride_w - layer.pad_w;  // under tap (0, 0)
    const float* const corner = x + ((long long)image * layer.C + c) * (layer.H * layer.W) + line * layer.W + column;
    float window[R][S];
    auto read_row = [&](int i, int r) {  // row r of the window of the strip's output i
      const int down = i * stride_h + r;
      const bool wanted = unsigned(line + down) < unsigned(layer.H) && p0 + i < layer.P;
      const unsigned end = wanted ? layer.W : 0;  // so that each column takes one comparison; below 0 is far above W
      DIBENCH_HELD for (int s = 0; s < S; ++s)
        window[r][s] = fetch_input(corner + down * layer.W + s * dil_w, unsigned(column + s * dil_w) < end);
    };
    float* const out = y + ((long long)plane * layer.P + p0) * layer.Q + q;
    DIBENCH_HELD for (int r = 0; r < R - fresh; ++r) read_row(0, r);
    DIBENCH_HELD for (int i = 0; i < tile_p; ++i) {
      DIBENCH_HELD for (int r = R - fresh; r < R; ++r) read_row(i, r);
      const bool inside = p0 + i < layer.P;
      float sum = 0.0f;
      DIBENCH_HELD for (int r = 0; r < R; ++r)
        DIBENCH_HELD for (int s = 0; s < S; ++s) sum = mac(sum, w_held[r][s], window[r][s], inside);
      put_output(out + i * layer.Q, sum, inside);
      DIBENCH_HELD for (int r = 0; r < R - fresh; ++r)  // no instructions: the loop is unrolled, registers renamed
        DIBENCH_HELD for (int s = 0; s < S; ++s) window[r][s] = window[r + fresh][s];
    }
  }
}
