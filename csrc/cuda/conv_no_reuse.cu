/* Convolution without reuse: every multiply-add reads both operands and updates its sum in memory.
[variant]
ops          = ["standard", "depthwise", "pointwise", "grouped", "fc"]
stationarity = "none"
fast         = false
arch         = ">=60"
dtypes       = ["fp32"]
teaches      = "The 1 x 1 x 1 corner of the reuse lattice: four accesses for every multiply-add, whatever the layer."
knobs.lanes  = ["p", "k"]
knobs.cache  = ["ca", "cg"]
knobs.warps  = [1, 2, 4, 8, 16]
constants    = ["R", "S", "stride_h", "stride_w", "dil_h", "dil_w"]
grid         = "ceil_div(instances * warp_turns(1, 1, lanes == 'p'), warps)"
block        = "32 * warps"
shared       = "0"
counts.macs_executed = "K * (C // groups) * taps_inside()"
counts.weight_reads  = "K * (C // groups) * taps_inside()"
counts.input_reads   = "K * (C // groups) * taps_inside()"
counts.output_reads  = "K * (C // groups) * taps_inside()"
counts.output_writes = "K * (C // groups) * taps_inside() + N * K * P * Q"
*/
#include "box.cuh"

// x[N][C][H][W] * w[K][C/groups][R][S] -> y[N][K][P][Q]
//
//   y[k][q] <- 0                                     one position and one channel to a thread
//   for each filter tap (r, s), for each channel c
//     y[k][q] <- y[k][q] + w[k][c][r][s] * x[c][line + r][column + s]
//
// A thread waits for its own sum to come back from memory at every step; the other warps of the
// multiprocessor fill the time.
extern "C" __global__ void __launch_bounds__(32 * warps, 1)
    conv_no_reuse(const Layer layer, int instances, const float* x, const float* w, float* y) {
  const Rows rows = rows_of(layer);
  const Tiles tiles = tiles_of(layer, rows, 1, 1, instances);
  const int group_c = layer.C / layer.groups;
  DIBENCH_LOOP for (int turn = first_turn(); turn < tiles.turns; turn += turn_step()) {
    const Tile tile = tile_of(layer, rows, tiles, turn, {x, w, y});
    store_output(tile.y, 0.0f, tile.positions > 0);
    DIBENCH_LOOP for (int r = 0; r < R; ++r)
      DIBENCH_LOOP for (int s = 0; s < S; ++s) {
        const bool inside = inside_image(rows, tile, r, s).has(0);
        DIBENCH_STREAM for (int c = 0; c < group_c; ++c) {
          const float sum = load_partial(tile.y, inside);
          const float w_now = load_weight<operand_level>(tile.w + (c * R + r) * S + s, inside);
          const float x_now = load_input<operand_level>(tile.x + x_offset(rows, tile, c, r, s), inside);
          store_output(tile.y, mac(sum, w_now, x_now, inside), inside);
        }
      }
  }
}
