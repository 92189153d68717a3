// Convolution on tensor cores: the implicit GEMM of conv_implicit_gemm.cu with warps, not threads, as the workers. The
// variants that include this file differ in the data type T only.
//
//   y[K/groups][N*P*Q] = w[K/groups][E] * im2col(x)[E][N*P*Q]          E = C/groups * R * S; fp32 sums
//
//   a block makes tile_k x tile_p outputs
//     for each stage of the reduction:                     loads of stage i + 1 start, into registers
//       a warp multiplies its share of stage i             (16 held_k x 32 outputs, mma by mma)
//                                                          registers go to shared memory: stage i + 1
//
// A word is 32 bits, what a lane hands to an mma: one tf32 or two neighbouring steps e of 16 bits. Operands pass through
// registers, not by cp.async: tf32 is rounded on the way, once for all its uses, and two 16-bit inputs that lie apart
// in x become one word.
//
// Limits, main loop on sm_90, tile 128: a warp issues about 200 to 290 instructions for 32 mma of a stage, where rows
// of w lie on 16 bytes and images are dense (32 HMMA, 16 LDS.64, 16 LDS, 4 LDG.128, 4 STS.128; moves and predicates
// are the rest), 300 to 400 under windows, whose inputs are loaded one by one. 8 warps on 4 schedulers: 400 to 800
// cycles, where the tensor cores need 512 for these mma on sm_80 and 256 on sm_90. So this form can come near the peak of
// an A100, but only to about half of what mma reaches on an H200, whose full rate needs wgmma. 182 (tf32) and 196 registers,
// one block of 8 warps on a multiprocessor; 64 x 64: 144 and 158, three blocks of 4. No spills, sm_80 to sm_120. Not
// yet measured on a GPU.
//
// An mma takes 8 words of the reduction. Their order does not matter as long as w and x agree, so lane t of four takes
// words 2t and 2t + 1 for the mma's t and t + 4: they are neighbours, and one 8-byte load brings both.
#pragma once
#include "access.cuh"
#include "im2col.cuh"
#include "mma.cuh"

constexpr int packed = 4 / sizeof(T);                    // elements of a word
constexpr int words = 16, depth = words * packed;        // of a stage, along the reduction
constexpr int warps_k = 2, warps_p = tile_p / 32, threads = 32 * warps_k * warps_p;
constexpr int held_k = tile_k / (16 * warps_k), held_p = 4;  // mma tiles of a warp: 16 channels, 8 positions each

// Pitches of the copies, w[k][word] and x[word][j], in words: 8 channels by 4 pairs of words, and 4 words by 8
// positions, lie in different banks.
constexpr int w_pitch = words + 8, x_pitch = tile_p + 4;
constexpr int w_stage = tile_k * w_pitch, x_stage = words * x_pitch;

struct alignas(4) Word {
  unsigned bits;
};
struct alignas(8) Pair {
  unsigned bits[2];
};
struct alignas(16) Quad {
  unsigned bits[4];
};
#ifdef DIBENCH_HOST
template <> constexpr int dibench_host::elements_of<Word> = packed;
template <> constexpr int dibench_host::elements_of<Pair> = 2 * packed;
template <> constexpr int dibench_host::elements_of<Quad> = 4 * packed;
#endif

__device__ __forceinline__ unsigned bits_of(float element) { return __float_as_uint(element); }
__device__ __forceinline__ unsigned bits_of(unsigned short element) { return element; }
__device__ __forceinline__ unsigned word_of(const T* elements) {
  return packed == 1 ? bits_of(elements[0]) : bits_of(elements[0]) | bits_of(elements[packed - 1]) << 16;
}
/// What goes to shared memory. A tensor core truncates tf32 to 10 bits of mantissa; adding half of the last bit that stays
/// turns that into rounding.
__device__ __forceinline__ unsigned rounded(unsigned word) { return dtype == dtype_tf32 ? word + 0x1000u : word; }

__device__ __forceinline__ void multiply_add(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  if constexpr (dtype == dtype_tf32)
    mma_tf32(d, a, b);
  else if constexpr (dtype == dtype_fp16)
    mma_fp16(d, a, b);
  else
    mma_bf16(d, a, b);
}

