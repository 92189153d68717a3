// The matrix that makes a convolution a matrix product. It is never stored. With j = (n, p, q) an output position and
// e = (c, r, s) a step of the reduction over one group,
//
//   im2col[e][j] = x[n, c, p*stride - pad + r*dil, q*stride - pad + s*dil], or 0 on padding
//
// The index splits into a part that depends on the position only, which a thread works out once for the columns it
// reads, and a part that depends on e only: a table in shared memory. No division is left for the main loop.
#pragma once
#include "layer.cuh"

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

/// The position's column, with the offset of its first tap as a multiple of what one pixel takes, `image` of the image.
__device__ __forceinline__ Column column_in(const Layer& l, int position, int image, int pixel) {
  if (position >= l.N * l.P * l.Q) return {0, ~0u};
  const int P = late(l.P), Q = late(l.Q), n = position / (P * Q), p = position / Q % P, q = position % Q;
  const int line = p * l.stride_h - l.pad_h, column = q * l.stride_w - l.pad_w;  // under filter tap (0, 0)
  unsigned hidden = 0;
  DIBENCH_LOOP for (int r = 0; r < l.R; ++r)
    if (line + r * l.dil_h < 0 || line + r * l.dil_h >= l.H) hidden |= 1u << r;
  DIBENCH_LOOP for (int s = 0; s < l.S; ++s)
    if (column + s * l.dil_w < 0 || column + s * l.dil_w >= l.W) hidden |= 1u << (16 + s);
  return {n * image + (line * l.W + column) * pixel, hidden};
}
__device__ __forceinline__ Column column_of(const Layer& l, int position) {
  return column_in(l, position, l.C * l.H * l.W, 1);
}
/// The same in x[N][H][W][C].
__device__ __forceinline__ Column column_channels_last(const Layer& l, int position) {
  return column_in(l, position, l.C * l.H * l.W, l.C);
}

// How the positions of a tile lie in x:
enum Lie {
  lie_windows,  // under filters: next to each other or further apart, some on padding
  lie_dense,    // in whole images under a 1x1 filter, `vector` of them on 16 bytes
  lie_rows      // fully-connected: a position is an image, a row of channels
};
__device__ __forceinline__ Lie lie_of(const Layer& l, int vector) {
  if (l.R * l.S > 1 || l.pad_h > 0 || l.pad_w > 0 || l.P != l.H || l.Q != l.W) return lie_windows;
  if (l.H * l.W == 1 && l.groups == 1) return lie_rows;
  return l.stride_h == 1 && l.stride_w == 1 && l.H * l.W % vector == 0 ? lie_dense : lie_windows;
}

/// Fills the table for steps 0 .. depth*R*S - 1. After R*S stages of `depth` steps the filter taps repeat in the same
/// order, `depth` channels further on, so the table ends there. A barrier must follow.
__device__ __forceinline__ void fill_taps(Tap* taps, const Layer& l, int depth, int threads) {
  const int window = l.R * l.S;
  DIBENCH_LOOP for (int e = threadIdx.x; e < depth * window; e += threads) {
    const int c = e / window, r = e / l.S % l.R, s = e % l.S;
    taps[e] = {c * l.H * l.W + r * l.dil_h * l.W + s * l.dil_w, 1u << r | 1u << (16 + s)};
  }
}
