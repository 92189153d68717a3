/* Convolution as one matrix product per group: tiles of both operands pass through shared memory, outputs stay in registers.
[variant]
ops          = ["standard", "pointwise", "grouped"]
stationarity = "output"
fast         = true
arch         = ">=60"
dtypes       = ["fp32"]
teaches      = "A tile of tile_k x tile_p outputs reads each operand from global memory once per tile, and the 8 x 8 outputs of a thread read each copy in shared memory once per 8: arithmetic is the limit, not memory."
knobs.tile_p = [128, 32, 64, 256]
knobs.tile_k = [128, 8, 16, 32, 64]
prefer.tile_p = "gemm_tile_p()"
prefer.tile_k = "gemm_tile_k()"
requires     = [
  "(tile_k, tile_p) in ((128, 128), (64, 128), (32, 128), (16, 256), (8, 256), (64, 64), (32, 32))",
  "R <= 16 and S <= 16",
  "tile_p > 32 or R * S <= 25",
]
constants    = []
grid         = "instances * gemm_tiles(tile_p, tile_k)"
block        = "gemm_threads(tile_p, tile_k)"
shared       = "8 * (tile_k * (gemm_depth(tile_p) + 4) + gemm_depth(tile_p) * tile_p) + 8 * gemm_depth(tile_p) * R * S"
counts.macs_executed = "gemm_macs(tile_p, tile_k)"
counts.weight_reads  = "K * (C // groups) * R * S * ceil_div(N * P * Q, tile_p) + gemm_macs(tile_p, tile_k) // (8 if tile_p >= 128 else 4)"
counts.input_reads   = "C * taps_inside() * ceil_div(K // groups, tile_k) + gemm_macs(tile_p, tile_k) // (4 if tile_k == 8 else 8)"
counts.output_reads  = "0"
counts.output_writes = "N * K * P * Q"
counts.weight_reads_shared = "gemm_macs(tile_p, tile_k) // (8 if tile_p >= 128 else 4)"
counts.input_reads_shared  = "gemm_macs(tile_p, tile_k) // (4 if tile_k == 8 else 8)"
*/
#include "layer.cuh"
//
#include "async_copy.cuh"

// For each group, with j = (n, p, q) a position and e = (c, r, s) a step of the reduction:
//
//   y[K/groups][N*P*Q] = w[K/groups][E] * im2col(x)[E][N*P*Q]          E = C/groups * R * S
//
// The matrix im2col(x) is never stored: im2col[e][j] is x[n, c, p*stride - pad + r*dil, q*stride - pad + s*dil],
// or 0 on padding. Its index splits into a part that depends on the position only, which a thread works out once
// per tile for the columns it copies, and a part that depends on e only: a table in shared memory.
//
//   a block makes tile_k x tile_p outputs
//     for each stage of the reduction: depth steps                 copies of stage i + 1 start
//       a warp takes 8 of the steps, a thread held_k x held_p outputs:
//         acc[k][j] += w[k][e] * x[e][j]                           both from the copies of stage i
//
// A small layer has few tiles, which would leave most of the multiprocessors idle: it gets small ones, and each
// tile has `slices` groups of warps. They split the steps of every stage and are added up in the end, in a fixed
// order.

constexpr int lanes_k = tile_k >= 32 ? 4 : 2, lanes_p = 32 / lanes_k;      // a warp's threads, as a rectangle
constexpr int held_k = tile_k == 8 ? 4 : 8, held_p = tile_p >= 128 ? 8 : 4;  // outputs of a thread
constexpr int warps_k = tile_k / (lanes_k * held_k), warps_p = tile_p / (lanes_p * held_p);
constexpr int slices = tile_p >= 128 ? 1 : tile_p == 64 ? 2 : 8;
constexpr int slice_depth = 8, depth = slices * slice_depth;  // reduction steps of a stage
constexpr int threads = 32 * warps_k * warps_p * slices;

