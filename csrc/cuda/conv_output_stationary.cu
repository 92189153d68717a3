/* Output-stationary convolution: partial sums stay in registers while channels and taps stream past.
[variant]
ops          = ["standard", "depthwise", "pointwise", "grouped", "fc"]
stationarity = "output"
fast         = false
arch         = ">=60"
dtypes       = ["fp32"]
teaches      = "A register tile of tile_p x tile_k sums divides weight reads by tile_p and input reads by tile_k; tile_c and taps decide how often sums travel to memory."
knobs.tile_p = [1, 2, 4, 8]
knobs.tile_k = [1, 2, 4, 8]
knobs.tile_c = "any"
knobs.taps   = "any"
knobs.window = [0, 1]
knobs.lanes  = ["p", "k"]
knobs.cache  = ["ca", "cg"]
knobs.warps  = [1, 2, 4, 8, 16]
constants    = ["R", "S", "stride_h", "stride_w", "dil_h", "dil_w"]
grid         = "ceil_div(instances * warp_turns(tile_p, tile_k, lanes == 'p'), warps)"
block        = "32 * warps"
shared       = "0"
requires     = [
  "tile_p * tile_k <= 32",
  "warps <= 8 or tile_p * tile_k <= 8",
  "tile_p <= row_length()",
  "tile_k <= K // groups",
  "tile_c <= C // groups",
  "taps == 1 or taps == S or taps == R * S",
  "window == 0 or (R * S > 1 and tile_p >= 2 and taps >= S and S <= 11)",
  "window == 0 or (dil_w == 1 and stride_w <= S)",
  "window == 0 or tile_k * (tile_p + S) <= 64",
]
counts.macs_executed = "K * (C // groups) * taps_inside()"
counts.weight_reads  = "K * (C // groups) * tiles_touched(tile_p)"
counts.input_reads   = "C * ceil_div(K // groups, tile_k) * (clipped_windows(tile_p) if window else taps_inside())"
counts.output_reads  = "N * K * P * Q * (ceil_div(C // groups, tile_c) * (R * S // taps) - 1)"
counts.output_writes = "N * K * P * Q * ceil_div(C // groups, tile_c) * (R * S // taps)"
*/
#include "box.cuh"

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

constexpr int chunk_R = taps == R * S ? R : 1, chunk_S = taps == 1 ? 1 : S;

__device__ __forceinline__ void stream_taps(float (&acc)[tile_k][tile_p], const Layer& layer, const Rows& rows,
                                            const Tile& tile, int c0, int r, int s0) {
  const int group_c = layer.C / layer.groups, w_k = group_c * R * S;
  DIBENCH_LOOP for (int s = s0; s < s0 + chunk_S; ++s) {
    const Span inside = inside_image(rows, tile, r, s);
    DIBENCH_STREAM for (int c = c0; c < min(c0 + tile_c, group_c); ++c) {
      const float* x = tile.x + x_offset(rows, tile, c, r, s);
      const float* w = tile.w + (c * R + r) * S + s;
      float x_now[tile_p];
      DIBENCH_HELD for (int i = 0; i < tile_p; ++i) x_now[i] = load_input<operand_level>(x + i * rows.x_step, inside.has(i));
      DIBENCH_HELD for (int k = 0; k < tile_k; ++k) {
        const bool used = k < tile.channels && !inside.empty();
        const float w_now = load_weight<operand_level>(w + k * w_k, used);
        DIBENCH_HELD for (int i = 0; i < tile_p; ++i)
          acc[k][i] = mac(acc[k][i], w_now, x_now[i], used && inside.has(i));
      }
    }
  }
}

__device__ __forceinline__ void stream_window(float (&acc)[tile_k][tile_p], const Layer& layer, const Rows& rows,
                                              const Tile& tile, int c0, int r) {
  const int group_c = layer.C / layer.groups, w_k = group_c * R * S;
  Span inside[S];  // of each tap: the positions it reaches
  DIBENCH_HELD for (int s = 0; s < S; ++s) inside[s] = inside_image(rows, tile, r, s);
  DIBENCH_LOOP for (int c = c0; c < min(c0 + tile_c, group_c); ++c) {
    const float* x = tile.x + x_offset(rows, tile, c, r, 0);
    const float* w = tile.w + (c * R + r) * S;
    float w_row[tile_k][S];
    DIBENCH_HELD for (int k = 0; k < tile_k; ++k)
      DIBENCH_HELD for (int s = 0; s < S; ++s)
        w_row[k][s] = load_weight<operand_level>(w + k * w_k + s, k < tile.channels && !inside[s].empty());
    DIBENCH_HELD for (int e = 0; e < (tile_p - 1) * stride_w + S; ++e) {  // elements of the window
      bool needed = false;
      DIBENCH_HELD for (int s = 0; s < S; ++s)
        if (e >= s && (e - s) % stride_w == 0 && (e - s) / stride_w < tile_p)
          needed = needed || inside[s].has((e - s) / stride_w);
      const float x_now = load_input<operand_level>(x + e, needed);
      DIBENCH_HELD for (int s = 0; s < S; ++s)
        if (e >= s && (e - s) % stride_w == 0 && (e - s) / stride_w < tile_p) {  // tap s meets e at position i
          const int i = (e - s) / stride_w;
          DIBENCH_HELD for (int k = 0; k < tile_k; ++k)
            acc[k][i] = mac(acc[k][i], w_row[k][s], x_now, k < tile.channels && inside[s].has(i));
        }
    }
  }
}

extern "C" __global__ void __launch_bounds__(32 * warps, 1)
    conv_output_stationary(const Layer layer, int instances, const float* x, const float* w, float* y) {
  const Rows rows = rows_of(layer);
  const Tiles tiles = tiles_of(layer, rows, tile_p, tile_k, instances);
  const int group_c = layer.C / layer.groups;
  DIBENCH_LOOP for (int turn = first_turn(); turn < tiles.turns; turn += turn_step()) {
    const Tile tile = tile_of(layer, rows, tiles, turn, {x, w, y});
    DIBENCH_LOOP for (int c0 = 0; c0 < group_c; c0 += tile_c)
      DIBENCH_LOOP for (int r0 = 0; r0 < R; r0 += chunk_R)
        DIBENCH_LOOP for (int s0 = 0; s0 < S; s0 += chunk_S) {
          const bool first = c0 == 0 && r0 == 0 && s0 == 0;
          float acc[tile_k][tile_p];
          DIBENCH_HELD for (int k = 0; k < tile_k; ++k)
            DIBENCH_HELD for (int i = 0; i < tile_p; ++i)
              acc[k][i] = load_partial(tile.y + k * rows.y_channel + i * rows.y_step,
                                       !first && k < tile.channels && i < tile.positions);
          DIBENCH_LOOP for (int r = r0; r < r0 + chunk_R; ++r) {
            if (window)
              stream_window(acc, layer, rows, tile, c0, r);
            else
              stream_taps(acc, layer, rows, tile, c0, r, s0);
          }
          DIBENCH_HELD for (int k = 0; k < tile_k; ++k)
            DIBENCH_HELD for (int i = 0; i < tile_p; ++i)
              store_output(tile.y + k * rows.y_channel + i * rows.y_step, acc[k][i],
                           k < tile.channels && i < tile.positions);
        }
  }
}
