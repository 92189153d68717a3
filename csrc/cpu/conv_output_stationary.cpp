/* Output-stationary convolution: partial sums stay in registers while channels and taps stream past.
[variant]
ops          = ["standard", "depthwise", "pointwise", "grouped", "fc"]
stationarity = "output"
fast         = false
teaches      = "A register tile of tile_p x tile_k sums divides weight reads by tile_p and input reads by tile_k; tile_c and taps decide how often sums travel to memory."
knobs.tile_p = [1, 2, 4, 8]
knobs.tile_k = [1, 2, 4, 8]
knobs.tile_c = "any"
knobs.taps   = "any"
knobs.window = [0, 1]
requires     = [
  "tile_p * tile_k <= 8",
  "tile_p <= row_length()",
  "tile_k <= K // groups",
  "tile_c <= C // groups",
  "taps == 1 or taps == S or taps == R * S",
  "window == 0 or (S in (3, 5, 7) and stride_w in (1, 2)) or (S == 11 and stride_w == 4)",
  "window == 0 or dil_w == 1",
  "window == 0 or taps >= S",
  "window == 0 or tile_p >= 2",
  "window == 0 or tile_k * (tile_p + S) <= 13",
]
counts.macs_executed = "K * (C // groups) * taps_inside()"
counts.weight_reads  = "K * (C // groups) * tiles_touched(tile_p)"
counts.input_reads   = "C * ceil_div(K // groups, tile_k) * (clipped_windows(tile_p) if window else taps_inside())"
counts.output_reads  = "N * K * P * Q * (ceil_div(C // groups, tile_c) * (R * S // taps) - 1)"
counts.output_writes = "N * K * P * Q * ceil_div(C // groups, tile_c) * (R * S // taps)"
*/
#include "box.h"

