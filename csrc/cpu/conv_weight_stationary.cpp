/* Weight-stationary convolution: weights stay in registers while the positions of a row stream past.
[variant]
ops          = ["standard", "depthwise", "pointwise", "grouped", "fc"]
stationarity = "weight"
fast         = false
teaches      = "The same box as output-stationary costs the same reads and writes, but now every step moves partial sums through memory and the weights rest."
knobs.tile_p = "any"
knobs.tile_k = [1, 2, 4, 8]
knobs.tile_c = [1, 2, 4, 8]
knobs.taps   = [1, 3, 5, 7, 9]
requires     = [
  "tile_k * tile_c * taps <= 9",
  "tile_p <= row_length()",
  "tile_k <= K // groups",
  "tile_c <= C // groups",
  "taps == 1 or (taps == S and S <= 7) or (taps == R * S and R == 3 and S == 3)",
  "taps == 1 or dil_w == 1",
]
counts.macs_executed = "K * (C // groups) * taps_inside()"
counts.weight_reads  = "K * (C // groups) * tiles_touched(tile_p)"
counts.input_reads   = "C * ceil_div(K // groups, tile_k) * taps_inside()"
counts.output_reads  = "N * K * P * Q * (ceil_div(C // groups, tile_c) * (R * S // taps) - 1)"
counts.output_writes = "N * K * P * Q * ceil_div(C // groups, tile_c) * (R * S // taps)"
*/
#include "box.h"

