/* Grouped convolution: a register tile of positions x output channels of one group stays, channels stream.

   x [N][C][H][W], w [K][Cg][R][S], y [N][K][P][Q], Cg = C/groups, Kg = K/groups

Groups are small (4 to 64 channels in ResNeXt), so vectors span positions, never channels: each weight is
broadcast to a tile of up to tile_positions vectors, each input vector serves up to tile_channels
output channels of its group. Two ways to get at the inputs:

- padded: the planes of a group are copied, zero-padded, strip by strip (planes.h), and every tap is a
  constant offset into a long run of positions; the finished run is stored row by row.
- in place: with a 1x1 filter, stride 1 and no padding the image itself is that run.

[variant]
ops          = ["grouped"]
stationarity = "output"
fast         = true
teaches      = "Grouped convolutions have too few channels to vectorise over: long runs of positions fill the vectors instead, however small the map."
# An output plane is computed in runs of vectors of positions, junk between rows included, and a run in tiles of up to 4
# vectors of 16 lanes, 3 of 8, 2 of 4; each tile reads every weight once.
define.in_place = "dense_1x1() and lanes <= P * Q"
define.strip = "strip_rows(P, plane_pitch(1), 1024)"
define."run(rows)" = "ceil_div((rows - 1) * plane_pitch(1) + Q, lanes) if rows > 0 else 0"
define."tiles(vectors)" = "ceil_div(vectors, 4 if lanes == 16 else 3 if lanes == 8 else 2)"
define.vectors = "ceil_div(P * Q, lanes) if in_place else P // strip * run(strip) + run(P % strip)"
define.blocks = "tiles(vectors) if in_place else P // strip * tiles(run(strip)) + tiles(run(P % strip))"
counts.macs_executed = "N * K * C // groups * R * S * lanes * vectors"
counts.weight_reads  = "N * K * C // groups * R * S * blocks"
counts.input_reads   = "N * C * (R * S * ceil_div(K // groups, 6 if lanes == 16 else 4) * lanes * vectors + (0 if in_place else packing_reads(lanes, 1024, 1)))"
counts.output_reads  = "0"
counts.output_writes = "N * K * (lanes * vectors if in_place else P * row_copy(Q, lanes))"
*/
#include <omp.h>

#include "planes.h"

