/* Depthwise convolution: a column of output rows, one vector wide, stays; input rows pass once per filter column.

   x [N][C][H][W], w [K][1][R][S], y [N][K][P][Q], K a multiple of C

There is no sum over channels, so an input is used by R*S multiply-adds and no more: loads are what
limits. A tile of T output rows needs (T-1)*stride_h + R input rows and not T*R; each is loaded once per
filter column s and updates every output row that it touches. Planes are copied with their padding
first (planes.h), so the inner loop knows neither edges nor a horizontal stride.

That takes the row distances to be constants: filters of 3, 5 or 7 rows, stride 1 or 2, no dilation of
rows. Every other layer loads one input vector per tap.

[variant]
ops          = ["depthwise"]
stationarity = "output"
fast         = true
teaches      = "A depthwise convolution is bound by loads: keep several output rows in registers and every input row serves up to R of them."
# Tiles of up to 8 output rows, for each strip of rows whose planes are copied at once.
define.strip = "strip_rows(P, plane_pitch(16), 6144)"
define.tiles = "P // strip * ceil_div(strip, 8) + ceil_div(P % strip, 8)"
# Input rows that the tiles load for one filter column.
define.constant = "R in (3, 5, 7) and stride_h <= 2 and dil_h == 1"
define.rows = "(P - tiles) * stride_h + tiles * R if constant else P * R"
counts.macs_executed = "N * K * P * ceil_div(Q, lanes) * lanes * R * S"
counts.weight_reads  = "N * K * tiles * ceil_div(Q, lanes) * R * S"
counts.input_reads   = "N * C * packing_reads(lanes, 6144, 16) + N * K * ceil_div(Q, lanes) * lanes * S * rows"
counts.output_reads  = "0"
counts.output_writes = "N * K * P * row_copy(Q, lanes)"
*/
#include <omp.h>

#include "planes.h"

