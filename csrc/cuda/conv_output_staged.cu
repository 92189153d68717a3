/* Output-stationary convolution whose operands come by way of shared memory, each at will.
[variant]
ops          = ["standard", "depthwise", "pointwise", "grouped", "fc"]
stationarity = "output"
fast         = false
arch         = ">=60"
dtypes       = ["fp32"]
teaches      = "Staging moves reads from the caches to shared memory: a block reads each operand once for all its tiles, and pays with barriers and a second read."
knobs.tile_p = [1, 2, 4, 8]
knobs.tile_k = [1, 2, 4, 8]
knobs.tile_c = "any"
knobs.taps   = "any"
knobs.stage_w = [0, 1]
knobs.stage_x = [0, 1]
knobs.lanes  = ["p", "k"]
knobs.cache  = ["ca", "cg"]
knobs.warps  = [1, 2, 4, 8]
# Blocks that cover an instance, and one group: of so many tiles of positions, and of channels.
define."p_blocks(tiles)" = "ceil_div(position_tiles(tile_p), tiles)"
define."k_blocks(tiles)" = "ceil_div(ceil_div(K // groups, tile_k), tiles)"
constants    = ["R", "S", "stride_h", "stride_w", "dil_h", "dil_w"]
grid         = "instances * groups * k_blocks(warps if lanes == 'p' else 32) * p_blocks(32 if lanes == 'p' else warps)"
block        = "32 * warps"
shared       = "0"
requires     = [
  "tile_p * tile_k <= 32",
  "stage_w + stage_x >= 1",
  "tile_p <= row_length()",
  "tile_k <= K // groups",
  "tile_c <= C // groups",
  "taps == 1 or taps == S or taps == R * S",
]
counts.macs_executed = "K * (C // groups) * taps_inside()"
counts.weight_reads  = "K * (C // groups) * (tiles_touched(tile_p) + stage_w * R * S * p_blocks(warp if lanes == 'p' else warps))"
counts.weight_reads_shared = "stage_w * K * (C // groups) * tiles_touched(tile_p)"
counts.input_reads   = "C * taps_inside() * (ceil_div(K // groups, tile_k) + stage_x * k_blocks(warps if lanes == 'p' else warp))"
counts.input_reads_shared = "stage_x * C * taps_inside() * ceil_div(K // groups, tile_k)"
counts.output_reads  = "N * K * P * Q * (ceil_div(C // groups, tile_c) * (R * S // taps) - 1)"
counts.output_writes = "N * K * P * Q * ceil_div(C // groups, tile_c) * (R * S // taps)"
*/
#include "box.cuh"

// x[N][C][H][W] * w[K][C/groups][R][S] -> y[N][K][P][Q]
//
// A block is block_p x block_k tiles, one to a thread: 32 along the dimension that lanes span, a warp each along
// the other. For one filter tap and stage_c channels it copies into shared memory
//
//   w_stage[c][k][channel tile]  <- w[k][c][r][s]       read by the block_p threads of that channel tile
//   x_stage[c][i][position tile] <- x[c][line + r][column + i * stride_w + s]     by the block_k threads
//
// and then every thread streams them past its tile_k x tile_p sums. The tile is the last index so that the lanes
// of a warp write and read neighbouring banks, or all the same word.

constexpr int chunk_R = taps == R * S ? R : 1, chunk_S = taps == 1 ? 1 : S;
constexpr int stage_c = 8;  // channels between barriers: they cost about as much as one step of the stream
constexpr int block_p = lanes == lanes_p ? warp_lanes : warps, block_k = lanes == lanes_p ? warps : warp_lanes;

