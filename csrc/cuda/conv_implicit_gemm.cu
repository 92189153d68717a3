/* Convolution as one matrix product per group: tiles of both operands pass through shared memory, outputs stay in registers.
[variant]
ops          = ["standard", "pointwise", "grouped", "fc"]
stationarity = "output"
fast         = true
arch         = ">=60"
dtypes       = ["fp32"]
teaches      = "A tile of tile_k x tile_p outputs reads each operand from global memory once per tile, and the 8 x 8 outputs of a thread read each copy in shared memory once per 8: arithmetic is the limit, not memory."
knobs.tile_p = [128, 32, 64, 256]
knobs.tile_k = [128, 8, 16, 32, 64]
# Blocks that share a tile's reduction (split.cuh), each at least one stage of it.
knobs.splits = [1, 2, 3, 4, 6, 8, 12, 16]
# Steps of the reduction that a block copies to shared memory at once: 8 for each of its slices.
define."depth(tile_p)" = "16 if tile_p == 64 else 32 if tile_p == 32 else 8"
define."stages(tile_p)" = "4 if tile_p == 32 else 3"
# A thread holds held_k channels of held_p positions.
define."held_k(tile_k)" = "4 if tile_k == 8 else 8"
define."held_p(tile_p)" = "8 if tile_p >= 128 else 4"
define."block_size(tile_k, tile_p)" = "tile_k * tile_p // (held_k(tile_k) * held_p(tile_p)) * depth(tile_p) // 8"
define."shared_bytes(tile_k, tile_p)" = "4 * depth(tile_p) * (stages(tile_p) * (tile_k + tile_p + 4) + 2 * R * S)"
define."fits(tile_k, tile_p)" = "shared_bytes(tile_k, tile_p) <= 49152 and (tile_p < 256 or H * W > 1)"
define.macs = "gemm_macs(tile_p, tile_k, depth(tile_p))"
define.sums = "split_sums(gemm_tiles(tile_p, tile_k), tile_p * tile_k, splits)"
# Stages of the whole reduction.
define."all_stages(tile_p)" = "ceil_div(C // groups * R * S, depth(tile_p))"
# A tile's tile_k and tile_p; blocks of it that a multiprocessor holds, without splits and with; cycles for which a stage
# of one keeps it busy, where inputs are dense and otherwise; and cycles of a stage of one alone whose loads come from L2,
# or from DRAM. From the machine code for sm_90 (benchmarks/tile_choice.py).
define.tiles = [
  [128, 128, 1, 1, 1180, 1235, 710, 860],
  [64, 128, 3, 2, 594, 640, 720, 865],
  [32, 128, 4, 4, 300, 340, 750, 880],
  [64, 64, 2, 2, 654, 712, 460, 860],
  [16, 256, 6, 4, 310, 382, 820, 910],
  [8, 256, 8, 8, 230, 290, 560, 910],
  [32, 32, 4, 4, 348, 430, 485, 580],
]
define.dense = "dense_1x1() and H * W % 4 == 0"
define."time(k, p, n, held, busy, near, far)" = "gemm_cycles(4, p, k, n, depth(p), block_size(k, p), held, busy, near, far, instances, multiprocessors)"
define."can(k, p, n)" = "fits(k, p) and n <= all_stages(p)"
define.best = "min(labelled(time(k, p, n, whole if n == 1 else shared, lean if dense else busy, near, far), p, k, n) for k, p, whole, shared, lean, busy, near, far in tiles for n in knobs.splits if can(k, p, n))"
prefer.tile_p = "label_tile_p(best)"
prefer.tile_k = "label_tile_k(best)"
prefer.splits = "label_splits(best)"
requires     = [
  "any((tile_k, tile_p) == (k, p) for k, p, whole, shared, lean, busy, near, far in tiles)",
  "R <= 16 and S <= 16",
  "shared_bytes(tile_k, tile_p) <= 49152",
  "tile_p < 256 or H * W > 1",
  "splits <= all_stages(tile_p)",
]
constants    = []
grid         = "instances * gemm_tiles(tile_p, tile_k) * splits"
block        = "block_size(tile_k, tile_p)"
shared       = "shared_bytes(tile_k, tile_p)"
workspace    = "split_bytes(instances * gemm_tiles(tile_p, tile_k), tile_p * tile_k, splits)"
counts.macs_executed = "macs"
counts.weight_reads  = "K * (C // groups) * R * S * ceil_div(N * P * Q, tile_p) + macs // held_p(tile_p)"
counts.input_reads   = "C * taps_inside() * ceil_div(K // groups, tile_k) + macs // held_k(tile_k)"
counts.output_reads  = "sums"
counts.output_writes = "N * K * P * Q + sums"
counts.weight_reads_shared = "macs // held_p(tile_p)"
counts.input_reads_shared  = "macs // held_k(tile_k)"
*/
#include "layer.cuh"
//
#include "async_copy.cuh"
#include "im2col.cuh"
#include "split.cuh"

