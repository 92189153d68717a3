// What the reuse variants share: the layer seen as rows of positions, the output tiles that threads own,
// and which taps of the filter fall inside the image. The same boxes as csrc/cpu/box.h, so that a variant
// here and its twin there have equal counts:
//
//   tile  = tile_p positions of one row x tile_k output channels: a thread owns it until it is finished
//   chunk = tile_c reduction channels x `taps` filter taps: partial sums go back to memory after each
//   box   = one tile under one chunk
//
// A warp holds 32 tiles. `lanes` says which dimension they span: with p the lanes read the same weight (one
// broadcast sector) and 32 inputs; with k one input and 32 weights.
//
// All lanes of a warp walk the same loops, those at edges with predicates that switch accesses off: lanes
// reconverge for free, and the harness knows what one request of the warp is.
#pragma once
#include "access.cuh"
#include "threads.cuh"

constexpr Level operand_level = cache == cache_ca ? level_l1 : level_l2;

// A turn is 32 tiles, one to a lane. Warps take turns until all are done.
__device__ __forceinline__ int first_turn() { return proof ? 0 : blockIdx.x * warps + threadIdx.x / 32; }
__device__ __forceinline__ int turn_step() { return proof ? 1 : gridDim.x * warps; }

/// The layer as rows: runs of positions that share all weights and that a tile does not leave. A row is
///   fc                           the batch: N positions, C apart in x and K apart in y;
///   1x1, stride 1, no padding    a whole image: P*Q positions;
///   anything else                one output row: Q positions, stride_w apart in x.
struct Rows {
  int count, length;          // rows, positions in each
  int per_image;              // rows of one image
  int x_step, y_step;         // elements from one position to the next
  int x_channel, y_channel;   // elements from one channel to the next
  int height, width;          // of the image that taps must not leave
  int column_step;            // image columns from one position to the next; 0: a position is an image
};

__device__ __forceinline__ Rows rows_of(const Layer& l) {
  if (R == 1 && S == 1 && l.pad_h == 0 && l.pad_w == 0) {
    if (l.H == 1 && l.W == 1 && l.P == 1 && l.Q == 1) return {1, l.N, 1, l.C, l.K, 1, 1, 1, 1, 0};
    if (stride_h == 1 && stride_w == 1 && l.P == l.H && l.Q == l.W)
      return {l.N, l.P * l.Q, 1, 1, 1, l.H * l.W, l.P * l.Q, 1, l.H * l.W, 1};
  }
  return {l.N * l.P, l.Q, l.P, stride_w, 1, l.H * l.W, l.P * l.Q, l.H, l.W, stride_w};
}

/// One output tile. At the ends of rows and groups it has fewer positions or channels than its box; a lane
/// without work has none.
struct Tile {
  int positions, channels;
  const float* x;  // x[n, first channel of the group, 0, 0]
  int line;        // image row and column under filter tap (0, 0) at the tile's first position;
  int column;      // both may lie outside the image
  const float* w;  // w[first k, 0, 0, 0]
  float* y;        // y[n, first k, first position]
};

/// The operands of a launch: all instances, one behind the other.
struct Operands {
  const float *x, *w;
  float* y;
};

/// Which tile: the instance, the tile of positions (numbered across rows and images), the group, and the tile of its
/// channels.
struct Place {
  int instance, position, group, k_tile;
};

/// How the tiles of an instance are dealt out to turns.
struct Tiles {
  int tile_p, tile_k;    // positions and channels of a whole tile
  int p_tiles, k_tiles;  // of one row, of one group
  int along, across;     // tiles in the dimension that lanes span, and in the other
  int turns_per_instance, turns;
};

__device__ __forceinline__ Tiles tiles_of(const Layer& l, const Rows& rows, int tile_p, int tile_k,
                                          int instances) {
  Tiles t;
  t.tile_p = tile_p, t.tile_k = tile_k;
  t.p_tiles = ceil_div(rows.length, tile_p);
  t.k_tiles = ceil_div(l.K / l.groups, tile_k);
  const int positions = rows.count * t.p_tiles, channels = l.groups * t.k_tiles;
  t.along = lanes == lanes_p ? positions : channels;
  t.across = lanes == lanes_p ? channels : positions;
  t.turns_per_instance = ceil_div(t.along, warp_lanes) * t.across;
  t.turns = instances_of(instances) * t.turns_per_instance;
  return t;
}

/// The tile at a place. It has no positions where the batch has no such tile of positions, and no channels where the
/// group has no such tile of channels.
__device__ __forceinline__ Tile tile_at(const Layer& l, const Rows& rows, const Tiles& t, Place at, Operands of) {
  const int row = at.position / t.p_tiles, q = at.position % t.p_tiles * t.tile_p;  // q: first position in the row
  const int n = row / rows.per_image, p = row % rows.per_image;
  const int group_k = l.K / l.groups, group_c = l.C / l.groups, k = at.group * group_k + at.k_tile * t.tile_k;
  Tile tile;
  tile.positions = row < rows.count ? min(rows.length - q, t.tile_p) : 0;
  tile.channels = max(0, min(group_k - at.k_tile * t.tile_k, t.tile_k));
  tile.x = of.x + at.instance * x_elements(l) + n * l.C * l.H * l.W + at.group * group_c * rows.x_channel;
  if (rows.column_step == 0) tile.x += q * rows.x_step;
  tile.line = p * stride_h - l.pad_h;
  tile.column = q * rows.column_step - l.pad_w;
  tile.w = of.w + at.instance * w_elements(l) + k * group_c * R * S;
  tile.y = of.y + at.instance * y_elements(l) + n * l.K * l.P * l.Q + k * rows.y_channel + p * l.Q + q * rows.y_step;
  return tile;
}

/// The tile of this lane in a turn (0 .. turns).
__device__ __forceinline__ Tile tile_of(const Layer& l, const Rows& rows, const Tiles& t, int turn, Operands of) {
  const int instance = turn / t.turns_per_instance, in_instance = turn % t.turns_per_instance;
  const int turns_along = ceil_div(t.along, warp_lanes);
  const int along = in_instance % turns_along * warp_lanes + lane(), across = in_instance / turns_along;
  const int position = lanes == lanes_p ? along : across, channel = lanes == lanes_p ? across : along;
  Tile tile = tile_at(l, rows, t, {instance, position, channel / t.k_tiles, channel % t.k_tiles}, of);
  if (along >= t.along) tile.positions = 0;
  return tile;
}

/// Positions first .. last of a tile, counted from its first.
struct Span {
  int first, last;
  __device__ __forceinline__ bool has(int i) const { return i >= first && i < last; }
  __device__ __forceinline__ bool empty() const { return first >= last; }
};

/// The tile's positions whose input under filter tap (r, s) lies inside the image.
__device__ __forceinline__ Span inside_image(const Rows& rows, const Tile& tile, int r, int s) {
  const int line = tile.line + r * dil_h, column = tile.column + s * dil_w;
  if (line < 0 || line >= rows.height) return {0, 0};
  if (rows.column_step == 0) return {0, tile.positions};
  const int first = column < 0 ? ceil_div(-column, rows.column_step) : 0;
  const int last = column < rows.width ? (rows.width - 1 - column) / rows.column_step + 1 : 0;
  return {first, min(last, tile.positions)};
}

/// Elements from tile.x to the input of the tile's first position under tap (r, s), channel c.
__device__ __forceinline__ int x_offset(const Rows& rows, const Tile& tile, int c, int r, int s) {
  return c * rows.x_channel + (tile.line + r * dil_h) * rows.width + tile.column + s * dil_w;
}