namespace dibench {
namespace {

// Accumulators + input vectors + one broadcast weight fill the register file: 24 + 4 + 1 of 32 with
// AVX-512, 12 + 3 + 1 of 16 with AVX2, 8 + 2 + 1 + a product (no FMA there) of 16 with SSE.
constexpr int tile_positions = lanes == 16 ? 4 : lanes == 8 ? 3 : 2;
constexpr int tile_channels = lanes == 16 ? 6 : 4;

// Positions of a strip: the run of results of one tile of channels stays in the first-level cache.
constexpr int64_t strip_positions = 1024;

/// One register tile: what to read and where to put it. All distances are in floats.
struct Tile {
  const float* x;         // position 0 of the tile, channel 0 of the group
  const float* w;         // filter of the tile's first output channel
  float* y;               // position 0, first output channel
  int64_t x_channel;      // from one input channel to the next
  int64_t y_channel;      // from one output channel to the next
  int64_t last;           // start of the tile's last vector, which may overlap the one before it
  int64_t channels, taps;  // taps is 1 in place
  const int64_t* offsets;  // of each tap [taps]
};

/// y[k][i] = sum over c, tap of w[k][c][tap] * x[c][offsets[tap] + i] for U vectors and KB channels.
/// Not inlined: it needs all registers for itself.
template <int U, int KB, bool InPlace>
__attribute__((noinline)) void run_tile(const Tile& t) {
  vec sum[KB][U] = {};
  const int64_t taps = InPlace ? 1 : t.taps, filter = t.channels * taps, last = t.last;
  const float *x = t.x, *w = t.w;
  for (int64_t c = 0; c < t.channels; ++c, x += t.x_channel)
    for (int64_t tap = 0; tap < taps; ++tap, ++w) {
      const float* at = x + (InPlace ? 0 : t.offsets[tap]);
      vec in[U];
#pragma GCC unroll 8
      for (int u = 0; u < U; ++u) in[u] = load_inputs(at + (u == U - 1 ? last : u * lanes));
#pragma GCC unroll 8
      for (int k = 0; k < KB; ++k) {
        const vec weight = splat(load_weight(w + k * filter));
#pragma GCC unroll 8
        for (int u = 0; u < U; ++u) sum[k][u] = mac(sum[k][u], in[u], weight);
      }
    }
  float* y = t.y;
  const int64_t y_channel = t.y_channel;
#pragma GCC unroll 8
  for (int k = 0; k < KB; ++k, y += y_channel)
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u) {
      float* to = y + (u == U - 1 ? last : u * lanes);
      if (InPlace) store_outputs(to, sum[k][u]);
      else *(vec_unaligned*)to = sum[k][u];  // scratch: not an access to an operand
    }
}

/// Calls the compiled tile of `vectors` x `channels`.
template <bool InPlace, int U = tile_positions, int KB = tile_channels>
DIBENCH_INLINE void dispatch(const Tile& t, int64_t vectors, int64_t channels) {
  if constexpr (U > 1) {
    if (vectors < U) return dispatch<InPlace, U - 1, KB>(t, vectors, channels);
  }
  if constexpr (KB > 1) {
    if (channels < KB) return dispatch<InPlace, U, KB - 1>(t, vectors, channels);
  }
  run_tile<U, KB, InPlace>(t);
}

bool in_place(const Layer& l) {
  return l.R == 1 && l.S == 1 && l.stride_h == 1 && l.stride_w == 1 && l.pad_h == 0 && l.pad_w == 0 &&
         l.P == l.H && l.Q == l.W && l.P * l.Q >= lanes;
}

/// The image is the run of positions: P * Q of them, read from x and stored to y directly.
void run_in_place(const Launch& a) {
  const Layer& l = a.layer;
  const int64_t length = l.P * l.Q, vectors = ceil_div(length, lanes);
  const int64_t Cg = l.C / l.groups, Kg = l.K / l.groups;
  const int64_t blocks_p = ceil_div(vectors, tile_positions), blocks_k = ceil_div(Kg, tile_channels);
  // Neighbouring tasks share a block of inputs, which stays in the cache while the filters change.
#pragma omp parallel for num_threads(a.threads) schedule(static)
  for (int64_t task = 0; task < l.N * l.groups * blocks_p * blocks_k; ++task) {
    const int64_t image = task / (blocks_p * blocks_k);  // n * groups + g
    const Part p = part_of(vectors, blocks_p, task / blocks_k % blocks_p);
    const Part k = part_of(Kg, blocks_k, task % blocks_k);
    const int64_t start = p.begin * lanes;
    Tile t = {};
    t.x = a.x + image * Cg * length + start;
    t.w = a.w + (image % l.groups * Kg + k.begin) * Cg;
    t.y = a.y + (image * Kg + k.begin) * length + start;
    t.x_channel = t.y_channel = length;
    t.last = min_of((p.size - 1) * lanes, length - lanes - start);
    t.channels = Cg;
    dispatch<true>(t, p.size, k.size);
  }
}

// Scratch: the offsets of the taps, then for each thread the padded planes of a group's strip and the
// run of results of tile_channels output channels. Both are followed by a vector of slack, because the
// last vector of a run may reach beyond its end.
struct Scratch { int64_t offsets, planes, run; };
Scratch make_scratch(const Planes& g, const Layer& l) {
  const int64_t line = 16;  // floats
  return {ceil_div(2 * l.R * l.S, line) * line,
          ceil_div(l.C / l.groups * g.channel + lanes, line) * line,
          ceil_div(tile_channels * (g.rows * g.pitch + lanes), line) * line};
}

void run_padded(const Launch& a) {
  const Layer& l = a.layer;
  const Planes g = make_planes(l, strip_positions);
  const Scratch sizes = make_scratch(g, l);
  const int64_t Cg = l.C / l.groups, Kg = l.K / l.groups, taps = l.R * l.S;
  const int64_t blocks_k = ceil_div(Kg, tile_channels);
  int64_t* offsets = (int64_t*)a.scratch;
  tap_offsets(g, l, offsets);

#pragma omp parallel num_threads(a.threads)
  {
    float* planes = a.scratch + sizes.offsets + omp_get_thread_num() * (sizes.planes + sizes.run);
    float* run = planes + sizes.planes;
    __builtin_memset(planes, 0, size_t(sizes.planes) * sizeof(float));
#pragma omp for schedule(static)
    for (int64_t task = 0; task < l.N * l.groups * g.strips; ++task) {
      const int64_t image = task / g.strips, first_row = task % g.strips * g.rows;
      const int64_t rows = min_of(g.rows, l.P - first_row);
      const int64_t vectors = ceil_div((rows - 1) * g.pitch + l.Q, lanes);
      const int64_t blocks_p = ceil_div(vectors, tile_positions);
      pack_planes(g, l, a.x + image * Cg * l.H * l.W, Cg, first_row, rows, planes);
      Tile t = {};
      t.x_channel = g.channel;
      t.y_channel = g.rows * g.pitch + lanes;
      t.channels = Cg;
      t.taps = taps;
      t.offsets = offsets;
      for (int64_t block = 0; block < blocks_k; ++block) {
        const Part k = part_of(Kg, blocks_k, block);
        t.w = a.w + (image % l.groups * Kg + k.begin) * Cg * taps;
        for (int64_t i = 0; i < blocks_p; ++i) {
          const Part p = part_of(vectors, blocks_p, i);
          t.x = planes + p.begin * lanes;
          t.y = run + p.begin * lanes;
          t.last = (p.size - 1) * lanes;
          dispatch<false>(t, p.size, k.size);
        }
        for (int64_t j = 0; j < k.size; ++j)
          copy_outputs<lanes>(a.y + ((image * Kg + k.begin + j) * l.P + first_row) * l.Q,
                              run + j * t.y_channel, l.Q, {rows, l.Q, g.pitch});
      }
    }
  }
}

void run(const Launch& a) { in_place(a.layer) ? run_in_place(a) : run_padded(a); }

int64_t scratch_floats(const Launch& a) {
  if (in_place(a.layer)) return 0;
  const Scratch sizes = make_scratch(make_planes(a.layer, strip_positions), a.layer);
  return sizes.offsets + a.threads * (sizes.planes + sizes.run);
}

}  // namespace
}  // namespace dibench

DIBENCH_VARIANT(grouped_planes, dibench::run, dibench::scratch_floats)