/// What a thread carries of a stage from global to shared memory: 2 x 4 words of w, and as many of its own column of
/// im2col(x). In dense images these are 16 bytes of positions at steps e and e + 1; in rows they lie as in w.
struct Carried {
  static constexpr int steps = 8 * packed;
  Quad w[2];
  T x[steps];
  Quad x_wide[2];
};
constexpr int wide = 16 / sizeof(T);  // elements of 16 bytes

/// First position of the tile that a thread carries, and first step of the stage.
template <Lie lie>
__device__ __forceinline__ int carried_position(int thread) {
  return lie == lie_dense ? thread % (tile_p / wide) * wide : thread % tile_p;
}
template <Lie lie>
__device__ __forceinline__ int carried_step(int thread) {
  return lie == lie_dense ? thread / (tile_p / wide) * 2 : thread / tile_p * Carried::steps;
}

/// Starts to load a stage of w, of which `rows` channels and `left` steps exist; the rest is 0 and adds nothing.
__device__ __forceinline__ void load_weights(Carried& carried, int thread, const T* w, int pitch, int rows, int left) {
  const bool aligned = pitch % wide == 0;  // then rows start on 16 bytes, and no vector crosses their end
  const int e = thread % 4 * wide;
  DIBENCH_HELD for (int i = 0; i < 2; ++i) {
    const int k = thread / 4 + i * (threads / 4);
    const T* const from = w + k * pitch + e;
    if (aligned) {
      carried.w[i] = fetch_weight((const Quad*)from, k < rows && e < left);
    } else {
      T element[wide];
      DIBENCH_HELD for (int j = 0; j < wide; ++j) element[j] = fetch_weight(from + j, k < rows && e + j < left);
      DIBENCH_HELD for (int j = 0; j < 4; ++j) carried.w[i].bits[j] = word_of(element + j * packed);
    }
  }
}

/// The same for im2col(x). In rows, `column` is that of the first position that the thread carries, and `rows` are left.
/// Wide because each is a register of its own in the main loop.
template <Lie lie>
__device__ __forceinline__ void load_inputs(Carried& carried, int thread, const T* x, Column column, const Tap* taps,
                                            int image, int C, int rows, int left) {
  const int e = carried_step<lie>(thread);
  if constexpr (lie == lie_dense) {
    DIBENCH_HELD for (int i = 0; i < 2; ++i)
      carried.x_wide[i] = fetch_input((const Quad*)(x + column.offset + (e + i) * image), !column.hidden && e + i < left);
  } else if constexpr (lie == lie_rows) {
    DIBENCH_HELD for (int i = 0; i < 2; ++i) {
      const int j = thread / 4 + i * (threads / 4), c = thread % 4 * wide;
      carried.x_wide[i] = fetch_input((const Quad*)(x + j * C + c), j < rows && c < left);
    }
  } else {
    DIBENCH_HELD for (int i = 0; i < Carried::steps; ++i) {
      const Tap tap = taps[e + i];
      const bool inside = (tap.row_and_column & column.hidden) == 0 && e + i < left;
      carried.x[i] = fetch_input(x + (column.offset + tap.offset), inside);
    }
  }
}

__device__ __forceinline__ Quad rounded(Quad quad) {
  DIBENCH_HELD for (int i = 0; i < 4; ++i) quad.bits[i] = rounded(quad.bits[i]);
  return quad;
}

