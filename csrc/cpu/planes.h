// Zero-padded copies of input planes in which a filter tap is one constant offset. Shared by the fast
// depthwise and grouped kernels.
//
//   x[n][c] : [H][W]   ->   planes[c] : [phase_h][phase_w][rows + extra_h][pitch],  pitch = Q + extra_w
//
// Output position (p, q) of a strip of `rows` output rows gets the number t = p * pitch + q, and tap
// (r, s) of it reads planes[c][offset(r, s) + t], whatever stride, padding and dilation are. So the
// positions of a strip form one long run that fills whole vectors, also where an output row is only
// seven wide. The price is extra_w junk positions at the end of each row, which are computed and dropped.
//
// A stride of 2 would make neighbouring positions read every second element. The copy undoes that: it
// sorts columns (and rows) by their remainder modulo the stride, one phase plane for each remainder
// that some tap needs.
#pragma once
#include "access.h"
#include "kernel.h"

namespace dibench {

DIBENCH_INLINE int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
DIBENCH_INLINE int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }
DIBENCH_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// How many different remainders modulo `stride` the taps 0, dil, 2*dil, ... (taps of them) have.
DIBENCH_INLINE int64_t phases(int64_t taps, int64_t dil, int64_t stride) {
  int64_t period = 1;
  while (period * dil % stride != 0) ++period;
  return min_of(taps, period);
}

struct Planes {
  int64_t phases_h, phases_w;  // phase planes of one channel
  int64_t extra_h, extra_w;    // rows and columns that the window of a position reaches beyond its own
  int64_t pitch;               // positions from one output row to the next
  int64_t rows, strips;        // output rows of a strip (the last one may have fewer), strips of an image
  int64_t plane;               // floats of one phase plane
  int64_t channel;             // floats of all phase planes of one channel
};

/// `positions`: how many positions of a strip fit the cache.
static Planes make_planes(const Layer& l, int64_t positions, int64_t round = 1) {
  Planes g;
  g.phases_h = phases(l.R, l.dil_h, l.stride_h);
  g.phases_w = phases(l.S, l.dil_w, l.stride_w);
  g.extra_h = (l.R - 1) * l.dil_h / l.stride_h;
  g.extra_w = (l.S - 1) * l.dil_w / l.stride_w;
  g.pitch = ceil_div(l.Q + g.extra_w, round) * round;
  // As even as possible: three strips of 19 rows rather than 24, 24 and 9.
  g.rows = ceil_div(l.P, ceil_div(l.P, max_of(1, positions / g.pitch)));
  g.strips = ceil_div(l.P, g.rows);
  g.plane = (g.rows + g.extra_h) * g.pitch;
  g.channel = g.phases_h * g.phases_w * g.plane;
  return g;
}

/// The same scalar in every lane. (x - 0 is x for every x, also for -0, so nothing is computed.)
DIBENCH_INLINE vec splat(float x) { return x - vec{}; }

/// Tells the compiler that v is in a register now. Without it GCC makes a vector that several multiply-adds
/// use a memory operand of each of them, and so loads it again and again.
DIBENCH_INLINE vec in_register(vec v) {
#if defined(__x86_64__)
  __asm__("" : "+v"(v));
#elif defined(__aarch64__)
  __asm__("" : "+w"(v));
#endif
  return v;
}

/// Where the taps of position 0 lie in the planes of a channel: offsets [R][S].
static void tap_offsets(const Planes& g, const Layer& l, int64_t* offsets) {
  for (int64_t r = 0; r < l.R; ++r)
    for (int64_t s = 0; s < l.S; ++s)
      *offsets++ = (r % g.phases_h * g.phases_w + s % g.phases_w) * g.plane +
                   r * l.dil_h / l.stride_h * g.pitch + s * l.dil_w / l.stride_w;
}

