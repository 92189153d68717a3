/* Depthwise convolution: rows of inputs lie in shared memory, a thread walks down one output column with the window in registers.
[variant]
ops          = ["depthwise"]
stationarity = "output"
fast         = true
arch         = ">=60"
dtypes       = ["fp32"]
teaches      = "With no channels to sum over, inputs can only be reused between neighbours: rows in the registers of one thread, columns through shared memory. Its copies are all under way at once, which is what DRAM needs."
knobs.tile_p = [7, 14, 28, 4]
# Longer strips read less twice and keep more under way, shorter ones fill a GPU that has little to do.
prefer.tile_p = "14 if P >= 14 and stride_h == 1 and N * K * P * Q >= 1000000 and fits(14) else 7 if P > 4 and N * K * P * Q >= 500000 and fits(7) else 4"
# Input rows inside the image that strips of tile_p output rows copy, each once per strip.
define."inside(first, last)" = "max(0, min(last, H) - max(first, 0))"
define."under(first, last)" = "inside(first * stride_h - pad_h, (last - 1) * stride_h - pad_h + R)"
define.lines = "sum(under(p, min(p + tile_p, P)) for p in range(0, P, tile_p))"
# Rows of the window that a thread reads: all at a strip's first output, then those that come in.
define.fresh = "min(stride_h, R)"
define.rows_read = "P * fresh + ceil_div(P, tile_p) * (R - fresh)"
define.together = "max(1, 128 // Q)"
define."strip_pitch(tile_p)" = "ceil_div(((tile_p - 1) * stride_h + R - 1) * W, 32) * 32 + W"
define."shared_bytes(tile_p)" = "4 * together * strip_pitch(tile_p)"
define."fits(tile_p)" = "shared_bytes(tile_p) <= 49152 and (tile_p <= 7 or R * S <= 25)"
requires     = ["dil_h == 1", "R * S <= 49", "tile_p <= 7 or R * S <= 25", "shared_bytes(tile_p) <= 49152"]
constants    = ["R", "S", "stride_h", "stride_w", "dil_w"]
grid         = "ceil_div(instances * N * K * ceil_div(P, tile_p), together)"
block        = "32 * min(8, ceil_div(together * Q, 32))"
shared       = "shared_bytes(tile_p)"
counts.macs_executed = "N * K * P * Q * R * S"
counts.weight_reads  = "N * K * R * S * ceil_div(P, tile_p) * min(Q, 256)"
counts.input_reads   = "N * K * (lines * W + rows_read * columns_inside())"
counts.output_reads  = "0"
counts.output_writes = "N * K * P * Q"
counts.weight_reads_shared = "0"
counts.input_reads_shared  = "N * K * rows_read * columns_inside()"
*/
#include "layer.cuh"
//
#include "async_copy.cuh"

// y[n][k][p][q] = sum over (r, s) of w[k][r][s] * x[n][k / (K/C)][p*stride_h - pad_h + r][q*stride_w - pad_w + s*dil_w]
//
//   a block takes `together` strips, each tile_p output rows of one plane (n, k), as many as about 128 threads span
//     the input rows under each strip go to shared memory, whole rows, all copies at once
//     a thread makes a column of a strip, tile_p outputs:       window[r][s] <- the inputs under the filter
//       from one output to the next the window moves down by stride_h rows, and only these are read
//
// The limit is DRAM, 8 bytes for R*S multiply-adds. It is never idle if some 31 KiB are under way on each multiprocessor of
// an H200: inputs that threads load for themselves, each three times through L1, made 5 of them. Copies pass by the
// registers, so all of a block's are under way at once, 3 to 6 KiB, and ten blocks of 128 threads fit. An output takes 27
// instructions at tile_p 14 (9 FFMA, 3 LDS, 1 STG; predicates, addresses), where DRAM leaves time for 50. Strides of 2 read
// two words of each bank: shared memory is busy nearly as long as DRAM. 48 registers for 3x3, up to 80 for 5x5 and 128 for
// 7x7; no spills, sm_60 to sm_120. On paper (`variants --limits`); not yet measured on a GPU.

constexpr int most_threads = 256;
constexpr int fresh = stride_h < R ? stride_h : R;  // rows that the window gains from one output to the next
constexpr int rows = (tile_p - 1) * stride_h + R;   // of inputs under a strip

/// Floats between the copies of two strips in shared memory. Lanes that end one row of outputs and begin the next, of
/// another strip, stay in neighbouring banks if it is W more than a multiple of 32.
__device__ __forceinline__ int strip_pitch(int W) { return ceil_div((rows - 1) * W, 32) * 32 + W; }