// For each group, with j = (n, p, q) a position and e = (c, r, s) a step of the reduction:
//
//   y[K/groups][N*P*Q] = w[K/groups][E] * im2col(x)[E][N*P*Q]          E = C/groups * R * S
//
// The matrix im2col(x) is never stored: see im2col.cuh.
//
//   a block makes tile_k x tile_p outputs
//     for each stage of the reduction: depth steps                 copies of a later stage start
//       a warp takes 8 of the steps, a thread held_k x held_p outputs:
//         acc[k][j] += w[k][e] * x[e][j]                           both from the copies of this stage
//
// Share of FFMA among the instructions of the main loop, sm_90, which bounds the share of the FP32 peak where one is
// issued in a cycle (windows are filters larger than 1x1, strides, odd images; the rest dense 1x1 / fully-connected):
//
//   tile_k x tile_p   dense   fc    windows   registers, warps on a multiprocessor
//   128 x 128          87%    85%     84%      168    8
//    64 x 128          86%    82%     80%      168    8
//    32 x 128          86%    77%     76%      225    8
//    16 x 256          83%            68%      168    8
//     8 x 256          72%            52%      127   16
//    64 x 64           79%    74%     72%      117   16
//    32 x 32           77%    72%     68%      123   16
//
// Per FFMA a thread of 8 x 8 outputs reads 1 byte of shared memory, one of 8 x 4 or 4 x 8 outputs 1.5 bytes. A
// multiprocessor delivers 1, but lanes that read the same words share them. Per multiply-add a block reads
// 4/tile_k + 4/tile_p bytes through L2: 8 bytes a cycle at 128 x 128, 32 at 32 x 32. No spills, sm_60 to sm_120. Not yet measured on a GPU.
//
// The copies of two stages (three at 32 x 32) are under way while one is multiplied: a warp alone goes round the loop
// in 850 cycles even where each load takes the 1600 of a busy DRAM, and in 600 at 32 x 32, which layers have whose
// tiles are too few to share a multiprocessor. Two warps on a scheduler then are busy issuing.
//
// A small layer has few tiles, which would leave most multiprocessors idle. It gets small tiles, each with `slices`
// groups of warps that split the steps of every stage; their sums are added at the end, in a fixed order. Where that still
// leaves multiprocessors idle, blocks share the stages too (splits).

constexpr int lanes_k = tile_k >= 32 ? 4 : 2, lanes_p = 32 / lanes_k;      // a warp's threads, as a rectangle
constexpr int held_k = tile_k == 8 ? 4 : 8, held_p = tile_p >= 128 ? 8 : 4;  // outputs of a thread
constexpr int warps_k = tile_k / (lanes_k * held_k), warps_p = tile_p / (lanes_p * held_p);
constexpr int slices = tile_p >= 128 ? 1 : tile_p == 64 ? 2 : 4;
constexpr int slice_depth = 8, depth = slices * slice_depth;  // reduction steps of a stage
constexpr int stages = tile_p == 32 ? 4 : 3;  // in shared memory: one is multiplied, the others are being copied
constexpr int threads = 32 * warps_k * warps_p * slices;
// Blocks that should share a multiprocessor. 64 sums in a thread want 156 to 233 registers: 8 warps;
// 32 sums want 128: 16 warps. Small tiles are used where there are fewer blocks than multiprocessors, and may take more.
constexpr int blocks = (tile_p == 64 || tile_k == 8 ? 512 : 256) / threads;

