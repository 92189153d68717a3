// Convolution on tensor cores: an implicit GEMM whose operands lie channels last, so that a step of the reduction is a
// channel's neighbour in memory. The variants that include this file differ in the data type T only.
//
//   y[N*P*Q][K/groups] = im2col(x)[N*P*Q][E] * w[K/groups][E]^T        e = (r, s, c), fp32 sums
//
//   a block makes tile_p positions x tile_k channels of outputs
//     for each stage of the reduction, 64 bytes of every row:   copies of stage i + 3 start (cp.async, 16 bytes each)
//       a warp multiplies its share of stage i                  while the fragments of the next half stage are read
//
// Rows of a stage are four chunks of 16 bytes. A lane's row of an 8 x 8 matrix is one chunk: ldmatrix hands a warp four
// such matrices, which are what an mma takes, in tf32 (4 words of a row) as in 16 bits (8). Eight rows lie in eight
// different bank groups since chunk c of row r is kept at c ^ (r / 2 % 4).
//
// Main loop on sm_90, tile 256 x 128: a warp issues 188 instructions for 64 mma of a stage in 16 bits (16 LDSM, 6 LDGSTS;
// 259 in tf32, whose words are rounded one by one). Two warps of a scheduler keep its tensor core busy for about 820 cycles
// meanwhile, if an mma takes 6.4 (what mma.sync is known to reach on Hopper, 62% of wgmma). Before, with operands passing
// through registers, 200 to 400 instructions went with 32 mma. No spills, sm_80 to sm_120. Not yet measured on a GPU.
//
// In an mma's result a lane holds two neighbouring columns. Channels are dealt to the rows of w's copy so that two results
// of a lane (in 16 bits four) are neighbouring channels: 16 bytes of y, written at once, without a way through shared
// memory. y has the operands' data type: in 16 bits each sum is rounded to it once, to nearest even, where it is written.
#pragma once
#include "access.cuh"
#include "async_copy.cuh"
#include "im2col.cuh"
#include "mma.cuh"
#include "split.cuh"

constexpr int packed = 4 / sizeof(T);                   // elements of a word, what a lane hands to an mma
constexpr int wide = 16 / sizeof(T);                    // elements of a chunk
constexpr int chunks = 4, depth = chunks * wide;        // of a row of a stage; steps of the reduction
constexpr int stages = 4;                               // kept in shared memory: one is read, three are on their way
// Positions and channels of a warp, as mma tiles of 16 positions and 8 channels.
constexpr int warp_p = tile_p < 128 ? 32 : 64, warp_k = tile_k < 128 ? 32 : 64;
constexpr int held_p = warp_p / 16, held_k = warp_k / 8;
constexpr int warps_p = tile_p / warp_p, warps_k = tile_k / warp_k, threads = 32 * warps_p * warps_k;
constexpr int stage_chunks = (tile_p + tile_k) * chunks;  // x's rows, then w's

struct alignas(16) Chunk {
  unsigned bits[4];
};
struct alignas(4) Word {
  unsigned bits;
};
#ifdef DIBENCH_HOST
template <> constexpr int dibench_host::elements_of<Chunk> = wide;
template <> constexpr int dibench_host::elements_of<Word> = packed;
#endif

__device__ __forceinline__ int swizzled(int row, int chunk) { return row * chunks + (chunk ^ (row >> 1 & 3)); }

/// The channel whose weights are row `row` of the copy. tf32: of 16 rows, 0 1 8 9 are channels 0 1 2 3, and so on; 16 bits:
/// of 32 rows, 0 1 8 9 16 17 24 25 are channels 0 to 7.
__device__ __forceinline__ int channel_of(int row) {
  return (row & ~(4 * wide - 1)) + (row % 8 / 2 * wide + row / 8 % (wide / 2) * 2 + row % 2);
}

/// Which part of every row a thread copies: a chunk, where a tap's channels are whole chunks; else a word, or a single
/// element. Its tap and channel are worked out once a stage.
template <typename Unit>
struct Reader {
  static constexpr int elements = sizeof(Unit) / sizeof(T), units = chunks * wide / elements;  // of a row
  static constexpr int rows = threads / units;                                                 // copied at once
  int e, c, r, s;

  __device__ __forceinline__ Reader(int thread, const Layer& layer, int begin) : e(0), c(0), r(0), s(0) {
    advance(layer, begin + thread % units * elements);
  }
  /// Moves on by some steps of the reduction.
  __device__ __forceinline__ void advance(const Layer& layer, int steps) {
    const int group_c = layer.C / layer.groups;
    e += steps;
    DIBENCH_LOOP for (c += steps; c >= group_c; c -= group_c)
      if (++s == layer.S) s = 0, ++r;
  }