namespace dibench {
namespace {

// Eight sums, the weights of a filter column and an input fit 16 registers for filters up to 7 rows.
constexpr int tile_rows = 8;

// Floats of a strip's planes: 24 KiB stay in the first-level cache.
constexpr int64_t strip_positions = 6144;

// Small strips are packed several at a time. A vector load soon after the narrower stores of the copy
// would have to wait until those have left the store buffer; this way they have.
constexpr int64_t max_batch = 8;
int64_t batch_of(const Planes& g) {
  return g.strips > 1 ? 1 : max_of(1, min_of(max_batch, strip_positions / g.channel));
}

/// One register tile. All distances are in floats.
struct Tile {
  const float* x;          // planes at the tile's first position
  const float* w;          // filter [R][S]
  float* y;                // first output
  int64_t pitch;           // from one row of a plane to the next
  int64_t odd_rows;        // from the plane of even input rows to that of odd ones (stride 2)
  int64_t y_row;           // from one output row to the next
  bool direct;             // y is the output itself, not scratch
  int64_t R, S;
  const int64_t* offsets;  // of the taps [R][S]
};

/// One filter column of T output rows; input row j touches output row i with tap r = j - i * Stride.
template <int T, int R, int Stride>
DIBENCH_INLINE void add_column(vec (&sum)[T], const Tile& t, int64_t s) {
  const float* column = t.x + t.offsets[s];
  vec weight[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) weight[r] = splat(load_weight(t.w + r * t.S + s));
#pragma GCC unroll 32
  for (int j = 0; j < (T - 1) * Stride + R; ++j) {
    const vec in = in_register(load_inputs(column + j % Stride * t.odd_rows + j / Stride * t.pitch));
#pragma GCC unroll 8
    for (int i = 0; i < T; ++i)
      if (j - i * Stride >= 0 && j - i * Stride < R) sum[i] = mac(sum[i], in, weight[j - i * Stride]);
  }
}

/// The same for any filter, stride and dilation: one load per tap and output row.
template <int T>
DIBENCH_INLINE void add_column_any(vec (&sum)[T], const Tile& t, int64_t s) {
  for (int64_t r = 0; r < t.R; ++r) {
    const float* tap = t.x + t.offsets[r * t.S + s];
    const vec weight = splat(load_weight(t.w + r * t.S + s));
#pragma GCC unroll 8
    for (int i = 0; i < T; ++i) sum[i] = mac(sum[i], load_inputs(tap + i * t.pitch), weight);
  }
}

/// T rows of `lanes` outputs each. R = 0: any filter.
template <int T, int R, int Stride>
void run_tile(const Tile& t) {
  vec sum[T] = {};
  for (int64_t s = 0; s < t.S; ++s) {
    if constexpr (R > 0) add_column<T, R, Stride>(sum, t, s);
    else add_column_any<T>(sum, t, s);
  }
  float* y = t.y;
  const int64_t row = t.y_row;
  const bool direct = t.direct;
#pragma GCC unroll 8
  for (int i = 0; i < T; ++i) {
    float* to = y + i * row;
    if (direct) store_outputs(to, sum[i]);
    else *(vec_unaligned*)to = sum[i];
  }
}

typedef void (*RunTile)(const Tile&);

/// The compiled tiles of 1..tile_rows rows for one kind of filter.
template <int R, int Stride>
constexpr RunTile tiles[tile_rows] = {
    run_tile<1, R, Stride>, run_tile<2, R, Stride>, run_tile<3, R, Stride>, run_tile<4, R, Stride>,
    run_tile<5, R, Stride>, run_tile<6, R, Stride>, run_tile<7, R, Stride>, run_tile<8, R, Stride>};

const RunTile* tiles_for(const Layer& l) {
  const bool near = l.dil_h == 1 && l.stride_h == 1, skip = l.dil_h == 1 && l.stride_h == 2;
  if (l.R == 3 && near) return tiles<3, 1>;
  if (l.R == 5 && near) return tiles<5, 1>;
  if (l.R == 7 && near) return tiles<7, 1>;
  if (l.R == 3 && skip) return tiles<3, 2>;
  if (l.R == 5 && skip) return tiles<5, 2>;
  if (l.R == 7 && skip) return tiles<7, 2>;
  return tiles<0, 0>;
}

// Scratch: the offsets of the taps, then for each thread the planes of a batch of strips, with a vector
// of slack because a row shorter than a vector is read beyond its end, and a tile of such rows.
struct Scratch { int64_t offsets, planes, rows; };
Scratch make_scratch(const Planes& g, const Layer& l) {
  const int64_t line = 16;  // floats
  return {ceil_div(2 * l.R * l.S, line) * line, ceil_div(batch_of(g) * g.channel + lanes, line) * line,
          tile_rows * lanes};
}

/// One strip of one channel, planes -> y [P][Q] of one output channel.
void run_strip(const Layer& l, const Planes& g, const RunTile* run_tiles, int64_t rows, const float* planes,
               float* y, Tile& t) {
  const int64_t blocks = ceil_div(rows, tile_rows), vectors = ceil_div(l.Q, lanes);
  for (int64_t block = 0; block < blocks; ++block) {
    const Part p = part_of(rows, blocks, block);
    const float* x = planes + p.begin * g.pitch;
    float* to = y + p.begin * l.Q;
    if (t.direct) {
      for (int64_t i = 0; i < vectors; ++i) {
        const int64_t q = min_of(i * lanes, l.Q - lanes);  // the last vector moves back
        t.x = x + q;
        t.y = to + q;
        run_tiles[p.size - 1](t);
      }
    } else {  // rows shorter than a vector go through scratch
      t.x = x;
      run_tiles[p.size - 1](t);
      copy_outputs<lanes / 2>(to, t.y, l.Q, {p.size, l.Q, lanes});
    }
  }
}

void run(const Launch& a) {
  const Layer& l = a.layer;
  const Planes g = make_planes(l, strip_positions, 16);
  const Scratch sizes = make_scratch(g, l);
  const RunTile* run_tiles = tiles_for(l);
  const int64_t multiplier = l.K / l.C, batch = batch_of(g);
  int64_t* offsets = (int64_t*)a.scratch;
  tap_offsets(g, l, offsets);

#pragma omp parallel num_threads(a.threads)
  {
    float* planes = a.scratch + sizes.offsets + omp_get_thread_num() * (sizes.planes + sizes.rows);
    __builtin_memset(planes, 0, size_t(sizes.planes) * sizeof(float));
    Tile t = {};
    t.y = planes + sizes.planes;
    t.pitch = g.pitch;
    t.odd_rows = g.phases_w * g.plane;
    t.direct = l.Q >= lanes;
    t.y_row = t.direct ? l.Q : lanes;
    t.R = l.R;
    t.S = l.S;
    t.offsets = offsets;
    // Strips of all channels of all images in order, in equal shares; a batch is of whole channels.
    const Part mine = part_of(l.N * l.C * g.strips, omp_get_num_threads(), omp_get_thread_num());
    const int64_t end = mine.begin + mine.size;
    for (int64_t first = mine.begin; first < end; first += batch) {
      const int64_t channels = min_of(batch, end - first);
      const int64_t image = first / g.strips, first_row = first % g.strips * g.rows;  // image = n * C + c
      const int64_t rows = min_of(g.rows, l.P - first_row);
      pack_planes(g, l, a.x + image * l.H * l.W, channels, first_row, rows, planes);
      for (int64_t i = 0; i < channels * multiplier; ++i) {
        const int64_t output = image * multiplier + i;  // n * K + k
        t.w = a.w + output % l.K * l.R * l.S;
        run_strip(l, g, run_tiles, rows, planes + i / multiplier * g.channel,
                  a.y + (output * l.P + first_row) * l.Q, t);
      }
    }
  }
}

int64_t scratch_floats(const Launch& a) {
  const Scratch sizes = make_scratch(make_planes(a.layer, strip_positions, 16), a.layer);
  return sizes.offsets + a.threads * (sizes.planes + sizes.rows);
}

}  // namespace
}  // namespace dibench

DIBENCH_VARIANT(depthwise_row_stencil, dibench::run, dibench::scratch_floats)