namespace dibench {
namespace {

// x[N][C][H][W] * w[K][C/groups][R][S] -> y[N][K][P][Q]
//
//   for each chunk of the reduction                held[k][c][r][s] <- w
//     for each position i of the tile                                 <- streams
//       sum <- y[k][i]                             (0 for the first chunk)
//       sum += held[k][c][r][s] * x[c][line + r][column + i * stride_w + s]
//       y[k][i] <- sum                             k < tile_k, c < tile_c, taps r < R, s < S of the chunk

/// Floats from one position, channel, filter row to the next.
struct Steps {
  int64_t x_position, x_channel, x_line, y_position, y_channel;
};

/// Which taps of the chunk lie inside the image, and for which positions.
template <int R, int S>
struct Inside {
  bool line[R];
  Span columns[S];
};

/// Positions begin .. end of the tile. `edge`: channels are missing, or some taps lie in the padding.
/// Beside the weights, registers hold whichever are fewer: the position's sums or its inputs.
/// Wide because it is the innermost loop: each argument is a register of its own.
template <bool edge, bool first, int tile_k, int tile_c, int R, int S>
DIBENCH_INLINE void stream_positions(const float (&held)[tile_k][tile_c][R][S], const float* x, float* y, Steps steps,
                                     int64_t begin, int64_t end, const Inside<R, S>& inside, const Tile& tile,
                                     const Chunk& chunk) {
  x += begin * steps.x_position;
  y += begin * steps.y_position;
  for (int64_t i = begin; i < end; ++i, x += steps.x_position, y += steps.y_position) {
    const auto sees = [&](int c, int r, int s) {
      return !edge || (c < chunk.channels && inside.line[r] && inside.columns[s].contains(i));
    };
    if constexpr (tile_k <= tile_c * R * S) {
      float sum[tile_k];
      DIBENCH_UNROLL for (int k = 0; k < tile_k; ++k)
        sum[k] = first || (edge && k >= tile.channels) ? 0.0f : load_partial(y + k * steps.y_channel);
      DIBENCH_UNROLL for (int c = 0; c < tile_c; ++c)
        DIBENCH_UNROLL for (int r = 0; r < R; ++r)
          DIBENCH_UNROLL for (int s = 0; s < S; ++s) {
            if (!sees(c, r, s)) continue;
            const float x_now = load_input(x + c * steps.x_channel + r * steps.x_line + s);
            DIBENCH_UNROLL for (int k = 0; k < tile_k; ++k)
              if (!edge || k < tile.channels) sum[k] = mac(sum[k], held[k][c][r][s], x_now);
          }
      DIBENCH_UNROLL for (int k = 0; k < tile_k; ++k)
        if (!edge || k < tile.channels) store_output(y + k * steps.y_channel, sum[k]);
    } else {
      float x_now[tile_c][R][S];
      DIBENCH_UNROLL for (int c = 0; c < tile_c; ++c)
        DIBENCH_UNROLL for (int r = 0; r < R; ++r)
          DIBENCH_UNROLL for (int s = 0; s < S; ++s)
            x_now[c][r][s] = sees(c, r, s) ? load_input(x + c * steps.x_channel + r * steps.x_line + s) : 0.0f;
      DIBENCH_UNROLL for (int k = 0; k < tile_k; ++k) {
        if (edge && k >= tile.channels) continue;
        float sum = first ? 0.0f : load_partial(y + k * steps.y_channel);
        DIBENCH_UNROLL for (int c = 0; c < tile_c; ++c)
          DIBENCH_UNROLL for (int r = 0; r < R; ++r)
            DIBENCH_UNROLL for (int s = 0; s < S; ++s)
              if (sees(c, r, s)) sum = mac(sum, held[k][c][r][s], x_now[c][r][s]);
        store_output(y + k * steps.y_channel, sum);
      }
    }
  }
}

template <int tile_k, int tile_c, int R, int S>
__attribute__((noinline)) void box(const Layer& layer, const Rows& rows, const Tile& tile, const Chunk& chunk) {
  // `whole` are the positions that see every tap.
  Inside<R, S> inside;
  Span whole = {0, tile.positions};
  if (tile.channels < tile_k || chunk.channels < tile_c) whole.last = 0;
  for (int r = 0; r < R; ++r) {
    inside.line[r] = inside_line(rows, layer, tile, chunk.r_begin + r);
    if (!inside.line[r]) whole.last = 0;
  }
  for (int s = 0; s < S; ++s) {
    inside.columns[s] = inside_columns(rows, layer, tile, chunk.s_begin + s);
    if (inside.columns[s].first > whole.first) whole.first = inside.columns[s].first;
    if (inside.columns[s].last < whole.last) whole.last = inside.columns[s].last;
  }
  if (whole.empty()) whole = {tile.positions, tile.positions};

  const float* w = tile.w + chunk.c * rows.w_channel + chunk.r_begin * layer.S + chunk.s_begin;
  float held[tile_k][tile_c][R][S];
  DIBENCH_UNROLL for (int k = 0; k < tile_k; ++k)
    DIBENCH_UNROLL for (int c = 0; c < tile_c; ++c)
      DIBENCH_UNROLL for (int r = 0; r < R; ++r)
        DIBENCH_UNROLL for (int s = 0; s < S; ++s)
          held[k][c][r][s] = k < tile.channels && c < chunk.channels && inside.line[r] && !inside.columns[s].empty()
                                 ? load_weight(w + k * rows.w_k + c * rows.w_channel + r * layer.S + s)
                                 : 0.0f;

  const float* x = tile.x + x_offset(rows, tile, chunk.c, chunk.r_begin, chunk.s_begin);
  const Steps steps = {rows.x_step, rows.x_channel, rows.x_line, rows.y_step, rows.y_channel};
  if (chunk.first) {
    stream_positions<true, true>(held, x, tile.y, steps, 0, whole.first, inside, tile, chunk);
    stream_positions<false, true>(held, x, tile.y, steps, whole.first, whole.last, inside, tile, chunk);
    stream_positions<true, true>(held, x, tile.y, steps, whole.last, tile.positions, inside, tile, chunk);
  } else {
    stream_positions<true, false>(held, x, tile.y, steps, 0, whole.first, inside, tile, chunk);
    stream_positions<false, false>(held, x, tile.y, steps, whole.first, whole.last, inside, tile, chunk);
    stream_positions<true, false>(held, x, tile.y, steps, whole.last, tile.positions, inside, tile, chunk);
  }
}

const struct {
  int tile_k, tile_c, R, S;
  BoxKernel* kernel;
} boxes[] = {
    {1, 1, 1, 1, box<1, 1, 1, 1>}, {1, 2, 1, 1, box<1, 2, 1, 1>}, {1, 4, 1, 1, box<1, 4, 1, 1>},
    {1, 8, 1, 1, box<1, 8, 1, 1>}, {2, 1, 1, 1, box<2, 1, 1, 1>}, {2, 2, 1, 1, box<2, 2, 1, 1>},
    {2, 4, 1, 1, box<2, 4, 1, 1>}, {4, 1, 1, 1, box<4, 1, 1, 1>}, {4, 2, 1, 1, box<4, 2, 1, 1>},
    {8, 1, 1, 1, box<8, 1, 1, 1>}, {1, 1, 1, 3, box<1, 1, 1, 3>}, {1, 2, 1, 3, box<1, 2, 1, 3>},
    {2, 1, 1, 3, box<2, 1, 1, 3>}, {1, 1, 1, 5, box<1, 1, 1, 5>}, {1, 1, 1, 7, box<1, 1, 1, 7>},
    {1, 1, 3, 3, box<1, 1, 3, 3>},
};

void run(const Launch& launch) {
  const Layer& l = launch.layer;
  const Box& b = launch.box;
  const bool all_taps = b.taps == l.R * l.S;
  const int64_t R = all_taps ? l.R : 1, S = b.taps == 1 ? 1 : l.S;
  BoxKernel* kernel = nullptr;
  for (const auto& i : boxes)
    if (i.tile_k == b.tile_k && i.tile_c == b.tile_c && i.R == R && i.S == S && i.R * i.S == b.taps &&
        (b.taps == 1 || l.dil_w == 1))
      kernel = i.kernel;
  for_each_box(launch, b, kernel);
}

}  // namespace
}  // namespace dibench

DIBENCH_VARIANT(conv_weight_stationary, dibench::run, nullptr)
