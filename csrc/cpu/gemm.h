// y[k][j] = sum over d of w[k][d] * b[d][j]: the matrix product inside the fast convolutions.
//
// w[K][depth]       the layer's own weights: [K][C][R][S] already has the reduction contiguous, so they are
//                   never rearranged; each is broadcast to a whole register where it is used
// b[depth][columns] inputs, one column for each output position; the caller copies ("packs") them panel by panel
// y[K][columns]     one image of the layer's own output
//
// A panel is up to panel_vectors vectors of columns: packed[chunk of depth][panel_columns], so that the
// innermost loop reads consecutive memory. The tile of tile_rows x panel_vectors accumulators fills the
// registers: with AVX-512 it issues 24 multiply-adds for 11 loads, with 16 registers 12 for 7.
#pragma once
#include <omp.h>

#include "access.h"
#include "kernel.h"

namespace dibench {
namespace {

constexpr int tile_rows = lanes == 16 ? 8 : 4;
constexpr int panel_vectors = 3;
constexpr int panel_columns = panel_vectors * lanes;

// A chunk of the reduction is short enough for tile_rows x chunk weights to stay in the first-level cache
// while the panels of a group, which stay in the second level, stream past them.
constexpr int64_t depth_chunk = 256;
constexpr int64_t group_panels = 8;

DIBENCH_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
DIBENCH_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
DIBENCH_INLINE vec broadcast(float value) { return value - vec{}; }  // -, because x + 0 is not x for x = -0

/// Consecutive items [begin, end) of `items` for member `index` of `members`; shares differ by at most one.
struct Share {
  int64_t begin, end;
};
DIBENCH_INLINE Share share_of(int64_t items, int64_t index, int64_t members) {
  return {items * index / members, items * (index + 1) / members};
}

/// Where a panel begins. A last panel of one vector would have too few sums to keep the multipliers busy (each waits
/// for the one before it), so the last two share their vectors, two and two.
DIBENCH_INLINE int64_t panel_begin(int64_t columns, int64_t panel) {
  const int64_t vectors = ceil_div(columns, lanes), begin = panel * panel_vectors;
  const bool shares = panel > 0 && begin + 1 == vectors;
  return smaller((begin - shares) * lanes, columns);
}

/// What one register tile multiplies: a run of the reduction, `depth` long.
struct Tile {
  const float* w;  // [row][depth], rows w_stride apart
  int64_t w_stride;
  const float* b;  // [depth][panel_columns]
  float* y;        // [row][column], rows y_stride apart
  int64_t y_stride;
  int64_t depth, columns;  // columns that exist
  bool first;              // no sums are in y yet
};

/// y (+)= w * b for ROWS rows and VECTORS vectors of columns.
template <int ROWS, int VECTORS>
void multiply_tile(const Tile& tile) {
  const float *w = tile.w, *b = tile.b;
  float* const y = tile.y;
  const int64_t w_stride = tile.w_stride, y_stride = tile.y_stride, depth = tile.depth, columns = tile.columns;
  const bool first = tile.first;
  vec sum[ROWS][VECTORS];
  const bool whole = columns == VECTORS * lanes;
  float edge[VECTORS * lanes] = {};  // the last panel's rows pass through here: y has no room for a whole vector
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r) {
    if (!first && !whole)
      for (int64_t j = 0; j < columns; ++j) edge[j] = load_partial(y + r * y_stride + j);
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) {
      if (first) sum[r][v] = vec{};
      else if (whole) sum[r][v] = load_partials(y + r * y_stride + v * lanes);
      else sum[r][v] = *(const vec_unaligned*)(edge + v * lanes);
    }
  }
  for (int64_t d = 0; d < depth; ++d, ++w, b += panel_columns) {
    vec input[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) input[v] = load_inputs(b + v * lanes);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
      const vec weight = broadcast(load_weight(w + r * w_stride));
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) sum[r][v] = mac(sum[r][v], weight, input[v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) {
      if (whole) store_outputs(y + r * y_stride + v * lanes, sum[r][v]);
      else *(vec_unaligned*)(edge + v * lanes) = sum[r][v];
    }
    if (!whole)
      for (int64_t j = 0; j < columns; ++j) store_output(y + r * y_stride + j, edge[j]);
  }
}

/// The register tile for a run-time number of rows and vectors, 1 <= rows <= ROWS, 1 <= vectors <= panel_vectors.
template <int ROWS = tile_rows>
void multiply_tile_of(int64_t rows, int64_t vectors, const Tile& tile) {
  if constexpr (ROWS > 1) {
    if (rows < ROWS) return multiply_tile_of<ROWS - 1>(rows, vectors, tile);
  }
  static_assert(panel_vectors == 3);
  if (vectors == 3) multiply_tile<ROWS, 3>(tile);
  else if (vectors == 2) multiply_tile<ROWS, 2>(tile);
  else multiply_tile<ROWS, 1>(tile);
}

