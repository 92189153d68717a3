/* Fully connected: y[n][k] is the dot product of two contiguous rows, x[n] and w[k]; sums stay in registers.

x[N][C], w[K][C], y[N][K]. A tile of 4 rows of w by up to batch_tile rows of x runs along C, a vector of the
reduction at a time, into one vector of partial sums for each pair, added up across lanes at the end. At N = 1
each weight serves one multiply-add: the layer takes the time that reading w once from memory takes, and several
rows at a time, each read from end to end, only keep enough reads under way. For larger N the reduction is cut into
chunks, so that the chunk's x stays in cache while all of w passes by.

[variant]
ops          = ["fc"]
stationarity = "output"
fast         = true
teaches      = "A matrix-vector product is a memory benchmark: there is no reuse of weights to gain."
requires     = ["pad_h + pad_w == 0"]
counts.macs_executed = "N * K * C"
counts.weight_reads  = "K * C * ceil_div(N, 6 if lanes == 16 else 3)"
counts.input_reads   = "N * C * ceil_div(K, 4)"
define.chunks = "1 if N == 1 else ceil_div(C, 2048)"
counts.output_reads  = "N * K * (chunks - 1)"
counts.output_writes = "N * K * chunks"
*/
#include <omp.h>

#include "access.h"
#include "kernel.h"

namespace dibench {
namespace {

constexpr int row_tile = 4;
constexpr int batch_tile = lanes == 16 ? 6 : 3;  // row_tile x batch_tile sums fill 32 or 16 registers
constexpr int64_t chunk_floats = 2048;           // row_tile rows of w of this length fill the first-level cache

/// Adds halves, then halves of those: fewer dependent additions than one lane after the other.
template <int DISTANCE = lanes / 2>
DIBENCH_INLINE float sum_of_lanes(vec v) {
  if constexpr (DISTANCE == 0) {
    return v[0];
  } else {
    typedef int lane_numbers __attribute__((vector_size(sizeof(vec))));
    lane_numbers partner = {};
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) partner[i] = i ^ DISTANCE;
    return sum_of_lanes<DISTANCE / 2>(v + __builtin_shuffle(v, partner));
  }
}

/// Adds up the lanes of `lanes` vectors at once, in the same order: lane i of the result is the sum of vector i. Each
/// step halves how many vectors there are, where one after the other would take as many steps for each.
template <int COUNT = lanes>
DIBENCH_INLINE vec sums_of_lanes(const vec* v) {
  if constexpr (COUNT == 1) {
    return v[0];
  } else {
    constexpr int half = COUNT / 2;
    typedef int lane_numbers __attribute__((vector_size(sizeof(vec))));
    lane_numbers first = {}, second = {};
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) {
      const int from = i & half ? lanes : 0;  // lanes from `lanes` on are those of the other vector
      first[i] = from + (i & ~half);
      second[i] = from + (i | half);
    }
    vec sum[half];
#pragma GCC unroll 16
    for (int i = 0; i < half; ++i)
      sum[i] = __builtin_shuffle(v[i], v[i + half], first) + __builtin_shuffle(v[i], v[i + half], second);
    return sums_of_lanes<half>(sum);
  }
}

/// y[n][k] (+)= dot(x[n], w[k]) over `depth` elements, for k < ROWS and n < BATCH.
template <int ROWS, int BATCH>
void dot_tile(const float* x, const float* w, int64_t C, float* y, int64_t K, int64_t depth, bool first) {
  vec sum[ROWS][BATCH] = {};
  int64_t c = 0;
  for (; c + lanes <= depth; c += lanes) {
    vec input[BATCH];
#pragma GCC unroll 8
    for (int n = 0; n < BATCH; ++n) input[n] = load_inputs(x + n * C + c);
#pragma GCC unroll 8
    for (int k = 0; k < ROWS; ++k) {
      const vec weight = load_weights(w + k * C + c);
#pragma GCC unroll 8
      for (int n = 0; n < BATCH; ++n) sum[k][n] = mac(sum[k][n], weight, input[n]);
    }
  }
  constexpr int pairs = ROWS * BATCH, most = (pairs + lanes - 1) / lanes * lanes;
  float total[most];  // [ROWS][BATCH]
  if constexpr (2 * pairs <= lanes) {
    for (int i = 0; i < pairs; ++i) total[i] = sum_of_lanes(sum[i / BATCH][i % BATCH]);
  } else {
    for (int i = 0; i < most; i += lanes) {
      vec some[lanes];
#pragma GCC unroll 16
      for (int j = 0; j < lanes; ++j) some[j] = i + j < pairs ? sum[(i + j) / BATCH][(i + j) % BATCH] : vec{};
      *(vec_unaligned*)(total + i) = sums_of_lanes(some);
    }
  }
  for (; c < depth; ++c) {
    float input[BATCH];
    for (int n = 0; n < BATCH; ++n) input[n] = load_input(x + n * C + c);
    for (int k = 0; k < ROWS; ++k) {
      const float weight = load_weight(w + k * C + c);
      for (int n = 0; n < BATCH; ++n) total[k * BATCH + n] = mac(total[k * BATCH + n], weight, input[n]);
    }
  }
  for (int k = 0; k < ROWS; ++k)
    for (int n = 0; n < BATCH; ++n) {
      float* out = y + n * K + k;
      const float part = total[k * BATCH + n];
      store_output(out, first ? part : load_partial(out) + part);
    }
}

/// dot_tile for a number of images known at run time, up to BATCH. Wide because it only hands on what dot_tile takes.
template <int ROWS, int BATCH = batch_tile>
void dot_tile_of(int64_t batch, const float* x, const float* w, int64_t C, float* y, int64_t K, int64_t depth,
                 bool first) {
  if constexpr (BATCH > 1) {
    if (batch < BATCH) return dot_tile_of<ROWS, BATCH - 1>(batch, x, w, C, y, K, depth, first);
  }
  dot_tile<ROWS, BATCH>(x, w, C, y, K, depth, first);
}

void run(const Launch& launch) {
  const Layer& l = launch.layer;
  if (l.pad_h + l.pad_w != 0) {  // the only input lies beside the only output's window
    *launch.unsupported = true;
    return;
  }
  const int64_t chunks = l.N == 1 ? 1 : (l.C + chunk_floats - 1) / chunk_floats;
  const int64_t tiles = (l.K + row_tile - 1) / row_tile;
#pragma omp parallel num_threads(launch.threads)
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t c = l.C * chunk / chunks, depth = l.C * (chunk + 1) / chunks - c;
#pragma omp for schedule(static) nowait
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t k = tile * row_tile, rows = l.K - k < row_tile ? l.K - k : row_tile;
      for (int64_t n = 0; n < l.N; n += batch_tile) {
        const int64_t batch = l.N - n < batch_tile ? l.N - n : batch_tile;
        const float *x = launch.x + n * l.C + c, *w = launch.w + k * l.C + c;
        float* y = launch.y + n * l.K + k;
        if (rows == row_tile) dot_tile_of<row_tile>(batch, x, w, l.C, y, l.K, depth, chunk == 0);
        else if (rows == 3) dot_tile_of<3>(batch, x, w, l.C, y, l.K, depth, chunk == 0);
        else if (rows == 2) dot_tile_of<2>(batch, x, w, l.C, y, l.K, depth, chunk == 0);
        else dot_tile_of<1>(batch, x, w, l.C, y, l.K, depth, chunk == 0);
      }
    }
  }
}

}  // namespace
}  // namespace dibench

DIBENCH_VARIANT(fc_dot, dibench::run, nullptr)
