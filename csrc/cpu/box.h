// What the reuse variants share: the layer seen as rows of positions, the output tiles that threads own,
// the chunks of the reduction, and which taps of the filter fall inside the image.
//
//   tile  = tile_p positions of one row x tile_k output channels: a thread owns it until it is finished
//   chunk = tile_c reduction channels x `taps` filter taps: the partial sums of a tile go back to memory
//           after every chunk, so they are written ceil(C/groups / tile_c) * R*S / taps times
//   box   = one tile under one chunk
//
// Everything here runs once a box or less often; the loops that touch operands stand in the variants.
#pragma once
#define DIBENCH_EXACT  // each access of the source is an access of the machine
#include <omp.h>

// One scalar multiply-add per step of the source, in its order: no vectorising, no second copy of a loop
// for special strides, and no arithmetic delayed past the loads that follow it (TER does that, and the
// operands it keeps waiting spill to the stack).
#pragma GCC optimize("no-tree-vectorize", "no-tree-slp-vectorize", "no-version-loops-for-strides", "no-tree-ter")

#include "access.h"
#include "kernel.h"

// Loops over a held tile have constant bounds: unless they are unrolled, the tile would live in memory.
#define DIBENCH_UNROLL _Pragma("GCC unroll 32")

namespace dibench {
namespace {

static constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// The layer as rows: runs of positions that share all weights and that a tile does not leave. A row is
///   fc                           the batch: N positions, C apart in x and K apart in y;
///   1x1, stride 1, no padding    a whole image: P*Q positions;
///   anything else                one output row: Q positions, stride_w apart in x.
struct Rows {
  int64_t count, length;            // rows, positions in each
  int64_t per_image;                // rows of one image
  int64_t x_step, y_step;           // floats from one position to the next
  int64_t x_channel, y_channel;     // floats from one channel to the next
  int64_t x_line, x_tap;            // floats from one filter row, filter column to the next
  int64_t w_channel, w_k;           // floats from one reduction channel, output channel to the next
  int64_t height, width;            // of the image that taps must not leave
  int64_t column_step;              // image columns from one position to the next
};

static Rows rows_of(const Layer& l) {
  Rows rows = {};
  rows.w_channel = l.R * l.S;
  rows.w_k = l.C / l.groups * rows.w_channel;
  rows.per_image = 1;
  const bool one_tap = l.R == 1 && l.S == 1 && l.pad_h == 0 && l.pad_w == 0;
  if (one_tap && l.H == 1 && l.W == 1 && l.P == 1 && l.Q == 1) {  // fc
    rows.count = 1, rows.length = l.N;
    rows.x_step = l.C, rows.y_step = l.K;
    rows.x_channel = rows.y_channel = 1;
    rows.height = rows.width = 1;  // positions are not columns: none can leave the image
  } else if (one_tap && l.stride_h == 1 && l.stride_w == 1 && l.P == l.H && l.Q == l.W) {
    rows.count = l.N, rows.length = l.P * l.Q;
    rows.x_step = rows.column_step = rows.y_step = 1;
    rows.x_channel = rows.y_channel = l.P * l.Q;
    rows.height = 1, rows.width = l.P * l.Q;
  } else {
    rows.count = l.N * l.P, rows.length = l.Q, rows.per_image = l.P;
    rows.x_step = rows.column_step = l.stride_w, rows.y_step = 1;
    rows.x_channel = l.H * l.W, rows.y_channel = l.P * l.Q;
    rows.x_line = l.dil_h * l.W, rows.x_tap = l.dil_w;
    rows.height = l.H, rows.width = l.W;
  }
  return rows;
}

/// One output tile. At the ends of rows and groups it has fewer positions or channels than its box.
struct Tile {
  int64_t positions, channels;
  const float* x;    // x[n, first channel of the group, ...]
  int64_t line;      // image row and column under filter tap (0, 0) at the tile's first position;
  int64_t column;    // both may lie outside the image
  const float* w;    // w[first k, 0, 0, 0]
  float* y;          // y[n, first k, first position]
};

/// A part of the reduction: channels c .. c + channels and a rectangle of filter taps.
struct Chunk {
  int64_t c, channels;
  int64_t r_begin, r_end, s_begin, s_end;
  bool first;        // no partial sums exist yet: start from 0 instead of reading them
};

/// Positions first .. last of a tile, counted from its first.
struct Span {
  int64_t first, last;
  int64_t count() const { return last - first; }  // not positive when there is none
  bool empty() const { return first >= last; }
  bool contains(int64_t i) const { return i >= first && i < last; }
};

/// The tile's positions whose input under filter column s lies inside the image.
DIBENCH_INLINE Span inside_columns(const Rows& rows, const Layer& layer, const Tile& tile, int64_t s) {
  const int64_t column = tile.column + s * layer.dil_w;
  const int64_t last_column = column + (tile.positions - 1) * rows.column_step;
  if (column >= 0 && last_column < rows.width) return {0, tile.positions};  // no division in the interior
  const int64_t first = column < 0 ? ceil_div(-column, rows.column_step) : 0;
  int64_t last = column < rows.width ? (rows.width - 1 - column) / rows.column_step + 1 : 0;
  if (last > tile.positions) last = tile.positions;
  return {first, last};
}

/// Whether the input row under filter row r lies inside the image.
DIBENCH_INLINE bool inside_line(const Rows& rows, const Layer& layer, const Tile& tile, int64_t r) {
  const int64_t line = tile.line + r * layer.dil_h;
  return line >= 0 && line < rows.height;
}

/// Floats from tile.x to the input of the tile's first position under tap (r, s), channel c.
DIBENCH_INLINE int64_t x_offset(const Rows& rows, const Tile& tile, int64_t c, int64_t r, int64_t s) {
  return c * rows.x_channel + tile.line * rows.width + r * rows.x_line + tile.column + s * rows.x_tap;
}

typedef void BoxKernel(const Layer&, const Rows&, const Tile&, const Chunk&);

/// All boxes of a launch. Threads own runs of neighbouring tiles, k outermost, so that the weights of a
/// tile stay in cache from row to row. No output is touched by two threads, and the order of its sum
/// does not depend on their number.
static void for_each_box(const Launch& launch, const Box& box, BoxKernel* kernel) {
  const Layer& l = launch.layer;
  const bool rectangle = box.taps == 1 || box.taps == l.S || box.taps == l.R * l.S;
  if (kernel == nullptr || box.tile_p < 1 || box.tile_k < 1 || box.tile_c < 1 || !rectangle) {
    *launch.unsupported = true;
    return;
  }
  const Rows rows = rows_of(l);
  const int64_t group_k = l.K / l.groups, group_c = l.C / l.groups;
  const int64_t p_tiles = ceil_div(rows.length, box.tile_p), k_tiles = ceil_div(group_k, box.tile_k);
  const int64_t tiles = l.groups * k_tiles * rows.count * p_tiles;
  const int64_t tap_rows = box.taps == l.R * l.S ? l.R : 1, tap_columns = box.taps == 1 ? 1 : l.S;
#pragma omp parallel num_threads(launch.threads)
  {
    const int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
    const int64_t begin = tiles / threads * thread + (thread < tiles % threads ? thread : tiles % threads);
    const int64_t end = begin + tiles / threads + (thread < tiles % threads ? 1 : 0);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t q = i % p_tiles * box.tile_p, row = i / p_tiles % rows.count;
      const int64_t group = i / p_tiles / rows.count / k_tiles;
      const int64_t k_in_group = i / p_tiles / rows.count % k_tiles * box.tile_k, k = group * group_k + k_in_group;
      const int64_t n = row / rows.per_image, p = row % rows.per_image;
      Tile tile;
      tile.positions = rows.length - q < box.tile_p ? rows.length - q : box.tile_p;
      tile.channels = group_k - k_in_group < box.tile_k ? group_k - k_in_group : box.tile_k;
      tile.x = launch.x + n * l.C * l.H * l.W + group * group_c * rows.x_channel;
      if (rows.column_step == 0) tile.x += q * rows.x_step;  // fc: a position is an image
      tile.line = p * l.stride_h - l.pad_h;
      tile.column = q * rows.column_step - l.pad_w;
      tile.w = launch.w + k * rows.w_k;
      tile.y = launch.y + n * l.K * l.P * l.Q + k * rows.y_channel + p * l.Q + q * rows.y_step;
      for (int64_t c = 0; c < group_c; c += box.tile_c)
        for (int64_t r = 0; r < l.R; r += tap_rows)
          for (int64_t s = 0; s < l.S; s += tap_columns) {
            const int64_t channels = group_c - c < box.tile_c ? group_c - c : box.tile_c;
            kernel(l, rows, tile, {c, channels, r, r + tap_rows, s, s + tap_columns, c == 0 && r == 0 && s == 0});
          }
    }
  }
}

}  // namespace
}  // namespace dibench
