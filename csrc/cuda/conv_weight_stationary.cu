/* Weight-stationary convolution: weights stay in registers while the positions of a row stream past.
[variant]
ops          = ["standard", "depthwise", "pointwise", "grouped", "fc"]
stationarity = "weight"
fast         = false
arch         = ">=60"
dtypes       = ["fp32"]
teaches      = "The same box as output-stationary costs the same reads and writes, but now every step moves partial sums through memory and the weights rest."
knobs.tile_p = "any"
knobs.tile_k = [1, 2, 4, 8]
knobs.tile_c = [1, 2, 4, 8]
knobs.taps   = "any"
knobs.lanes  = ["p", "k"]
knobs.cache  = ["ca", "cg"]
knobs.warps  = [1, 2, 4, 8, 16]
constants    = ["R", "S", "stride_h", "stride_w", "dil_h", "dil_w"]
grid         = "ceil_div(instances * warp_turns(tile_p, tile_k, lanes == 'p'), warps)"
block        = "32 * warps"
shared       = "0"
requires     = [
  "tile_k * tile_c * taps <= 32",
  "warps <= 8 or tile_k * tile_c * taps <= 16",
  "tile_p <= row_length()",
  "tile_k <= K // groups",
  "tile_c <= C // groups",
  "taps == 1 or taps == S or taps == R * S",
]
counts.macs_executed = "K * (C // groups) * taps_inside()"
counts.weight_reads  = "K * (C // groups) * tiles_touched(tile_p)"
counts.input_reads   = "C * ceil_div(K // groups, tile_k) * taps_inside()"
counts.output_reads  = "N * K * P * Q * (ceil_div(C // groups, tile_c) * (R * S // taps) - 1)"
counts.output_writes = "N * K * P * Q * ceil_div(C // groups, tile_c) * (R * S // taps)"
*/
#include "box.cuh"

// x[N][C][H][W] * w[K][C/groups][R][S] -> y[N][K][P][Q]
//
//   for each chunk of the reduction                held[k][c][r][s] <- w
//     for each position i of the tile                                 <- streams
//       sum[k] <- y[k][i]                          (0 for the first chunk)
//       sum[k] += held[k][c][r][s] * x[c][line + r][column + i * stride_w + s]
//       y[k][i] <- sum[k]                          k < tile_k, c < tile_c, taps r < R, s < S of the chunk

constexpr int chunk_R = taps == R * S ? R : 1, chunk_S = taps == 1 ? 1 : S;

extern "C" __global__ void __launch_bounds__(32 * warps, 1)
    conv_weight_stationary(const Layer layer, int instances, const float* x, const float* w, float* y) {
  const Rows rows = rows_of(layer);
  const Tiles tiles = tiles_of(layer, rows, tile_p, tile_k, instances);
  const int group_c = layer.C / layer.groups;
  DIBENCH_LOOP for (int turn = first_turn(); turn < tiles.turns; turn += turn_step()) {
    const Tile tile = tile_of(layer, rows, tiles, turn, {x, w, y});
    DIBENCH_LOOP for (int c0 = 0; c0 < group_c; c0 += tile_c)
      DIBENCH_LOOP for (int r0 = 0; r0 < R; r0 += chunk_R)
        DIBENCH_LOOP for (int s0 = 0; s0 < S; s0 += chunk_S) {
          const bool first = c0 == 0 && r0 == 0 && s0 == 0;
          Span inside[chunk_R][chunk_S];  // of each tap: the positions it reaches
          float held[tile_k][tile_c][chunk_R][chunk_S];
          DIBENCH_HELD for (int r = 0; r < chunk_R; ++r)
            DIBENCH_HELD for (int s = 0; s < chunk_S; ++s) {
              inside[r][s] = inside_image(rows, tile, r0 + r, s0 + s);
              DIBENCH_HELD for (int k = 0; k < tile_k; ++k)
                DIBENCH_HELD for (int c = 0; c < tile_c; ++c)
                  held[k][c][r][s] = load_weight<operand_level>(
                      tile.w + ((k * group_c + c0 + c) * R + r0 + r) * S + s0 + s,
                      k < tile.channels && c0 + c < group_c && !inside[r][s].empty());
            }
          DIBENCH_STREAM for (int i = 0; i < tile_p; ++i) {
            float sum[tile_k];
            DIBENCH_HELD for (int k = 0; k < tile_k; ++k)
              sum[k] = load_partial(tile.y + k * rows.y_channel + i * rows.y_step,
                                    !first && k < tile.channels && i < tile.positions);
            DIBENCH_HELD for (int c = 0; c < tile_c; ++c)
              DIBENCH_HELD for (int r = 0; r < chunk_R; ++r)
                DIBENCH_HELD for (int s = 0; s < chunk_S; ++s) {
                  const bool used = c0 + c < group_c && inside[r][s].has(i);
                  const float x_now = load_input<operand_level>(
                      tile.x + x_offset(rows, tile, c0 + c, r0 + r, s0 + s) + i * rows.x_step, used);
                  DIBENCH_HELD for (int k = 0; k < tile_k; ++k)
                    sum[k] = mac(sum[k], held[k][c][r][s], x_now, used && k < tile.channels);
                }
            DIBENCH_HELD for (int k = 0; k < tile_k; ++k)
              store_output(tile.y + k * rows.y_channel + i * rows.y_step, sum[k],
                           k < tile.channels && i < tile.positions);
          }
        }
  }
}