/// Stores what was loaded to shared memory: w[k][word], x[word][j].
template <Lie lie>
__device__ __forceinline__ void store(const Carried& carried, int thread, unsigned* w_copy, unsigned* x_copy) {
  const int row = thread / 4, word = thread % 4 * 4;
  DIBENCH_HELD for (int i = 0; i < 2; ++i)
    *(Quad*)(w_copy + (row + i * (threads / 4)) * w_pitch + word) = rounded(carried.w[i]);

  unsigned* const own = x_copy + carried_step<lie>(thread) / packed * x_pitch + carried_position<lie>(thread);
  if constexpr (lie == lie_dense && packed == 1) {
    DIBENCH_HELD for (int i = 0; i < 2; ++i) *(Quad*)(own + i * x_pitch) = rounded(carried.x_wide[i]);
  } else if constexpr (lie == lie_dense) {  // positions 2i, 2i + 1 of step e meet theirs of step e + 1
    DIBENCH_HELD for (int half = 0; half < 2; ++half) {
      Quad quad;
      DIBENCH_HELD for (int i = 0; i < 2; ++i) {
        const unsigned low = carried.x_wide[0].bits[2 * half + i], high = carried.x_wide[1].bits[2 * half + i];
        quad.bits[2 * i] = (low & 0xffffu) | high << 16;
        quad.bits[2 * i + 1] = low >> 16 | (high & 0xffff0000u);
      }
      *(Quad*)(own + 4 * half) = quad;
    }
  } else if constexpr (lie == lie_rows) {
    DIBENCH_HELD for (int i = 0; i < 2; ++i)
      DIBENCH_HELD for (int j = 0; j < 4; ++j)
        x_copy[(word + j) * x_pitch + row + i * (threads / 4)] = rounded(carried.x_wide[i].bits[j]);
  } else {
    DIBENCH_HELD for (int i = 0; i < Carried::steps / packed; ++i)
      own[i * x_pitch] = rounded(word_of(carried.x + i * packed));
  }
}

/// acc += the warp's share of one stage. w_own, x_own: the first word of this lane's first channel and position.
__device__ __forceinline__ void multiply(float (&acc)[held_k][held_p][4], const unsigned* w_own, const unsigned* x_own) {
  DIBENCH_HELD for (int word = 0; word < words; word += 8) {
    unsigned b[held_p][2];
    DIBENCH_HELD for (int j = 0; j < held_p; ++j)
      DIBENCH_HELD for (int half = 0; half < 2; ++half)
        b[j][half] = fetch_input_shared((const Word*)(x_own + (word + half) * x_pitch + j * 8)).bits;
    DIBENCH_HELD for (int i = 0; i < held_k; ++i) {
      const Pair low = fetch_weight_shared((const Pair*)(w_own + i * 16 * w_pitch + word));
      const Pair high = fetch_weight_shared((const Pair*)(w_own + (i * 16 + 8) * w_pitch + word));
      const unsigned a[4] = {low.bits[0], high.bits[0], low.bits[1], high.bits[1]};
      DIBENCH_HELD for (int j = 0; j < held_p; ++j) multiply_add(acc[i][j], a, b[j]);
    }
  }
}

/// What a tile multiplies: w from its first channel on, of which its group has `rows`, and x of its group, at positions
/// from p0 on.
struct Factors {
  const T* w;
  int rows;
  const T* x;
  int p0;
};

/// A block's shared memory: w[2][w_stage], x[2][x_stage], taps[depth * R * S]; and where a lane reads the copies of a stage:
/// the first word of its first channel, and of its first position.
struct Copies {
  unsigned *w, *x;
  const Tap* taps;
  int own_w, own_x;
};

/// A tile's products: acc = w[rows][steps] * im2col(x)[steps][tile_p positions from p0 on].
template <Lie lie>
__device__ __forceinline__ void multiply_tile(float (&acc)[held_k][held_p][4], const Layer& layer, Factors of,
                                              Copies copies) {
  const T *w = of.w, *x = of.x;
  const int rows = of.rows, p0 = of.p0;
  const int thread = threadIdx.x, image = layer.H * layer.W, window = layer.R * layer.S;
  const int steps = layer.C / layer.groups * window;
  const Column column = column_of(layer, p0 + carried_position<lie>(thread));
  if (lie == lie_rows) x += p0 * steps;

  Carried carried;
  int left = steps, next_tap = 0, buffer = 0;
  auto load_next = [&] {
    load_weights(carried, thread, w, steps, rows, left);
    load_inputs<lie>(carried, thread, x, column, copies.taps + next_tap, image, steps, layer.N - p0, left);
    left -= depth;
    w += depth;
    next_tap += depth;
    if (lie != lie_windows || next_tap == depth * window) next_tap = 0, x += depth * image;
  };
  DIBENCH_HELD for (int i = 0; i < held_k; ++i)
    DIBENCH_HELD for (int j = 0; j < held_p; ++j)
      DIBENCH_HELD for (int d = 0; d < 4; ++d) acc[i][j][d] = 0.0f;
  load_next();
  store<lie>(carried, thread, copies.w, copies.x);
  DIBENCH_LOOP for (int e = 0; e < steps; e += depth) {
    __syncthreads();  // this stage is complete, and the one before is no longer read: its place is free
    const bool more = left > 0;
    if (more) load_next();
    multiply(acc, copies.w + buffer * w_stage + copies.own_w, copies.x + buffer * x_stage + copies.own_x);
    buffer ^= 1;
    if (more) store<lie>(carried, thread, copies.w + buffer * w_stage, copies.x + buffer * x_stage);
  }
  __syncthreads();  // the last stage is no longer read: the next tile may begin
}

