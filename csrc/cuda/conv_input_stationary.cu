/* Input-stationary convolution: inputs stay in registers while output channels stream past.
[variant]
ops          = ["standard", "depthwise", "pointwise", "grouped", "fc"]
stationarity = "input"
fast         = false
arch         = ">=60"
dtypes       = ["fp32"]
teaches      = "The third way to run one box: inputs rest, weights and partial sums stream; holding a sliding window instead of one input per tap saves the reads that neighbours share."
knobs.tile_p = [1, 2, 4, 8]
knobs.tile_k = "any"
knobs.tile_c = [1, 2, 4, 8]
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
  "tile_p <= row_length()",
  "tile_k <= K // groups",
  "tile_c <= C // groups",
  "taps == 1 or taps == S or taps == R * S",
  "window == 1 or tile_p * tile_c * taps <= 32",
  "warps <= 8 or tile_p * tile_c * taps <= 16",
  "window == 0 or (R * S > 1 and tile_p >= 2 and taps >= S and dil_w == 1 and stride_w <= S)",
  "window == 0 or ((tile_p - 1) * stride_w + S) * tile_c * (taps // S) <= 32",
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
//   for each chunk of the reduction          held[c][r][slot] <- x[c][line + r][column + ...]
//     for each output channel k of the tile                                     <- streams
//       sum[i] <- y[k][i]                    (0 for the first chunk)
//       sum[i] += w[k][c][r][s] * held[c][r][slot(i, s)]
//       y[k][i] <- sum[i]                    i < tile_p, c < tile_c, taps r < R, s < S of the chunk
//
// Without `window` each tap of each position has its own slot, read by itself; with it the slots are the
// window's elements, and positions share them.

constexpr int chunk_R = taps == R * S ? R : 1, chunk_S = taps == 1 ? 1 : S;
constexpr int slots = window ? (tile_p - 1) * stride_w + chunk_S : tile_p * chunk_S;

__device__ __forceinline__ constexpr int slot(int i, int s) { return window ? i * stride_w + s : i * chunk_S + s; }

/// No earlier position that exists has read the slot: the first to need it loads it.
__device__ __forceinline__ constexpr bool reads_slot(int i, int s) { return !window || i == 0 || s + stride_w >= chunk_S; }

extern "C" __global__ void __launch_bounds__(32 * warps, 1)
    conv_input_stationary(const Layer layer, int instances, const float* x, const float* w, float* y) {
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
          float held[tile_c][chunk_R][slots];
          DIBENCH_HELD for (int r = 0; r < chunk_R; ++r) {
            DIBENCH_HELD for (int s = 0; s < chunk_S; ++s) inside[r][s] = inside_image(rows, tile, r0 + r, s0 + s);
            DIBENCH_HELD for (int c = 0; c < tile_c; ++c)
              DIBENCH_HELD for (int i = 0; i < tile_p; ++i)
                DIBENCH_HELD for (int s = 0; s < chunk_S; ++s)
                  if (reads_slot(i, s))
                    held[c][r][slot(i, s)] = load_input<operand_level>(
                        tile.x + x_offset(rows, tile, c0 + c, r0 + r, s0 + s) + i * rows.x_step,
                        c0 + c < group_c && inside[r][s].has(i));
          }
          DIBENCH_STREAM for (int k = 0; k < tile_k; ++k) {
            float sum[tile_p];
            DIBENCH_HELD for (int i = 0; i < tile_p; ++i)
              sum[i] = load_partial(tile.y + k * rows.y_channel + i * rows.y_step,
                                    !first && k < tile.channels && i < tile.positions);
            DIBENCH_HELD for (int c = 0; c < tile_c; ++c)
              DIBENCH_HELD for (int r = 0; r < chunk_R; ++r)
                DIBENCH_HELD for (int s = 0; s < chunk_S; ++s) {
                  const bool used = k < tile.channels && c0 + c < group_c && !inside[r][s].empty();
                  const float w_now =
                      load_weight<operand_level>(tile.w + ((k * group_c + c0 + c) * R + r0 + r) * S + s0 + s, used);
                  DIBENCH_HELD for (int i = 0; i < tile_p; ++i)
                    sum[i] = mac(sum[i], w_now, held[c][r][slot(i, s)], used && inside[r][s].has(i));
                }
            DIBENCH_HELD for (int i = 0; i < tile_p; ++i)
              store_output(tile.y + k * rows.y_channel + i * rows.y_step, sum[i],
                           k < tile.channels && i < tile.positions);
          }
        }
  }
}