// A stage is w[depth / 8][tile_k][8], 8 steps of a channel next to each other as in memory, then x[depth][x_pitch].
// Rows of x are 4 floats longer than they must be, so that in fully-connected layers, where x is [n][c] in memory, a
// warp that copies 8 steps of 4 images writes to 32 different banks.
constexpr int x_pitch = tile_p + 4;
constexpr int w_stage = depth * tile_k, stage = w_stage + depth * x_pitch;

// What a thread copies of w at once, where every channel begins on 16 bytes: as much as leaves no thread without.
template <int floats> struct Vector { using Type = float4; };
template <> struct Vector<2> { using Type = float2; };
template <> struct Vector<1> { using Type = float; };
using Wide = Vector<w_stage / threads>::Type;

/// Where a thread's copies of w begin, V at a time. 8 neighbours in a row of w, a whole sector, are read by lanes side by
/// side.
template <typename V>
struct WeightShare {
  static constexpr int wide = sizeof(V) / 4, lanes = 8 / wide, rows = threads / lanes;  // that all threads copy at once
  static constexpr int planes = rows > tile_k ? rows / tile_k : 1;
  __device__ static int e(unsigned thread) { return thread % lanes * wide + thread / (lanes * tile_k) * 8; }
  __device__ static int k(unsigned thread) { return thread / lanes % tile_k; }
};

/// Starts the copy of a stage of w, of which `rows` channels and `left` steps exist; zeros elsewhere, so that what
/// is past the end adds nothing. w begins with the thread's own first element.
template <typename V>
__device__ __forceinline__ void copy_weights(unsigned thread, float* to, const float* w, int pitch, int rows, int left) {
  using Mine = WeightShare<V>;
  const int e = Mine::e(thread), k = Mine::k(thread);
  DIBENCH_HELD for (int de = 0; de < depth; de += 8 * Mine::planes)
    DIBENCH_HELD for (int dk = 0; dk < tile_k; dk += Mine::rows)
      copy_weight((V*)(to + thread * Mine::wide + de * tile_k + dk * 8), (const V*)(w + dk * pitch + de),
                  k + dk < rows && e + de < left);
}

// Threads divide a stage of im2col(x) by columns: each copies its own columns, the same in every stage.
template <Lie lie>
struct Share {
  static constexpr int wide = lie == lie_dense ? 4 : 1;                              // positions of a copy
  static constexpr int lanes = tile_p / wide < threads ? tile_p / wide : threads;    // threads side by side
  static constexpr int columns = tile_p / wide / lanes;                              // of each, lanes * wide apart
  static constexpr int rows = depth * lanes / threads;                               // consecutive steps of each
  __device__ static int first_column(unsigned thread) { return thread % lanes * wide; }
  __device__ static int first_row(unsigned thread) { return thread / lanes * rows; }
};

template <Lie lie>
__device__ __forceinline__ void copy_inputs(unsigned thread, float* to, const float* x,
                                            const Column (&column)[Share<lie>::columns], const Tap* taps, int image,
                                            int left) {
  using Mine = Share<lie>;
  const int e = Mine::first_row(thread);
  float* const own = to + e * x_pitch + Mine::first_column(thread);
  left -= e;
  Tap tap[Mine::rows];  // all of them before the first copy, which would wait for its own
  DIBENCH_HELD for (int i = 0; i < Mine::rows; ++i) tap[i] = lie == lie_dense ? Tap{(e + i) * image, 0} : taps[e + i];
  DIBENCH_HELD for (int i = 0; i < Mine::rows; ++i) {
    DIBENCH_HELD for (int j = 0; j < Mine::columns; ++j) {
      const bool hidden = lie == lie_dense ? column[j].hidden : column[j].hidden & tap[i].row_and_column;
      float* const shared = own + i * x_pitch + j * Mine::lanes * Mine::wide;
      const float* const global = x + (column[j].offset + tap[i].offset);
      if (lie == lie_dense)
        copy_input((float4*)shared, (const float4*)global, !hidden && i < left);
      else
        copy_input(shared, global, !hidden && i < left);
    }
  }
}