/// The whole kernel. shared: w[2][w_stage], x[2][x_stage], taps[depth * R * S].
__device__ __forceinline__ void tensor_gemm(const Layer& layer, int instances, const T* x, const T* w, float* y,
                                            unsigned* shared) {
  unsigned* const x_copies = shared + 2 * w_stage;
  Tap* const taps = (Tap*)(x_copies + 2 * x_stage);
  fill_taps(taps, layer, depth, threads);
  __syncthreads();  // the table is complete

  const int image = layer.H * layer.W, positions = layer.N * layer.P * layer.Q;
  const int group_c = layer.C / layer.groups, group_k = layer.K / layer.groups, steps = group_c * layer.R * layer.S;
  const int k_tiles = ceil_div(group_k, tile_k), p_tiles = ceil_div(positions, tile_p);
  const int tiles = layer.groups * k_tiles * p_tiles, thread = threadIdx.x;
  // Channels and positions of a warp, and of a lane in an mma (mma.cuh).
  const int lane = thread % 32, g = lane / 4, t = lane % 4;
  const int own_k = thread / 32 % warps_k * (16 * held_k), own_p = thread / 32 / warps_k * (8 * held_p);
  const Copies copies = {shared, x_copies, taps, (own_k + g) * w_pitch + 2 * t, 2 * t * x_pitch + own_p + g};
  const Lie lie = lie_of(layer, wide);

  DIBENCH_LOOP for (int item = blockIdx.x; item < instances * tiles; item += gridDim.x) {
    // Tiles that share positions follow one another, and find them in L2.
    const int instance = item / tiles, group = item / (k_tiles * p_tiles) % layer.groups;
    const int k0 = item % k_tiles * tile_k, p0 = item / k_tiles % p_tiles * tile_p;
    const T* const tile_w = w + instance * w_elements(layer) + (group * group_k + k0) * steps;
    const T* const tile_x = x + instance * x_elements(layer) + group * group_c * image;
    const Factors factors = {tile_w, group_k - k0, tile_x, p0};
    float acc[held_k][held_p][4];
    if (lie == lie_dense)
      multiply_tile<lie_dense>(acc, layer, factors, copies);
    else if (lie == lie_rows && layer.C % wide == 0)
      multiply_tile<lie_rows>(acc, layer, factors, copies);
    else
      multiply_tile<lie_windows>(acc, layer, factors, copies);

    const int plane = late(layer.P * layer.Q);
    float* const tile_y = y + instance * y_elements(layer) + (group * group_k + k0) * plane;
    DIBENCH_HELD for (int j = 0; j < held_p; ++j)
      DIBENCH_HELD for (int side = 0; side < 2; ++side) {
        const int position = p0 + own_p + j * 8 + 2 * t + side;
        if (position >= positions || (plane % 2 == 0 && side)) continue;
        float* const to = tile_y + position / plane * (layer.K * plane) + position % plane;
        DIBENCH_HELD for (int i = 0; i < 2 * held_k; ++i) {
          const int k = own_k + g + i * 8;
          if (k0 + k >= group_k) continue;
          const float* const pair = acc[i / 2][j] + i % 2 * 2;
          if (plane % 2 == 0)  // both positions lie in one image, on 8 bytes
            put_output((float2*)(to + k * plane), make_float2(pair[0], pair[1]));
          else
            put_output(to + k * plane, pair[side]);
        }
      }
  }
}