struct Product {
  int64_t K, depth, columns;
  const float* w;    // [K][depth]
  float* y;          // [K][columns], rows y_stride apart
  int64_t y_stride;
};

/// Floats of scratch for the packed panels of `threads` threads.
DIBENCH_INLINE int64_t packed_floats(const Product& product, int threads) {
  const int64_t panels = smaller(ceil_div(product.columns, panel_columns), group_panels);
  return threads * panels * smaller(product.depth, depth_chunk) * panel_columns;
}

/// Packs a member's share of the rows [depth.begin, depth.end) of each panel, Pack::rows of one panel at a time.
template <class Pack>
void pack_panels(const Share& panels, const Share& depth, const Pack& pack, float* packed, int member, int members) {
  const int64_t length = depth.end - depth.begin;
  const Share mine = share_of(length, member, members);
  for (int64_t d = mine.begin; d < mine.end; d += Pack::rows)
    for (int64_t panel = panels.begin; panel < panels.end; ++panel)
      pack(panel, depth.begin + d, depth.begin + smaller(d + Pack::rows, mine.end),
           packed + ((panel - panels.begin) * length + d) * panel_columns);
}

/// y (+)= w * packed for some panels, a chunk of the reduction and some tiles of rows.
DIBENCH_INLINE void multiply_packed(const Product& product, const Share& panels, const Share& depth,
                                    const float* packed, const Share& tiles) {
  const int64_t length = depth.end - depth.begin;
  for (int64_t tile = tiles.begin; tile < tiles.end; ++tile) {
    const int64_t k = tile * tile_rows;
    const int64_t rows = smaller(tile_rows, product.K - k);
    for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
      const int64_t column = panel_begin(product.columns, panel);
      const int64_t columns = panel_begin(product.columns, panel + 1) - column;
      multiply_tile_of(rows, ceil_div(columns, lanes),
                       {product.w + k * product.depth + depth.begin, product.depth,
                        packed + (panel - panels.begin) * length * panel_columns,
                        product.y + k * product.y_stride + column, product.y_stride, length, columns,
                        depth.begin == 0});
    }
  }
}

/// Computes panels `mine` of y with a team of `members` threads, of which the caller is number `member`; a team
/// shares one packed buffer, so every member must make the same call.
///
/// pack(panel, d_begin, d_end, to) copies rows [d_begin, d_end) of one panel to `to`[d][panel_columns]; it
/// must not write beyond its last row, where another thread may be at work.
template <class Pack>
void multiply_panels(const Product& product, const Share& mine, const Pack& pack, float* packed, int member,
                     int members) {
  const int64_t chunks = ceil_div(product.depth, depth_chunk);
  const int64_t groups = ceil_div(mine.end - mine.begin, group_panels);
  for (int64_t index = 0; index < groups; ++index) {
    const Share group = share_of(mine.end - mine.begin, index, groups);
    const Share panels = {mine.begin + group.begin, mine.begin + group.end};
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const Share depth = share_of(product.depth, chunk, chunks);
      pack_panels(panels, depth, pack, packed, member, members);
      if (members > 1) {
#pragma omp barrier
      }
      multiply_packed(product, panels, depth, packed, share_of(ceil_div(product.K, tile_rows), member, members));
      if (members > 1) {
#pragma omp barrier
      }
    }
  }
}

/// The whole product by all threads of the enclosing parallel region, each of which makes this call.
///
/// Either every thread has panels of its own (no waiting, each packs what it needs), or, where too few panels
/// would leave threads idle, all threads pack each panel together and share out the rows of y.
template <class Pack>
void multiply(const Product& product, const Pack& pack, float* scratch) {
  const int thread = omp_get_thread_num(), threads = omp_get_num_threads();
  const int64_t panels = ceil_div(product.columns, panel_columns);
  const int64_t tiles = ceil_div(product.K, tile_rows);
  // Time of the slowest thread, in tiles of rows x vectors of columns: the last panel may be narrow.
  const int64_t sharing_panels = tiles * ceil_div(panels, threads) * panel_vectors;
  const int64_t sharing_rows = ceil_div(tiles, threads) * ceil_div(product.columns, lanes);
  const bool by_panels = threads == 1 || sharing_panels <= sharing_rows;
  if (by_panels) {
    const Share mine = share_of(panels, thread, threads);
    multiply_panels(product, mine, pack, scratch + packed_floats(product, thread), 0, 1);
  } else {
    multiply_panels(product, {0, panels}, pack, scratch, thread, threads);
  }
}

}  // namespace
}  // namespace dibench