/// As copy_weights, for x[n][c].
__device__ __forceinline__ void copy_rows(unsigned thread, float* to, const float* x, int C, int positions, int left) {
  const int e = thread % 8, j = thread / 8;
  DIBENCH_HELD for (int de = 0; de < depth; de += 8)
    DIBENCH_HELD for (int dj = 0; dj < tile_p; dj += threads / 8)
      copy_input(to + (e + de) * x_pitch + j + dj, x + (j + dj) * C + e + de, j + dj < positions && e + de < left);
}

__device__ __forceinline__ void unpack(float* to, float4 from) {
  to[0] = from.x, to[1] = from.y, to[2] = from.z, to[3] = from.w;
}

__device__ __forceinline__ float4 pack(const float* from) { return make_float4(from[0], from[1], from[2], from[3]); }

/// The outputs of a thread: every lanes_k-th channel; 4 positions next to each other, the next 4 lanes_p * 4 away.
/// Neighbours in bit 0 of the lane share channels, those in bit 1 positions: lanes that ask for the same 16 bytes
/// are served together.
struct Place {
  int k, p, slice;  // the first of them in the tile; which steps of a stage
};
__device__ __forceinline__ Place place(unsigned thread) {
  const int lane = thread % 32, warp = thread / 32;
  const int lane_k = (lane >> 1 & 1) | (lanes_k == 4 ? lane >> 3 & 2 : 0);
  const int lane_p = (lane & 1) | (lane >> 1 & (lanes_p - 2));
  return {warp % warps_k * (lanes_k * held_k) + lane_k, warp / warps_k % warps_p * (lanes_p * held_p) + lane_p * 4,
          warp / (warps_k * warps_p)};
}

/// What a tile multiplies: w from its first channel on, of which its group has `rows`, and x of its group, at positions
/// from p0 on.
struct Factors {
  const float* w;
  int rows;
  const float* x;
  int p0;
};

/// A block's shared memory: the stages, and taps[depth * R * S].
struct Copies {
  float* stages;
  const Tap* taps;
};

/// acc = the thread's share of w[k][e] * im2col(x)[e][j], summed over its steps e of the block's share.
template <Lie lie, typename V>
__device__ __forceinline__ void multiply(float (&acc)[held_k][held_p], const Layer& layer, Factors of, Steps share,
                                         Copies copies) {
  const float *w = of.w, *x = of.x;
  const int rows = of.rows, p0 = of.p0;
  const int image = layer.H * layer.W, window = layer.R * layer.S, steps = layer.C / layer.groups * window;
  const unsigned thread = late(threadIdx.x);
  Column column[Share<lie>::columns];
  DIBENCH_HELD for (int j = 0; j < Share<lie>::columns; ++j)
    column[j] = column_of(layer, p0 + Share<lie>::first_column(thread) + j * Share<lie>::lanes * Share<lie>::wide);

  const Place own = place(thread);
  const int w_own = late(own.slice * slice_depth * tile_k + own.k * 8);
  const int x_own = late(w_stage + own.slice * slice_depth * x_pitch + own.p);
  w += WeightShare<V>::k(thread) * steps + WeightShare<V>::e(thread) + share.begin;
  if (lie == lie_rows) x += p0 * steps;
  const int table = lie == lie_windows ? depth * window : depth;  // steps after which the taps repeat
  if (splits > 1) x += share.begin / table * depth * image;
  int next_tap = share.begin % table;  // of the stage to be copied next: its place in the table
  int left = share.end - share.begin;  // from there to the end
  auto start_copies = [&](float* to) {
    if (left > 0) {
      copy_weights<V>(thread, to, w, steps, rows, left);
      if constexpr (lie == lie_rows)
        copy_rows(thread, to + w_stage, x, steps, layer.N - p0, left);
      else
        copy_inputs<lie>(thread, to + w_stage, x, column, copies.taps + next_tap, image, left);
      left -= depth;
      w += depth;
      next_tap += depth;
      if (next_tap == table) next_tap = 0, x += depth * image;
    }
    commit_copies();  // past the end a batch is empty, but counted
  };

  DIBENCH_LOOP for (int i = 0; i < stages - 1; ++i) start_copies(copies.stages + i * stage);
  DIBENCH_HELD for (int i = 0; i < held_k; ++i)
    DIBENCH_HELD for (int j = 0; j < held_p; ++j) acc[i][j] = 0.0f;
  int now = 0, before = (stages - 1) * stage;  // where the stage is that is multiplied next, and the one before it
  DIBENCH_LOOP for (int e0 = share.begin; e0 < share.end; e0 += depth) {
    wait_for_copies<stages - 2>();
    __syncthreads();  // all copies of this stage are there, and the stage before is no longer read:
    start_copies(copies.stages + before);  // its place is free
    const float* const w_now = copies.stages + now + w_own;
    const float* const x_now = copies.stages + now + x_own;
    before = now;
    now = now == (stages - 1) * stage ? 0 : now + stage;

    DIBENCH_HELD for (int e = 0; e < slice_depth; e += 4) {
      float w_held[held_k][4];
      DIBENCH_HELD for (int i = 0; i < held_k; ++i)
        unpack(w_held[i], fetch_weight_shared((const float4*)(w_now + (e / 8 * tile_k + i * lanes_k) * 8 + e % 8)));
      DIBENCH_HELD for (int de = 0; de < 4; ++de) {
        float x_held[held_p];
        DIBENCH_HELD for (int j = 0; j < held_p; j += 4)
          unpack(x_held + j, fetch_input_shared((const float4*)(x_now + (e + de) * x_pitch + j * lanes_p)));
        DIBENCH_HELD for (int i = 0; i < held_k; ++i)
          DIBENCH_HELD for (int j = 0; j < held_p; ++j) acc[i][j] = mac(acc[i][j], w_held[i][de], x_held[j]);
      }
    }
  }
  __syncthreads();  // the last stage is no longer read: its place is free for the sums, or for the next tile
}