// Long because it is one nest of loops around two barriers, in which all threads of a block stay together.
extern "C" __global__ void __launch_bounds__(32 * warps, 1)
    conv_output_staged(const Layer layer, int instances, const float* x, const float* w, float* y) {
  __shared__ float w_stage[stage_w ? stage_c : 1][stage_w ? tile_k : 1][stage_w ? block_k : 1];
  __shared__ float x_stage[stage_x ? stage_c : 1][stage_x ? tile_p : 1][stage_x ? block_p : 1];
  const Rows rows = rows_of(layer);
  const Tiles tiles = tiles_of(layer, rows, tile_p, tile_k, instances);
  const int group_c = layer.C / layer.groups, w_k = group_c * R * S;
  const int p_blocks = ceil_div(rows.count * tiles.p_tiles, block_p), k_blocks = ceil_div(tiles.k_tiles, block_k);
  const int blocks = layer.groups * k_blocks * p_blocks;
  const int my_p = lanes == lanes_p ? lane() : warp(), my_k = lanes == lanes_p ? warp() : lane();
  DIBENCH_LOOP for (int block = first_block(); block < instances_of(instances) * blocks; block += block_step()) {
    const int channel_block = block % blocks / p_blocks;
    const Place place = {block / blocks, block % p_blocks * block_p + my_p, channel_block / k_blocks,
                         channel_block % k_blocks * block_k + my_k};
    const Tile tile = tile_at(layer, rows, tiles, place, {x, w, y});
    DIBENCH_LOOP for (int c0 = 0; c0 < group_c; c0 += tile_c)
      DIBENCH_LOOP for (int r0 = 0; r0 < R; r0 += chunk_R)
        DIBENCH_LOOP for (int s0 = 0; s0 < S; s0 += chunk_S) {
          const bool first = c0 == 0 && r0 == 0 && s0 == 0;
          const int c_end = min(c0 + tile_c, group_c);
          float acc[tile_k][tile_p];
          DIBENCH_HELD for (int k = 0; k < tile_k; ++k)
            DIBENCH_HELD for (int i = 0; i < tile_p; ++i)
              acc[k][i] = load_partial(tile.y + k * rows.y_channel + i * rows.y_step,
                                       !first && k < tile.channels && i < tile.positions);
          DIBENCH_LOOP for (int r = r0; r < r0 + chunk_R; ++r)
            DIBENCH_LOOP for (int s = s0; s < s0 + chunk_S; ++s) {
              const Span inside = inside_image(rows, tile, r, s);
              DIBENCH_LOOP for (int c1 = c0; c1 < c_end; c1 += stage_c) {
                const int channels = min(stage_c, c_end - c1);
                __syncthreads();  // the stage is no longer read
                // The threads that share a channel tile divide its channels among them, and so for positions:
                // each element is copied once, by a thread that knows where it lies anyway.
                if (stage_w)
                  DIBENCH_LOOP for (int c = my_p; c < stage_c; c += block_p)
                    DIBENCH_HELD for (int k = 0; k < tile_k; ++k)
                      w_stage[c][k][my_k] = load_weight<operand_level>(
                          tile.w + k * w_k + ((c1 + c) * R + r) * S + s, k < tile.channels && c < channels);
                if (stage_x)
                  DIBENCH_LOOP for (int c = my_k; c < stage_c; c += block_k)
                    DIBENCH_HELD for (int i = 0; i < tile_p; ++i)
                      x_stage[c][i][my_p] = load_input<operand_level>(
                          tile.x + x_offset(rows, tile, c1 + c, r, s) + i * rows.x_step,
                          inside.has(i) && c < channels);
                __syncthreads();  // the stage is complete
                DIBENCH_LOOP for (int c = 0; c < channels; ++c) {
                  float x_now[tile_p];
                  DIBENCH_HELD for (int i = 0; i < tile_p; ++i) {
                    const bool used = tile.channels > 0 && inside.has(i);
                    if (stage_x)
                      x_now[i] = load_input_shared(&x_stage[c][i][my_p], used);
                    else
                      x_now[i] = load_input<operand_level>(
                          tile.x + x_offset(rows, tile, c1 + c, r, s) + i * rows.x_step, used);
                  }
                  DIBENCH_HELD for (int k = 0; k < tile_k; ++k) {
                    const bool used = k < tile.channels && !inside.empty();
                    float w_now;
                    if (stage_w)
                      w_now = load_weight_shared(&w_stage[c][k][my_k], used);
                    else
                      w_now = load_weight<operand_level>(tile.w + k * w_k + ((c1 + c) * R + r) * S + s, used);
                    DIBENCH_HELD for (int i = 0; i < tile_p; ++i)
                      acc[k][i] = mac(acc[k][i], w_now, x_now[i], used && inside.has(i));
                  }
                }
              }
            }
          DIBENCH_HELD for (int k = 0; k < tile_k; ++k)
            DIBENCH_HELD for (int i = 0; i < tile_p; ++i)
              store_output(tile.y + k * rows.y_channel + i * rows.y_step, acc[k][i],
                           k < tile.channels && i < tile.positions);
        }
  }
}