  /// Where a row's unit lies in a copy. Rows that lie a multiple of 8 apart have the same swizzle.
  __device__ __forceinline__ Unit* place(Chunk* copy, int thread, int i) const {
    const int unit = thread % units, chunk = unit / (units / chunks), first = thread / units;
    Chunk* const row = copy + (rows % 8 ? swizzled(first + i * rows, chunk) : swizzled(first, chunk) + i * rows * chunks);
    return (Unit*)row + unit % (units / chunks);
  }
  /// Calls visit(i, row) for the thread's i-th row out of so many. Chunks are fast, so their rows are unrolled.
  template <int of, typename Visit>
  __device__ __forceinline__ static void each_row(int thread, Visit visit) {
    auto one = [&](int i) {
      const int row = thread / units + i * rows;
      if (of % rows == 0 || row < of) visit(i, row);
    };
    if constexpr (sizeof(Unit) == 16)
      DIBENCH_HELD for (int i = 0; i < ceil_div(of, rows); ++i) one(i);
    else
      DIBENCH_LOOP for (int i = 0; i < ceil_div(of, rows); ++i) one(i);
  }

  __device__ __forceinline__ void copy_w(int thread, Chunk* copy, const T* w, int steps, int channels) const {
    const T* const own = late(w + e);  // so that each row adds one offset to it
    const int rows_left = e < steps ? channels : 0;
    each_row<tile_k>(thread, [&](int i, int row) {
      const int k = channel_of(row);
      const Unit* const from = (const Unit*)(own + k * steps);
      if constexpr (sizeof(Unit) >= 4)
        copy_weight(place(copy, thread, i), from, k < rows_left);
      else
        *place(copy, thread, i) = fetch_weight(from, k < rows_left);
    });
  }
  __device__ __forceinline__ void copy_x(int thread, Chunk* copy, const T* x, const Column* columns, const Layer& layer,
                                         int steps) const {
    const T* const own = late(x + ((r * layer.dil_h * layer.W + s * layer.dil_w) * layer.C + c));
    const unsigned tap = e < steps ? 1u << r | 1u << (16 + s) : 0u, visible = e < steps;
    auto start = [&](int i, Column column) {
      const Unit* const from = (const Unit*)(own + column.offset);
      const bool inside = (column.hidden & tap) < visible;  // hidden by no bit, and there is such a step
      if constexpr (sizeof(Unit) >= 4)
        copy_input(place(copy, thread, i), from, inside);
      else
        *place(copy, thread, i) = fetch_input(from, inside);
    };
    each_row<tile_p>(thread, [&](int i, int row) { start(i, columns[row]); });
  }
};

__device__ __forceinline__ void multiply_add(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  if constexpr (dtype == dtype_tf32)
    mma_tf32(d, a, b);
  else if constexpr (dtype == dtype_fp16)
    mma_fp16(d, a, b);
  else
    mma_bf16(d, a, b);
}
/// A tensor core truncates tf32 to 10 bits of mantissa; adding half of the last bit that stays turns that into rounding.
__device__ __forceinline__ void round_words(unsigned (&words)[4]) {
  DIBENCH_HELD for (int i = 0; i < 4; ++i) words[i] += dtype == dtype_tf32 ? 0x1000u : 0u;
}

/// What a warp's mmas take, read ahead: all its channels of half a stage, two chunks of each row, while those of the half
/// before are multiplied; 16 positions while the 16 before are.
struct Fragments {
  int own_x, own_w;              // this lane's first row and chunk in a stage: 16 positions, 16 channels (mma.cuh)
  unsigned w[2][held_k / 2][4];  // by half
  unsigned x[2][4];

  __device__ __forceinline__ Fragments(int lane, int warp)
      : own_x(swizzled(warp % warps_p * warp_p + lane % 16, lane / 16)),
        own_w(swizzled(tile_p + warp / warps_p * warp_k + lane / 16 * 8 + lane % 8, lane / 8 % 2)) {}

  __device__ __forceinline__ void read_w(const Chunk* stage, int half) {
    const Rows<Chunk> rows(stage + (own_w ^ 2 * half));
    DIBENCH_HELD for (int i = 0; i < held_k / 2; ++i) {
      fetch_weight_matrices(w[half][i], rows, i * 16 * chunks);
      round_words(w[half][i]);
    }
  }
  __device__ __forceinline__ void read_x(const Chunk* stage, int half, int i) {
    fetch_input_matrices(x[i % 2], Rows<Chunk>(stage + (own_x ^ 2 * half)), i * 16 * chunks);
    round_words(x[i % 2]);
  }
  __device__ __forceinline__ void multiply(float (&acc)[held_k][4], int half, int i) const {
    DIBENCH_HELD for (int j = 0; j < held_k; ++j)
      multiply_add(acc[j], x[i % 2], *(const unsigned (*)[2])(w[half][j / 2] + j % 2 * 2));
  }
};