/// Adds the sums of all slices into slice 0, in a tree: at each step half of the slices hand theirs to the other half.
__device__ __forceinline__ void add_slices(float (&acc)[held_k][held_p], int slice, float* shared) {
  constexpr int sums = held_k * held_p, slice_threads = threads / slices;
  DIBENCH_HELD for (int half = slices / 2; half > 0; half /= 2) {
    float* const handed = shared + slice % half * (sums * slice_threads) + threadIdx.x % slice_threads;
    if (slice >= half && slice < 2 * half)
      DIBENCH_HELD for (int i = 0; i < sums; ++i) handed[i * slice_threads] = acc[i / held_p][i % held_p];
    __syncthreads();  // the sums are handed over
    if (slice < half)
      DIBENCH_HELD for (int i = 0; i < sums; ++i) acc[i / held_p][i % held_p] += handed[i * slice_threads];
    __syncthreads();  // and taken: their place is free
  }
}

/// Which outputs a work item computes.
struct Tile {
  int instance, group, k, p;  // the first channel, in all groups, and the first position, in the batch
  int rows;                   // channels of the group from k on
};
__device__ __forceinline__ Tile tile_of(const Layer& l, int item) {
  // Tiles that share positions follow one another, and find them in L2.
  const int groups = late(l.groups), group_k = l.K / groups;
  const int k_tiles = ceil_div(group_k, tile_k), p_tiles = late(ceil_div(l.N * l.P * l.Q, tile_p));
  const int group = item / (k_tiles * p_tiles) % groups, k = item % k_tiles * tile_k;
  return {item / (k_tiles * p_tiles * groups), group, group * group_k + k, item / k_tiles % p_tiles * tile_p, group_k - k};
}

/// Where a thread's outputs of a tile go.
struct Outputs {
  float* y;                 // of the instance, at the thread's first channel
  int image, plane;         // elements of all its channels, of one
  int position, positions;  // the thread's first, of so many in the batch
  int rows;                 // channels of the group from the thread's first on