/// Starts the copy of `count` floats, V at a time, of which this is lane q of `lanes`.
template <typename V>
__device__ __forceinline__ void copy_rows(float* to, const float* from, int count, int q, int lanes) {
  constexpr int wide = sizeof(V) / sizeof(float);
  DIBENCH_STREAM for (int i = 0; i < ceil_div(count / wide, lanes); ++i) {
    const int e = (q + i * lanes) * wide;
    if (e < count) copy_input((V*)(to + e), (const V*)(from + e), true);
  }
}

extern "C" __global__ void __launch_bounds__(most_threads, R * S <= 9 ? 5 : R * S <= 25 ? 3 : 2)
    depthwise_window(const Layer layer, int instances, const float* __restrict__ x, const float* __restrict__ w,
                     float* __restrict__ y) {
  DYNAMIC_SHARED(float, shared);
  const int P = layer.P, Q = layer.Q, H = layer.H, W = layer.W, strips = ceil_div(P, tile_p);
  const int together = Q < 128 ? 128 / Q : 1;
  const int lanes = Q < most_threads ? Q : most_threads;  // threads of a strip
  const unsigned all = unsigned(instances) * unsigned(layer.N * layer.K) * unsigned(strips);
  const int own = threadIdx.x / lanes;
  float* const copy = shared + own * strip_pitch(W);
  DIBENCH_LOOP for (unsigned first = blockIdx.x * unsigned(together); first < all;
                    first += gridDim.x * unsigned(together)) {
    const unsigned strip = first + own;
    const bool busy = own < together && strip < all;
    const int plane = strip / strips, p0 = strip % strips * tile_p;  // planes of y, of all images of all instances
    const int image = plane / layer.K, k = plane % layer.K, c = k / (layer.K / layer.C);
    const int line = p0 * stride_h - layer.pad_h;  // under the strip's first output and tap
    const int outputs = P - p0 < tile_p ? P - p0 : tile_p;
    if (busy) {
      const int end = line + (outputs - 1) * stride_h + R;
      const int begin = line < 0 ? 0 : line, past = end < H ? end : H;
      const float* const from = x + ((long long)image * layer.C + c) * (H * W) + begin * W;
      float* const to = copy + (begin - line) * W;
      const int q = threadIdx.x % lanes, count = past > begin ? (past - begin) * W : 0;
      if (W % 4 == 0)
        copy_rows<float4>(to, from, count, q, lanes);
      else if (W % 2 == 0)
        copy_rows<float2>(to, from, count, q, lanes);
      else
        copy_rows<float>(to, from, count, q, lanes);
      // Rows on padding are 0.
      DIBENCH_LOOP for (int e = q; e < (begin - line) * W; e += lanes) copy[e] = 0.0f;
      DIBENCH_LOOP for (int e = (past - line) * W + q; e < (end - line) * W; e += lanes) copy[e] = 0.0f;
    }
    commit_copies();
    const float* const filter = w + image / layer.N * w_elements(layer) + k * (R * S);
    float w_held[R][S];
    DIBENCH_HELD for (int r = 0; r < R; ++r)
      DIBENCH_HELD for (int s = 0; s < S; ++s) w_held[r][s] = fetch_weight(filter + r * S + s, busy);
    wait_for_copies<0>();
    __syncthreads();  // all copies are there

    DIBENCH_LOOP for (int q = threadIdx.x % lanes; busy && q < Q; q += lanes) {
      const int column = q * stride_w - layer.pad_w;  // under tap s = 0
      float* const out = y + ((long long)plane * P + p0) * Q + q;
      float window[R][S];
      auto read_row = [&](int i, int r) {  // row r of the window of the strip's output i
        const float* const row = copy + (i * stride_h + r) * W + column;
        DIBENCH_HELD for (int s = 0; s < S; ++s)
          window[r][s] = load_input_shared(row + s * dil_w, i < outputs && unsigned(column + s * dil_w) < unsigned(W));
      };
      DIBENCH_HELD for (int r = 0; r < R - fresh; ++r) read_row(0, r);
      DIBENCH_HELD for (int i = 0; i < tile_p; ++i) {
        DIBENCH_HELD for (int r = R - fresh; r < R; ++r) read_row(i, r);
        float sum = 0.0f;
        DIBENCH_HELD for (int r = 0; r < R; ++r)
          DIBENCH_HELD for (int s = 0; s < S; ++s) sum = mac(sum, w_held[r][s], window[r][s], i < outputs);
        put_output(out + i * Q, sum, i < outputs);
        DIBENCH_HELD for (int r = 0; r < R - fresh; ++r)  // no instructions: the loop is unrolled, registers renamed
          DIBENCH_HELD for (int s = 0; s < S; ++s) window[r][s] = window[r + fresh][s];
      }
    }
    __syncthreads();  // and read: the next strips' may take their place
  }
}