/// Part `i` of `parts` of n things, as even as possible.
struct Part { int64_t begin, size; };
DIBENCH_INLINE Part part_of(int64_t n, int64_t parts, int64_t i) {
  const int64_t begin = n * i / parts;
  return {begin, n * (i + 1) / parts - begin};
}

template <int Width> struct Narrow {
  typedef float vec __attribute__((vector_size(4 * Width), aligned(4), may_alias));
  typedef int32_t index __attribute__((vector_size(4 * Width)));
};

/// Copies n floats of x, `Step` apart (1 or 2), with vectors of up to Width. The last vector is moved
/// back so that it ends with the data: nothing outside it is touched, some of it is copied twice.
template <int Width, int Step>
DIBENCH_INLINE void copy_inputs(float* to, const float* from, int64_t n) {
  if constexpr (Width == 1) {
    if (n == 1) to[0] = load_input(from);
  } else {
    if (n < Width) return copy_inputs<Width / 2, Step>(to, from, n);
    typedef typename Narrow<Width>::vec v;
    for (int64_t i = 0;; i = min_of(i + Width, n - Width)) {
      const float* at = from + Step * i;
      DIBENCH_ADD(input_reads, Step * Width);
      if constexpr (Step == 1) {
        *(v*)(to + i) = *(const v*)at;
      } else {
        // Elements 0, 2, ... of 2 * Width - 1: the second vector starts one early to end with the last.
        typename Narrow<Width>::index even;
        for (int j = 0; j < Width; ++j) even[j] = j < Width / 2 ? 2 * j : 2 * j + 1;
        *(v*)(to + i) = __builtin_shuffle(*(const v*)at, *(const v*)(at + Width - 1), even);
      }
      if (i == n - Width) return;
    }
  }
}

/// Stores n finished outputs that lie in scratch, in the way of copy_inputs.
template <int Width>
DIBENCH_INLINE void copy_outputs(float* to, const float* from, int64_t n) {
  if constexpr (Width == 1) {
    if (n == 1) store_output(to, from[0]);
  } else {
    if (n < Width) return copy_outputs<Width / 2>(to, from, n);
    typedef typename Narrow<Width>::vec v;
    for (int64_t i = 0;; i = min_of(i + Width, n - Width)) {
      DIBENCH_ADD(output_writes, Width);
      *(v*)(to + i) = *(const v*)(from + i);
      if (i == n - Width) return;
    }
  }
}

/// Sorts the part of one image plane x [H][W] that a strip needs into its phase planes. Columns that
/// are padding are not written: they are the same for every plane and were zeroed once, before.
static void pack_plane(const Planes& g, const Layer& l, const float* x, int64_t first_row, int64_t rows,
                       float* planes) {
  for (int64_t a = 0; a < g.phases_h; ++a)
    for (int64_t b = 0; b < g.phases_w; ++b, planes += g.plane) {
      const int64_t shift = b * l.dil_w % l.stride_w - l.pad_w;  // image column of plane column 0
      const int64_t begin = shift < 0 ? ceil_div(-shift, l.stride_w) : 0;
      const int64_t end = shift < l.W ? min_of(g.pitch, ceil_div(l.W - shift, l.stride_w)) : 0;
      for (int64_t i = 0; i < rows + g.extra_h; ++i) {
        const int64_t h = (first_row + i) * l.stride_h + a * l.dil_h % l.stride_h - l.pad_h;
        float* to = planes + i * g.pitch + begin;
        const int64_t n = end - begin;
        if (n <= 0) continue;
        if (h < 0 || h >= l.H) {
          __builtin_memset(to, 0, size_t(n) * sizeof(float));
          continue;
        }
        const float* from = x + h * l.W + begin * l.stride_w + shift;
        if (l.stride_w == 1) copy_inputs<lanes, 1>(to, from, n);
        else if (l.stride_w == 2) copy_inputs<lanes, 2>(to, from, n);
        else for (int64_t j = 0; j < n; ++j) to[j] = load_input(from + j * l.stride_w);
      }
    }
}

}  // namespace dibench