// w is copied as it lies, [k][e]: 16 bytes are 4 steps. Rows are 4 floats longer than they must be, so that the
// rows which the lanes of a warp read at once lie in different banks.
constexpr int w_pitch = depth + 4;
constexpr int w_stage = tile_k * w_pitch, x_stage = depth * tile_p;

/// What step e of the reduction adds to the index of x, and which filter row and column it is: bits r, 16 + s.
struct Tap {
  int offset;
  unsigned row_and_column;
};

/// A column of im2col(x), one output position. `hidden` has the bits of the filter rows and columns that lie on
/// padding there; all bits, if there is no such position.
struct Column {
  int offset;
  unsigned hidden;
};

__device__ __forceinline__ Column column_of(const Layer& l, int position) {
  if (position >= l.N * l.P * l.Q) return {0, ~0u};
  const int n = position / (l.P * l.Q), p = position / l.Q % l.P, q = position % l.Q;
  const int line = p * l.stride_h - l.pad_h, column = q * l.stride_w - l.pad_w;  // under filter tap (0, 0)
  unsigned hidden = 0;
  DIBENCH_LOOP for (int r = 0; r < l.R; ++r)
    if (line + r * l.dil_h < 0 || line + r * l.dil_h >= l.H) hidden |= 1u << r;
  DIBENCH_LOOP for (int s = 0; s < l.S; ++s)
    if (column + s * l.dil_w < 0 || column + s * l.dil_w >= l.W) hidden |= 1u << (16 + s);
  return {n * l.C * l.H * l.W + line * l.W + column, hidden};
}

/// Starts the copy of w[k][e], k < rows, e < left; zeros elsewhere, so that steps past the end add nothing.
__device__ __forceinline__ void copy_weights(float* to, const float* w, int pitch, int rows, int left) {
  constexpr int row_vectors = depth / 4;
  const bool aligned = pitch % 4 == 0;  // then every row starts on 16 bytes, and no vector crosses its end
  DIBENCH_HELD for (int i = 0; i < tile_k * row_vectors; i += threads) {
    const int vector = i + threadIdx.x, k = vector / row_vectors, e = vector % row_vectors * 4;
    if (tile_k * row_vectors % threads && vector >= tile_k * row_vectors) break;
    float* const shared = to + k * w_pitch + e;
    const float* const global = w + k * pitch + e;
    if (aligned)
      copy_weight((float4*)shared, (const float4*)global, k < rows && e < left);
    else
      DIBENCH_HELD for (int j = 0; j < 4; ++j) copy_weight(shared + j, global + j, k < rows && e + j < left);
  }
}

// Threads deal out a stage of im2col(x) by columns: a thread copies its own columns only, the same in each stage.
constexpr int columns = tile_p > threads ? tile_p / threads : 1;        // of a thread, `threads` apart
constexpr int column_steps = depth * tile_p / (threads * columns);      // consecutive ones, of each column

__device__ __forceinline__ void copy_inputs(float* to, const float* x, const Column (&column)[columns], const Tap* taps,
                                            int left) {
  const int e0 = threadIdx.x / tile_p * column_steps;
  DIBENCH_HELD for (int i = 0; i < column_steps; ++i) {
    const Tap tap = taps[e0 + i];
    DIBENCH_HELD for (int j = 0; j < columns; ++j) {
      const bool inside = (tap.row_and_column & column[j].hidden) == 0 && e0 + i < left;
      copy_input(to + (e0 + i) * tile_p + threadIdx.x % tile_p + j * threads, x + (column[j].offset + tap.offset), inside);
    }
  }
}

/// The same for a 1x1 filter that sees whole images: 4 positions lie side by side in x too.
__device__ __forceinline__ void copy_inputs_dense(float* to, const float* x, const Column& column, int image, int left) {
  constexpr int row_vectors = tile_p / 4;
  const int e0 = threadIdx.x / row_vectors, j = threadIdx.x % row_vectors * 4;
  DIBENCH_HELD for (int e = 0; e < depth; e += threads / row_vectors)
    copy_input((float4*)(to + (e0 + e) * tile_p + j), (const float4*)(x + column.offset + (e0 + e) * image),
               column.hidden == 0 && e0 + e < left);
}