/// What a tile multiplies: x of its group, w from its first channel on, of which the group has `channels` more.
struct Factors {
  const T *x, *w;
  int channels;
};

/// A tile's sums over a share of the reduction. copies: stages of stage_chunks; columns: of the tile's positions.
template <typename Unit>
__device__ __forceinline__ void multiply_tile(float (&acc)[held_p][held_k][4], const Layer& layer, Factors of, Steps share,
                                              Chunk* copies, const Column* columns) {
  const int thread = threadIdx.x, steps = layer.C / layer.groups * layer.R * layer.S;
  Reader<Unit> at(thread, layer, share.begin);
  int copied = share.begin;  // up to this step
  auto copy_stage = [&](Chunk* stage) {
    if (copied < share.end) {
      at.copy_x(thread, stage, of.x, columns, layer, steps);
      at.copy_w(thread, stage + tile_p * chunks, of.w, steps, of.channels);
      at.advance(layer, depth);
    }
    commit_copies();
    copied += depth;
  };
  DIBENCH_HELD for (int i = 0; i < stages - 1; ++i) copy_stage(copies + i * stage_chunks);
  DIBENCH_HELD for (int i = 0; i < held_p; ++i)
    DIBENCH_HELD for (int j = 0; j < held_k; ++j)
      DIBENCH_HELD for (int d = 0; d < 4; ++d) acc[i][j][d] = 0.0f;

  Fragments own(thread % 32, thread / 32);
  wait_for_copies<stages - 2>();
  __syncthreads();  // the first stage is complete
  own.read_w(copies, 0);
  own.read_x(copies, 0, 0);
  unsigned slot = 0;
  DIBENCH_LOOP for (int e = share.begin; e < share.end; e += depth) {
    const Chunk* const stage = copies + slot * stage_chunks;
    own.read_w(stage, 1);
    DIBENCH_HELD for (int i = 0; i < held_p; ++i) {
      own.read_x(stage, (i + 1) / held_p, (i + 1) % held_p);
      own.multiply(acc[i], 0, i);
    }
    wait_for_copies<stages - 3>();
    __syncthreads();  // the next stage is complete, and the one before this is no longer read: its place is free
    copy_stage(copies + (slot + stages - 1) % stages * stage_chunks);
    slot = (slot + 1) % stages;
    const Chunk* const next = copies + slot * stage_chunks;
    const bool more = e + depth < share.end;
    if (more) own.read_w(next, 0);
    DIBENCH_HELD for (int i = 0; i < held_p; ++i) {
      if (i + 1 < held_p)
        own.read_x(stage, 1, i + 1);
      else if (more)
        own.read_x(next, 0, 0);
      own.multiply(acc[i], 1, i);
    }
  }
  // Nothing is on its way: the last stages that a loop starts do not exist.
}

/// Two neighbouring sums as y's elements, from word `at` of a chunk on.
__device__ __forceinline__ void pack(Chunk& chunk, int at, float low, float high) {
  if constexpr (dtype == dtype_tf32)
    chunk.bits[at] = __float_as_uint(low), chunk.bits[at + 1] = __float_as_uint(high);
  else
    chunk.bits[at] = dtype == dtype_fp16 ? to_fp16(low, high) : to_bf16(low, high);
}
__device__ __forceinline__ T element(const Chunk& chunk, int i) {
  if constexpr (dtype == dtype_tf32)
    return __uint_as_float(chunk.bits[i]);
  else
    return T(chunk.bits[i / 2] >> i % 2 * 16);
}

/// Where a lane's outputs of a tile go. y begins with the tile; the group has so many channels more, the batch positions.
struct Outputs {
  const Layer& layer;
  T* y;
  int positions, channels;