namespace dibench {
namespace {

// x[N][C][H][W] * w[K][C/groups][R][S] -> y[N][K][P][Q]
//
//   for each chunk of the reduction                  acc[k][i] <- y   (0 for the first chunk)
//     for each filter tap (r, s) of the chunk
//       for each channel c of the chunk                               <- streams
//         acc[k][i] += w[k][c][r][s] * x[c][line + r][column + i * stride_w + s]
//                                                    y <- acc[k][i]   k < tile_k, i < tile_p
//
// With `window` a step of the stream is a whole filter row: its weights are held while the inputs under
// it pass once, each serving every tap that it meets.

/// Steps of a stream and how far the operands move at each.
struct Stream {
  int64_t steps, x_step, w_step;
};

/// `edge`: channels or positions are missing, or padding takes some of the positions. Beside the sums,
/// registers hold whichever are fewer: a step's inputs or its weights.
/// Wide because it is the innermost loop: each argument is a register of its own.
template <bool edge, int tile_p, int tile_k>
DIBENCH_INLINE void stream_taps(float (&acc)[tile_k][tile_p], const float* x, int64_t x_position, const float* w,
                                int64_t w_k, Stream stream, Span inside, int64_t channels) {
  for (; stream.steps > 0; --stream.steps, x += stream.x_step, w += stream.w_step) {
    if constexpr (tile_p <= tile_k) {
      float x_now[tile_p];
      DIBENCH_UNROLL for (int i = 0; i < tile_p; ++i)
        x_now[i] = edge && !inside.contains(i) ? 0.0f : load_input(x + i * x_position);
      DIBENCH_UNROLL for (int k = 0; k < tile_k; ++k) {
        if (edge && k >= channels) continue;
        const float w_now = load_weight(w + k * w_k);
        DIBENCH_UNROLL for (int i = 0; i < tile_p; ++i)
          if (!edge || inside.contains(i)) acc[k][i] = mac(acc[k][i], w_now, x_now[i]);
      }
    } else {
      float w_now[tile_k];
      DIBENCH_UNROLL for (int k = 0; k < tile_k; ++k)
        w_now[k] = edge && k >= channels ? 0.0f : load_weight(w + k * w_k);
      DIBENCH_UNROLL for (int i = 0; i < tile_p; ++i) {
        if (edge && !inside.contains(i)) continue;
        const float x_now = load_input(x + i * x_position);
        DIBENCH_UNROLL for (int k = 0; k < tile_k; ++k)
          if (!edge || k < channels) acc[k][i] = mac(acc[k][i], w_now[k], x_now);
      }
    }
  }
}

template <int tile_p, int tile_k>
DIBENCH_INLINE void load_tile(float (&acc)[tile_k][tile_p], const Rows& rows, const Tile& tile, bool first) {
  DIBENCH_UNROLL for (int k = 0; k < tile_k; ++k)
    DIBENCH_UNROLL for (int i = 0; i < tile_p; ++i)
      acc[k][i] = first || k >= tile.channels || i >= tile.positions
                      ? 0.0f
                      : load_partial(tile.y + k * rows.y_channel + i * rows.y_step);
}

template <int tile_p, int tile_k>
DIBENCH_INLINE void store_tile(const float (&acc)[tile_k][tile_p], const Rows& rows, const Tile& tile) {
  DIBENCH_UNROLL for (int k = 0; k < tile_k; ++k)
    DIBENCH_UNROLL for (int i = 0; i < tile_p; ++i)
      if (k < tile.channels && i < tile.positions)
        store_output(tile.y + k * rows.y_channel + i * rows.y_step, acc[k][i]);
}

template <int tile_p, int tile_k>
__attribute__((noinline)) void box(const Layer& layer, const Rows& rows, const Tile& tile, const Chunk& chunk) {
  const bool whole = tile.positions == tile_p && tile.channels == tile_k;
  float acc[tile_k][tile_p];
  load_tile(acc, rows, tile, chunk.first);
  for (int64_t r = chunk.r_begin; r < chunk.r_end; ++r) {
    if (!inside_line(rows, layer, tile, r)) continue;
    for (int64_t s = chunk.s_begin; s < chunk.s_end; ++s) {
      const Span inside = inside_columns(rows, layer, tile, s);
      if (inside.empty()) continue;
      const float* x = tile.x + x_offset(rows, tile, chunk.c, r, s);
      const float* w = tile.w + chunk.c * rows.w_channel + r * layer.S + s;
      Stream stream = {chunk.channels, rows.x_channel, rows.w_channel};
      if (whole && inside.count() == tile_p) {
        if (chunk.channels == 1) {  // nothing to stream over but taps: all that follow in the interior
          stream = {1, rows.x_tap, 1};
          for (; s + 1 < chunk.s_end && inside_columns(rows, layer, tile, s + 1).count() == tile_p; ++s) ++stream.steps;
        }
        stream_taps<false>(acc, x, rows.x_step, w, rows.w_k, stream, inside, tile_k);
      } else {
        stream_taps<true>(acc, x, rows.x_step, w, rows.w_k, stream, inside, tile.channels);
      }
    }
  }
  store_tile(acc, rows, tile);
}

/// Whether element e of a window meets filter column s at one of the tile's positions.
constexpr bool meets(int e, int s, int stride, int tile_p) {
  return e >= s && (e - s) % stride == 0 && (e - s) / stride < tile_p;
}

/// `inside`: the elements of the window that lie in the image; `touched`: bit s where tap s meets one of
/// them at a position that exists. Both are used at an `edge` only.
/// Wide as stream_taps is.
template <bool edge, int tile_p, int tile_k, int S, int stride>
DIBENCH_INLINE void stream_windows(float (&acc)[tile_k][tile_p], const float* x, const float* w, int64_t w_k,
                                   Stream stream, Span inside, unsigned touched, const Tile& tile) {
  for (; stream.steps > 0; --stream.steps, x += stream.x_step, w += stream.w_step) {
    float w_row[tile_k][S];
    DIBENCH_UNROLL for (int k = 0; k < tile_k; ++k)
      DIBENCH_UNROLL for (int s = 0; s < S; ++s)
        w_row[k][s] = edge && (k >= tile.channels || !(touched >> s & 1)) ? 0.0f : load_weight(w + k * w_k + s);
    DIBENCH_UNROLL for (int e = 0; e < (tile_p - 1) * stride + S; ++e) {
      const int first_position = e < S ? 0 : (e - S) / stride + 1;
      if (edge && (!inside.contains(e) || first_position >= tile.positions)) continue;
      const float x_now = load_input(x + e);
      DIBENCH_UNROLL for (int s = 0; s < S; ++s)
        if (meets(e, s, stride, tile_p) && (!edge || (e - s) / stride < tile.positions))
          DIBENCH_UNROLL for (int k = 0; k < tile_k; ++k)
            if (!edge || k < tile.channels)
              acc[k][(e - s) / stride] = mac(acc[k][(e - s) / stride], w_row[k][s], x_now);
    }
  }
}

template <int tile_p, int tile_k, int S, int stride>
__attribute__((noinline)) void window_box(const Layer& layer, const Rows& rows, const Tile& tile, const Chunk& chunk) {
  const int64_t elements = (tile_p - 1) * stride + S;
  const Span inside = {tile.column < 0 ? -tile.column : 0,
                       tile.column + elements <= rows.width ? elements : rows.width - tile.column};
  const bool whole = tile.positions == tile_p && tile.channels == tile_k && inside.count() == elements;
  unsigned touched = 0;
  for (int s = 0; s < S; ++s) touched |= unsigned(!inside_columns(rows, layer, tile, s).empty()) << s;

  float acc[tile_k][tile_p];
  load_tile(acc, rows, tile, chunk.first);
  for (int64_t r = chunk.r_begin; r < chunk.r_end; ++r) {
    if (!inside_line(rows, layer, tile, r)) continue;
    const float* x = tile.x + x_offset(rows, tile, chunk.c, r, 0);
    const float* w = tile.w + chunk.c * rows.w_channel + r * S;
    Stream stream = {chunk.channels, rows.x_channel, rows.w_channel};
    if (chunk.channels == 1) {  // nothing to stream over but filter rows
      stream = {1, rows.x_line, S};
      for (; r + 1 < chunk.r_end && inside_line(rows, layer, tile, r + 1); ++r) ++stream.steps;
    }
    if (whole)
      stream_windows<false, tile_p, tile_k, S, stride>(acc, x, w, rows.w_k, stream, inside, touched, tile);
    else
      stream_windows<true, tile_p, tile_k, S, stride>(acc, x, w, rows.w_k, stream, inside, touched, tile);
  }
  store_tile(acc, rows, tile);
}

const struct {
  int tile_p, tile_k;
  BoxKernel* kernel;
} boxes[] = {
    {1, 1, box<1, 1>}, {1, 2, box<1, 2>}, {1, 4, box<1, 4>}, {1, 8, box<1, 8>}, {2, 1, box<2, 1>},
    {2, 2, box<2, 2>}, {2, 4, box<2, 4>}, {4, 1, box<4, 1>}, {4, 2, box<4, 2>}, {8, 1, box<8, 1>},
};

// tile_k * (tile_p + S) sums and weights are held: with input and product that fills 16 registers at 13.
const struct {
  int tile_p, tile_k, S, stride;
  BoxKernel* kernel;
} window_boxes[] = {
    {2, 1, 3, 1, window_box<2, 1, 3, 1>}, {2, 1, 3, 2, window_box<2, 1, 3, 2>}, {4, 1, 3, 1, window_box<4, 1, 3, 1>},
    {4, 1, 3, 2, window_box<4, 1, 3, 2>}, {8, 1, 3, 1, window_box<8, 1, 3, 1>}, {8, 1, 3, 2, window_box<8, 1, 3, 2>},
    {2, 2, 3, 1, window_box<2, 2, 3, 1>}, {2, 2, 3, 2, window_box<2, 2, 3, 2>}, {2, 1, 5, 1, window_box<2, 1, 5, 1>},
    {2, 1, 5, 2, window_box<2, 1, 5, 2>}, {4, 1, 5, 1, window_box<4, 1, 5, 1>}, {4, 1, 5, 2, window_box<4, 1, 5, 2>},
    {8, 1, 5, 1, window_box<8, 1, 5, 1>}, {8, 1, 5, 2, window_box<8, 1, 5, 2>}, {2, 1, 7, 1, window_box<2, 1, 7, 1>},
    {2, 1, 7, 2, window_box<2, 1, 7, 2>}, {4, 1, 7, 1, window_box<4, 1, 7, 1>}, {4, 1, 7, 2, window_box<4, 1, 7, 2>},
    {2, 1, 11, 4, window_box<2, 1, 11, 4>},
};

void run(const Launch& launch) {
  const Layer& l = launch.layer;
  const Box& b = launch.box;
  BoxKernel* kernel = nullptr;
  if (b.window && l.dil_w == 1 && b.taps >= l.S) {
    for (const auto& i : window_boxes)
      if (i.tile_p == b.tile_p && i.tile_k == b.tile_k && i.S == l.S && i.stride == l.stride_w) kernel = i.kernel;
  } else if (!b.window) {
    for (const auto& i : boxes)
      if (i.tile_p == b.tile_p && i.tile_k == b.tile_k) kernel = i.kernel;
  }
  for_each_box(launch, b, kernel);
}

}  // namespace
}  // namespace dibench

DIBENCH_VARIANT(conv_output_stationary, dibench::run, nullptr)