extern "C" __global__ void __launch_bounds__(threads, 512 / threads)
    conv_implicit_gemm(const Layer layer, int instances, const float* x, const float* w, float* y) {
  DYNAMIC_SHARED(float, shared);  // w[2][tile_k][w_pitch], x[2][depth][tile_p], taps[depth * R * S]
  float* const w_copies = shared;
  float* const x_copies = w_copies + 2 * w_stage;
  Tap* const taps = (Tap*)(x_copies + 2 * x_stage);

  const int image = layer.H * layer.W, window = layer.R * layer.S, positions = layer.N * layer.P * layer.Q;
  const int group_c = layer.C / layer.groups, group_k = layer.K / layer.groups;
  const int steps = group_c * window, stages = ceil_div(steps, depth);
  const bool dense = window == 1 && layer.stride_h == 1 && layer.stride_w == 1 && layer.pad_h == 0 &&
                     layer.pad_w == 0 && layer.P == layer.H && layer.Q == layer.W && image % 4 == 0;

  // After R*S stages the filter taps come back in the same order, `depth` channels on: the table ends there.
  DIBENCH_LOOP for (int e = threadIdx.x; e < depth * window; e += threads) {
    const int c = e / window, r = e / layer.S % layer.R, s = e % layer.S;
    taps[e] = {c * image + r * layer.dil_h * layer.W + s * layer.dil_w, 1u << r | 1u << (16 + s)};
  }
  __syncthreads();  // the table is complete

  // Where this thread stands in its tile. Neighbours in bit 0 share rows of w, those in bit 1 columns of x: lanes
  // that ask for the same 16 bytes are served together.
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int lane_k = (lane >> 1 & 1) | (lanes_k == 4 ? lane >> 3 & 2 : 0);
  const int lane_p = (lane & 1) | (lane >> 1 & (lanes_p - 2));
  const int own_k = warp % warps_k * (lanes_k * held_k) + lane_k;  // and every lanes_k-th from there
  const int own_p = warp / warps_k % warps_p * (lanes_p * held_p) + lane_p * 4;  // 4, and 4 more further on
  const int slice = warp / (warps_k * warps_p);

  const int k_tiles = ceil_div(group_k, tile_k), p_tiles = ceil_div(positions, tile_p);
  const int tiles = layer.groups * p_tiles * k_tiles;
  DIBENCH_LOOP for (int item = blockIdx.x; item < instances * tiles; item += gridDim.x) {
    // Tiles that share positions come one after the other: they find them in L2.
    const int instance = item / tiles, k0 = item % k_tiles * tile_k, p0 = item / k_tiles % p_tiles * tile_p;
    const int group = item / (k_tiles * p_tiles) % layer.groups;
    const float* const tile_w = w + instance * w_elements(layer) + (group * group_k + k0) * steps;
    const float* const tile_x = x + instance * x_elements(layer) + group * group_c * image;
    Column column[columns];
    DIBENCH_HELD for (int j = 0; j < columns; ++j)
      column[j] = column_of(layer, p0 + (dense ? threadIdx.x % (tile_p / 4) * 4 : threadIdx.x % tile_p + j * threads));

    int first_tap = 0, first_c = 0;  // of the next stage to copy: where in the table, and from which channel
    auto start_copies = [&](int stage) {
      const int left = steps - stage * depth;
      copy_weights(w_copies + stage % 2 * w_stage, tile_w + stage * depth, steps, group_k - k0, left);
      float* const to = x_copies + stage % 2 * x_stage;
      if (dense)
        copy_inputs_dense(to, tile_x + first_c * image, column[0], image, left);
      else
        copy_inputs(to, tile_x + first_c * image, column, taps + first_tap, left);
      commit_copies();
      first_tap += depth;
      if (first_tap == depth * window) first_tap = 0, first_c += depth;
    };

    float acc[held_k][held_p] = {};
    start_copies(0);
    DIBENCH_LOOP for (int stage = 0; stage < stages; ++stage) {
      wait_for_copies<0>();
      __syncthreads();  // everyone's copies of this stage are there, and nobody reads the stage before any more:
      if (stage + 1 < stages) start_copies(stage + 1);  // its place is free

      const float* const w_now = w_copies + stage % 2 * w_stage + own_k * w_pitch + slice * slice_depth;
      const float* const x_now = x_copies + stage % 2 * x_stage + slice * slice_depth * tile_p + own_p;
      DIBENCH_HELD for (int e = 0; e < slice_depth; e += 4) {
        float4 w_held[held_k];  // 4 steps of each
        DIBENCH_HELD for (int k = 0; k < held_k; ++k)
          w_held[k] = fetch_weight_shared((const float4*)(w_now + k * lanes_k * w_pitch + e));
        DIBENCH_HELD for (int step = 0; step < 4; ++step)
          DIBENCH_HELD for (int j = 0; j < held_p; j += 4) {
            const float4 x_held = fetch_input_shared((const float4*)(x_now + (e + step) * tile_p + j * lanes_p));
            DIBENCH_HELD for (int k = 0; k < held_k; ++k) {
              const float w_step = step == 0 ? w_held[k].x : step == 1 ? w_held[k].y : step == 2 ? w_held[k].z : w_held[k].w;
              acc[k][j + 0] = mac(acc[k][j + 0], w_step, x_held.x);
              acc[k][j + 1] = mac(acc[k][j + 1], w_step, x_held.y);
              acc[k][j + 2] = mac(acc[k][j + 2], w_step, x_held.z);
              acc[k][j + 3] = mac(acc[k][j + 3], w_step, x_held.w);
            }
          }
      }
    }
    __syncthreads();  // nobody reads the last stage any more: its place serves the sums, or the next tile

    // The slices' sums become one, in a tree: half of the slices hand theirs over to the other half.
    constexpr int sums = held_k * held_p, slice_threads = threads / slices;
    DIBENCH_HELD for (int half = slices / 2; half > 0; half /= 2) {
      float* const handed = shared + (slice % half * sums) * slice_threads + threadIdx.x % slice_threads;
      if (slice >= half && slice < 2 * half)
        DIBENCH_HELD for (int i = 0; i < sums; ++i) handed[i * slice_threads] = acc[i / held_p][i % held_p];
      __syncthreads();  // the sums are handed over
      if (slice < half)
        DIBENCH_HELD for (int i = 0; i < sums; ++i) acc[i / held_p][i % held_p] += handed[i * slice_threads];
      __syncthreads();  // and taken: their place is free
    }
    if (slice > 0) continue;

    float* const tile_y = y + instance * y_elements(layer) + (group * group_k + k0) * (layer.P * layer.Q);
    const int plane = layer.P * layer.Q;
    const bool aligned = plane % 4 == 0;  // then 4 positions lie in one image, on 16 bytes
    DIBENCH_HELD for (int j = 0; j < held_p; ++j) {
      const int position = p0 + own_p + j / 4 * 4 * lanes_p + j % 4;
      if (position >= positions || (aligned && j % 4)) continue;
      float* const to = tile_y + position / plane * (layer.K * plane) + position % plane;
      DIBENCH_HELD for (int i = 0; i < held_k; ++i) {
        const int k = own_k + i * lanes_k;
        if (k0 + k >= group_k) continue;
        if (aligned)
          put_output((float4*)(to + k * plane), make_float4(acc[i][j], acc[i][j + 1], acc[i][j + 2], acc[i][j + 3]));
        else
          put_output(to + k * plane, acc[i][j]);
      }
    }
  }
}