  /// Writes some channels' sums, from the thread's k-th on, at its j-th 4 positions next to each other: columns of `sums`
  /// from `column` on.
  template <int channels, int columns>
  __device__ __forceinline__ void put(const float (&sums)[channels][columns], int column, int k, int j) const {
    const bool aligned = plane % 4 == 0;  // then 4 positions lie in one image, on 16 bytes
    DIBENCH_HELD for (int n = 0; n < 4; ++n) {
      const int at = position + j * 4 * lanes_p + n;
      if (at >= positions || (aligned && n)) continue;
      float* const to = y + at / plane * image + at % plane;
      DIBENCH_HELD for (int i = 0; i < channels; ++i) {
        const int row = (k + i) * lanes_k;
        if (row >= rows) continue;
        if (aligned)
          put_output((float4*)(to + row * plane), pack(sums[i] + column));
        else
          put_output(to + row * plane, sums[i][column + n]);
      }
    }
  }
};

extern "C" __global__ void __launch_bounds__(threads, blocks)
    conv_implicit_gemm(const Layer layer, int instances, const float* x, const float* w, float* y, float* workspace) {
  DYNAMIC_SHARED(float, shared);
  Tap* const taps = (Tap*)(shared + stages * stage);
  const Copies copies = {shared, taps};

  const int image = layer.H * layer.W, window = layer.R * layer.S;
  fill_taps(taps, layer, depth, threads);
  __syncthreads();  // the table is complete

  const int group_c = layer.C / layer.groups, positions = layer.N * layer.P * layer.Q;
  const int tiles = instances * layer.groups * ceil_div(layer.K / layer.groups, tile_k) * ceil_div(positions, tile_p);
  const Lie lie = lie_of(layer, 4);
  DIBENCH_LOOP for (int item = blockIdx.x; item < tiles * splits; item += gridDim.x) {
    float acc[held_k][held_p];
    {
      const Tile tile = tile_of(layer, item / splits);
      const float* const tile_w = w + tile.instance * w_elements(layer) + tile.k * group_c * window;
      const float* const tile_x = x + tile.instance * x_elements(layer) + tile.group * group_c * image;
      const Factors factors = {tile_w, tile.rows, tile_x, tile.p};
      const Steps share = share_of(item % splits, group_c * window, depth);
      if (group_c * window % 4)  // channels of w begin anywhere, which few layers have: one loop for all of them
        multiply<lie_windows, float>(acc, layer, factors, share, copies);
      else if (lie == lie_dense)
        multiply<lie_dense, Wide>(acc, layer, factors, share, copies);
      else if (lie == lie_rows && tile_p < 256)
        multiply<lie_rows, Wide>(acc, layer, factors, share, copies);
      else
        multiply<lie_windows, Wide>(acc, layer, factors, share, copies);
    }
    // Computed again, so that the main loop need not hold them in registers.
    const int now = late(item);
    const Tile tile = tile_of(layer, now / splits);
    const Place own = place(late(threadIdx.x));
    if (slices > 1) add_slices(acc, own.slice, shared);
    const int plane = late(layer.P * layer.Q);
    const Outputs outputs = {y + tile.instance * y_elements(layer) + (tile.k + own.k) * plane, layer.K * plane, plane,
                             tile.p + own.p, positions, tile.rows - own.k};
    if constexpr (splits == 1) {
      if (own.slice > 0) continue;
      DIBENCH_HELD for (int j = 0; j < held_p; j += 4) outputs.put(acc, j, 0, j / 4);
    } else {
      constexpr int slice_threads = threads / slices;
      const Split<slice_threads, held_k * held_p / 4> all(workspace, tiles, now / splits, threadIdx.x % slice_threads);
      if (own.slice == 0)
        DIBENCH_HELD for (int j = 0; j < held_p; j += 4)
          DIBENCH_HELD for (int i = 0; i < held_k; ++i) all.put(now % splits, j / 4 * held_k + i, pack(acc[i] + j));
      if (!all.complete()) continue;
      DIBENCH_LOOP for (int i = own.slice * 4; i < held_k * held_p / 4; i += slices * 4) {  // slices take turns
        float4 sums[4];
        all.sum(sums, i);
        outputs.put((const float (&)[4][4])sums, 0, i % held_k, i / held_k);
      }
    }
  }
}