  /// Writes the sums of 16 positions, of which a lane has two, and 4 * wide channels: 16 bytes of a position's channels at
  /// once where they lie on a multiple of 16. i, j: which of the warp's.
  __device__ __forceinline__ void put(const float (*sums)[4], int i, int j) const {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int own_p = warp % warps_p * warp_p + lane / 4, own_k = warp / warps_p * warp_k + lane % 4 * wide;
    const bool aligned = layer.K / layer.groups % wide == 0;
    DIBENCH_HELD for (int half = 0; half < 2; ++half) {
      Chunk chunk;
      DIBENCH_HELD for (int n = 0; n < wide / 2; ++n)
        pack(chunk, n * 2 / packed, sums[n][half * 2], sums[n][half * 2 + 1]);
      const int p = own_p + i * 16 + half * 8, k = own_k + j * 4 * wide, left = p < positions ? channels - k : 0;
      T* const to = y + p * layer.K + k;
      if (aligned)
        put_output((Chunk*)to, chunk, left > 0);
      else
        DIBENCH_HELD for (int n = 0; n < wide; ++n) put_output(to + n, element(chunk, n), left > n);
    }
  }
};

/// One block's work: an instance, a group, and the tile's first channel and position.
struct Tile {
  int instance, group, k0, p0;
};
__device__ __forceinline__ int tiles_of(const Layer& l) {
  return l.groups * ceil_div(l.K / l.groups, tile_k) * ceil_div(l.N * l.P * l.Q, tile_p);
}
/// Tiles that share positions follow one another, and find them in L2.
__device__ __forceinline__ Tile tile_of(const Layer& l, int item) {
  const int k_tiles = ceil_div(l.K / l.groups, tile_k), p_tiles = ceil_div(l.N * l.P * l.Q, tile_p);
  const int group = item / (k_tiles * p_tiles) % l.groups;
  return {item / tiles_of(l), group, item % k_tiles * tile_k, item / k_tiles % p_tiles * tile_p};
}

/// The whole kernel. shared: stages of stage_chunks, then the columns of a tile's positions.
__device__ __forceinline__ void tensor_gemm(const Layer& layer, int instances, const T* x, const T* w, T* y,
                                            float* workspace, Chunk* shared) {
  Column* const columns = (Column*)(shared + stages * stage_chunks);
  const int group_c = layer.C / layer.groups, group_k = layer.K / layer.groups, steps = group_c * layer.R * layer.S;

  // Splits of a tile follow one another, and are there at about the same time.
  DIBENCH_LOOP for (int item = blockIdx.x; item < instances * tiles_of(layer) * splits; item += gridDim.x) {
    const Tile tile = tile_of(layer, item / splits);
    DIBENCH_LOOP for (int p = threadIdx.x; p < tile_p; p += threads) columns[p] = column_channels_last(layer, tile.p0 + p);
    __syncthreads();  // the columns are complete, and the last tile's stages are no longer read
    const Factors of = {x + tile.instance * x_elements(layer) + tile.group * group_c,
                        w + tile.instance * w_elements(layer) + (tile.group * group_k + tile.k0) * steps, group_k - tile.k0};
    const Steps share = share_of(item % splits, steps, depth);
    float acc[held_p][held_k][4];
    if (group_c % wide == 0)
      multiply_tile<Chunk>(acc, layer, of, share, shared, columns);
    else if (group_c % packed == 0)
      multiply_tile<Word>(acc, layer, of, share, shared, columns);
    else if constexpr (packed > 1)
      multiply_tile<T>(acc, layer, of, share, shared, columns);

    const int now = late(item);  // anew: the main loop has no register to spare for what follows from it
    const Tile done = tile_of(layer, now / splits);
    const Outputs outputs = {
        layer, y + done.instance * y_elements(layer) + done.p0 * layer.K + done.group * group_k + done.k0,
        layer.N * layer.P * layer.Q - done.p0, group_k - done.k0};
    constexpr int together = wide / 2;  // of an mma's results, whose channels are neighbours
    if constexpr (splits == 1) {
      DIBENCH_HELD for (int i = 0; i < held_p; ++i)
        DIBENCH_HELD for (int j = 0; j < held_k; j += together) outputs.put(acc[i] + j, i, j / together);
    } else {
      const Split<threads, held_p * held_k> all(workspace, instances * tiles_of(layer), now / splits);
      DIBENCH_HELD for (int i = 0; i < held_p * held_k; ++i) {
        const float* const own = acc[i / held_k][i % held_k];
        all.put(now % splits, i, make_float4(own[0], own[1], own[2], own[3]));
      }
      if (!all.complete()) continue;
      DIBENCH_LOOP for (int i = 0; i < held_p; ++i)
        DIBENCH_LOOP for (int j = 0; j < held_k; j += 4) {
          float4 sums[4];
          all.sum(sums, i * held_k + j);
          DIBENCH_HELD for (int n = 0; n < 4; n += together)
            outputs.put((const float (*)[4])(sums + n), i, (j + n) / together);
        }
    }
  }
}
