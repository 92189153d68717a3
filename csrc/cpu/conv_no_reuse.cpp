/* Convolution without reuse: every multiply-add reads both operands and updates its sum in memory.
[variant]
ops          = ["standard", "depthwise", "pointwise", "grouped", "fc"]
stationarity = "none"
fast         = false
teaches      = "The 1 x 1 x 1 corner of the reuse lattice: four accesses for every multiply-add, whatever the layer."
counts.macs_executed = "K * (C // groups) * taps_inside()"
counts.weight_reads  = "K * (C // groups) * taps_inside()"
counts.input_reads   = "K * (C // groups) * taps_inside()"
counts.output_reads  = "K * (C // groups) * taps_inside()"
counts.output_writes = "K * (C // groups) * taps_inside() + N * K * P * Q"
*/
#include "box.h"

namespace dibench {
namespace {

// x[N][C][H][W] * w[K][C/groups][R][S] -> y[N][K][P][Q]
//
//   y[k][i] <- 0                                     every position i of a row
//   for each filter tap (r, s), for each channel c
//     for each position i that tap (r, s) reaches
//       y[k][i] <- y[k][i] + w[k][c][r][s] * x[c][line + r][column + i * stride_w + s]
//
// Positions come innermost so that neighbouring multiply-adds update different sums: the time is that
// of the accesses, not that of waiting for the sum just stored.

__attribute__((noinline)) void box(const Layer& layer, const Rows& rows, const Tile& tile, const Chunk& chunk) {
  if (chunk.first)
    for (int64_t i = 0; i < tile.positions; ++i) store_output(tile.y + i * rows.y_step, 0.0f);
  if (!inside_line(rows, layer, tile, chunk.r_begin)) return;
  const Span inside = inside_columns(rows, layer, tile, chunk.s_begin);
  const float* w = tile.w + chunk.r_begin * layer.S + chunk.s_begin;
  for (int64_t c = 0; c < chunk.channels; ++c, w += rows.w_channel) {
    const float* x = tile.x + x_offset(rows, tile, c, chunk.r_begin, chunk.s_begin) + inside.first * rows.x_step;
    float* y = tile.y + inside.first * rows.y_step;
    for (int64_t i = inside.first; i < inside.last; ++i, x += rows.x_step, y += rows.y_step)
      store_output(y, mac(load_partial(y), load_weight(w), load_input(x)));
  }
}

void run(const Launch& launch) {
  // One tile is a row of one output channel: thread and order of sums are decided as for every variant.
  const Layer& l = launch.layer;
  for_each_box(launch, {rows_of(l).length, 1, l.C / l.groups, 1, 0}, box);
}

}  // namespace
}  // namespace dibench

DIBENCH_VARIANT(conv_no_reuse, dibench::run, nullptr)
