/* Input-stationary convolution: inputs stay in registers while output channels stream past.
[variant]
ops          = ["standard", "depthwise", "pointwise", "grouped", "fc"]
stationarity = "input"
fast         = false
teaches      = "The third way to run one box: inputs rest, weights and partial sums stream; holding a sliding window instead of one input per tap saves the reads that neighbours share."
knobs.tile_p = [1, 2, 4, 8]
knobs.tile_k = "any"
knobs.tile_c = [1, 2, 4, 8]
knobs.taps   = [1, 3, 5, 7, 9]
knobs.window = [0, 1]
requires     = [
  "tile_p <= row_length()",
  "tile_k <= K // groups",
  "tile_c <= C // groups",
  "taps == 1 or (taps == S and S <= 7) or (taps == R * S and R == 3 and S == 3)",
  "window == 1 or tile_p * tile_c * taps <= 9",
  "window == 0 or (taps == S and tile_c == 1 and tile_p in (2, 4) and S in (3, 5, 7))",
  "window == 0 or stride_w in (1, 2)",
  "window == 0 or dil_w == 1",
  "window == 0 or (tile_p - 1) * stride_w + S <= 9",
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
//   for each chunk of the reduction          held[c][r][slot] <- x[c][line + r][column + ...]
//     for each output channel k of the tile                                     <- streams
//       sum[i] <- y[k][i]                    (0 for the first chunk)
//       sum[i] += w[k][c][r][s] * held[c][r][slot(i, s)]
//       y[k][i] <- sum[i]                    i < tile_p, c < tile_c, taps r < R, s < S of the chunk
//
// Without `window` (stride = 0 below) each tap of each position has its own slot, read by itself; with it
// the slots are the window's elements, and positions share them.

template <int S, int stride>
constexpr int slot(int i, int s) { return stride == 0 ? i * S + s : i * stride + s; }

/// No earlier position has read the same slot.
template <int S, int stride>
constexpr bool reads_slot(int i, int s) { return stride == 0 || i == 0 || s + stride >= S; }

/// Floats from one channel, output channel, position to the next.
struct Steps {
  int64_t w_channel, w_k, y_k, y_position;
};

/// Which taps of the chunk lie inside the image, and for which positions.
template <int R, int S>
struct Inside {
  bool line[R];
  Span columns[S];
};

/// The tile's output channels. `edge`: positions or channels are missing, or padding takes some of them.
/// Beside the inputs, registers hold whichever are fewer: the sums of an output channel or its weights.
template <bool edge, bool first, int stride, int tile_p, int tile_c, int R, int S, int slots>
DIBENCH_INLINE void stream_channels(const float (&held)[tile_c][R][slots], const float* w, float* y, Steps steps,
                                    const Inside<R, S>& inside, const Tile& tile, const Chunk& chunk) {
  const auto touches = [&](int c, int r, int s) {
    return !edge || (c < chunk.channels && inside.line[r] && !inside.columns[s].empty());
  };
  const auto sees = [&](int i, int c, int r, int s) {
    return !edge || (c < chunk.channels && inside.line[r] && inside.columns[s].contains(i));
  };
  for (int64_t k = 0; k < tile.channels; ++k, w += steps.w_k, y += steps.y_k) {
    if constexpr (tile_p <= tile_c * R * S) {
      float sum[tile_p];
      DIBENCH_UNROLL for (int i = 0; i < tile_p; ++i)
        sum[i] = first || (edge && i >= tile.positions) ? 0.0f : load_partial(y + i * steps.y_position);
      DIBENCH_UNROLL for (int c = 0; c < tile_c; ++c)
        DIBENCH_UNROLL for (int r = 0; r < R; ++r)
          DIBENCH_UNROLL for (int s = 0; s < S; ++s) {
            if (!touches(c, r, s)) continue;
            const float w_now = load_weight(w + c * steps.w_channel + r * S + s);
            DIBENCH_UNROLL for (int i = 0; i < tile_p; ++i)
              if (sees(i, c, r, s)) sum[i] = mac(sum[i], w_now, held[c][r][slot<S, stride>(i, s)]);
          }
      DIBENCH_UNROLL for (int i = 0; i < tile_p; ++i)
        if (!edge || i < tile.positions) store_output(y + i * steps.y_position, sum[i]);
    } else {
      float w_now[tile_c][R][S];
      DIBENCH_UNROLL for (int c = 0; c < tile_c; ++c)
        DIBENCH_UNROLL for (int r = 0; r < R; ++r)
          DIBENCH_UNROLL for (int s = 0; s < S; ++s)
            w_now[c][r][s] = touches(c, r, s) ? load_weight(w + c * steps.w_channel + r * S + s) : 0.0f;
      DIBENCH_UNROLL for (int i = 0; i < tile_p; ++i) {
        if (edge && i >= tile.positions) continue;
        float sum = first ? 0.0f : load_partial(y + i * steps.y_position);
        DIBENCH_UNROLL for (int c = 0; c < tile_c; ++c)
          DIBENCH_UNROLL for (int r = 0; r < R; ++r)
            DIBENCH_UNROLL for (int s = 0; s < S; ++s)
              if (sees(i, c, r, s)) sum = mac(sum, w_now[c][r][s], held[c][r][slot<S, stride>(i, s)]);
        store_output(y + i * steps.y_position, sum);
      }
    }
  }
}

template <int tile_p, int tile_c, int R, int S, int stride = 0>
__attribute__((noinline)) void box(const Layer& layer, const Rows& rows, const Tile& tile, const Chunk& chunk) {
  Inside<R, S> inside;
  bool whole = tile.positions == tile_p && chunk.channels == tile_c;
  for (int r = 0; r < R; ++r) {
    inside.line[r] = inside_line(rows, layer, tile, chunk.r_begin + r);
    whole = whole && inside.line[r];
  }
  for (int s = 0; s < S; ++s) {
    inside.columns[s] = inside_columns(rows, layer, tile, chunk.s_begin + s);
    whole = whole && inside.columns[s].count() == tile_p;
  }

  constexpr int slots = stride == 0 ? tile_p * S : (tile_p - 1) * stride + S;
  const float* x = tile.x + x_offset(rows, tile, chunk.c, chunk.r_begin, chunk.s_begin);
  float held[tile_c][R][slots] = {};
  DIBENCH_UNROLL for (int c = 0; c < tile_c; ++c)
    DIBENCH_UNROLL for (int r = 0; r < R; ++r)
      DIBENCH_UNROLL for (int i = 0; i < tile_p; ++i)
        DIBENCH_UNROLL for (int s = 0; s < S; ++s)
          if (reads_slot<S, stride>(i, s) && c < chunk.channels && inside.line[r] && inside.columns[s].contains(i))
            held[c][r][slot<S, stride>(i, s)] =
                load_input(x + c * rows.x_channel + r * rows.x_line + i * rows.x_step + s * rows.x_tap);

  const float* w = tile.w + chunk.c * rows.w_channel + chunk.r_begin * layer.S + chunk.s_begin;
  const Steps steps = {rows.w_channel, rows.w_k, rows.y_channel, rows.y_step};
  if (whole && chunk.first)
    stream_channels<false, true, stride, tile_p>(held, w, tile.y, steps, inside, tile, chunk);
  else if (whole)
    stream_channels<false, false, stride, tile_p>(held, w, tile.y, steps, inside, tile, chunk);
  else if (chunk.first)
    stream_channels<true, true, stride, tile_p>(held, w, tile.y, steps, inside, tile, chunk);
  else
    stream_channels<true, false, stride, tile_p>(held, w, tile.y, steps, inside, tile, chunk);
}

const struct {
  int tile_p, tile_c, R, S, stride;  // stride: of the window, 0 without
  BoxKernel* kernel;
} boxes[] = {
    {1, 1, 1, 1, 0, box<1, 1, 1, 1>},    {1, 2, 1, 1, 0, box<1, 2, 1, 1>},    {1, 4, 1, 1, 0, box<1, 4, 1, 1>},
    {1, 8, 1, 1, 0, box<1, 8, 1, 1>},    {2, 1, 1, 1, 0, box<2, 1, 1, 1>},    {2, 2, 1, 1, 0, box<2, 2, 1, 1>},
    {2, 4, 1, 1, 0, box<2, 4, 1, 1>},    {4, 1, 1, 1, 0, box<4, 1, 1, 1>},    {4, 2, 1, 1, 0, box<4, 2, 1, 1>},
    {8, 1, 1, 1, 0, box<8, 1, 1, 1>},    {1, 1, 1, 3, 0, box<1, 1, 1, 3>},    {1, 2, 1, 3, 0, box<1, 2, 1, 3>},
    {2, 1, 1, 3, 0, box<2, 1, 1, 3>},    {1, 1, 1, 5, 0, box<1, 1, 1, 5>},    {1, 1, 1, 7, 0, box<1, 1, 1, 7>},
    {1, 1, 3, 3, 0, box<1, 1, 3, 3>},    {2, 1, 1, 3, 1, box<2, 1, 1, 3, 1>}, {2, 1, 1, 3, 2, box<2, 1, 1, 3, 2>},
    {4, 1, 1, 3, 1, box<4, 1, 1, 3, 1>}, {4, 1, 1, 3, 2, box<4, 1, 1, 3, 2>}, {2, 1, 1, 5, 1, box<2, 1, 1, 5, 1>},
    {2, 1, 1, 5, 2, box<2, 1, 1, 5, 2>}, {4, 1, 1, 5, 1, box<4, 1, 1, 5, 1>}, {2, 1, 1, 7, 1, box<2, 1, 1, 7, 1>},
    {2, 1, 1, 7, 2, box<2, 1, 1, 7, 2>},
};

void run(const Launch& launch) {
  const Layer& l = launch.layer;
  const Box& b = launch.box;
  const bool all_taps = b.taps == l.R * l.S;
  const int64_t R = all_taps ? l.R : 1, S = b.taps == 1 ? 1 : l.S, stride = b.window ? l.stride_w : 0;
  BoxKernel* kernel = nullptr;
  for (const auto& i : boxes)
    if (i.tile_p == b.tile_p && i.tile_c == b.tile_c && i.R == R && i.S == S && i.R * i.S == b.taps &&
        i.stride == stride && (!b.window || l.dil_w == 1))
      kernel = i.kernel;
  for_each_box(launch, b, kernel);
}

}  // namespace
}  // namespace dibench

DIBENCH_VARIANT(conv_input_stationary, dibench::run, nullptr)
