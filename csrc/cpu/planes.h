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
  int64_t divisor = stride, rest = dil % stride;  // Euclid: the remainders repeat after stride / gcd(stride, dil)
  while (rest != 0) {
    const int64_t next = divisor % rest;
    divisor = rest, rest = next;
  }
  return min_of(taps, stride / divisor);
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

/// A block of rows in memory: `rows` of them, `pitch` floats apart.
struct Rows { int64_t rows, to_pitch, from_pitch; };

/// Copies rows of n inputs that lie `Step` apart (1 or 2) with vectors of up to Width. The last vector of
/// a row is moved back so that it ends with the data: nothing outside is touched, some is copied twice.
template <int Width, int Step>
DIBENCH_INLINE void copy_inputs(float* to, const float* from, int64_t n, const Rows& block) {
  if constexpr (Width > 1) {
    if (n < Width) return copy_inputs<Width / 2, Step>(to, from, n, block);
  }
  typedef typename Narrow<Width>::vec v;
  for (int64_t i = 0; i < block.rows; ++i, to += block.to_pitch, from += block.from_pitch)
    for (int64_t j = 0;; j = min_of(j + Width, n - Width)) {
      const float* at = from + Step * j;
      if constexpr (Width == 1) {
        to[j] = load_input(at);
      } else if constexpr (Step == 1) {
        DIBENCH_ADD(input_reads, Width);
        *(v*)(to + j) = *(const v*)at;
      } else {
        // Every second of 2 * Width - 1 elements: the second vector starts one early to end with the last.
        DIBENCH_ADD(input_reads, 2 * Width);
        typename Narrow<Width>::index even;
        for (int e = 0; e < Width; ++e) even[e] = e < Width / 2 ? 2 * e : 2 * e + 1;
        *(v*)(to + j) = __builtin_shuffle(*(const v*)at, *(const v*)(at + Width - 1), even);
      }
      if (j == n - Width) break;
    }
}

/// Stores rows of n finished outputs that lie in scratch, in the way of copy_inputs.
template <int Width>
DIBENCH_INLINE void copy_outputs(float* to, const float* from, int64_t n, const Rows& block) {
  if constexpr (Width > 1) {
    if (n < Width) return copy_outputs<Width / 2>(to, from, n, block);
  }
  typedef typename Narrow<Width>::vec v;
  for (int64_t i = 0; i < block.rows; ++i, to += block.to_pitch, from += block.from_pitch)
    for (int64_t j = 0;; j = min_of(j + Width, n - Width)) {
      DIBENCH_ADD(output_writes, Width);
      *(v*)(to + j) = *(const v*)(from + j);
      if (j == n - Width) break;
    }
}

/// The i in 0..count-1 with 0 <= i * stride + shift < extent.
struct Span { int64_t begin, end; };
DIBENCH_INLINE Span inside(int64_t count, int64_t shift, int64_t stride, int64_t extent) {
  const int64_t begin = shift < 0 ? ceil_div(-shift, stride) : 0;
  const int64_t end = shift < extent ? min_of(count, ceil_div(extent - shift, stride)) : 0;
  return {min_of(begin, count), max_of(min_of(begin, count), end)};
}

/// Sorts the rows of x [channels][H][W] that a strip needs into phase planes. `planes` was all zero before
/// its first use; columns of padding stay so, as do rows of padding unless another strip had data there.
static void pack_planes(const Planes& g, const Layer& l, const float* x, int64_t channels,
                        int64_t first_row, int64_t rows, float* planes) {
  for (int64_t a = 0; a < g.phases_h; ++a)
    for (int64_t b = 0; b < g.phases_w; ++b, planes += g.plane) {
      const int64_t shift_h = first_row * l.stride_h + a * l.dil_h % l.stride_h - l.pad_h;
      const int64_t shift_w = b * l.dil_w % l.stride_w - l.pad_w;
      const Span i = inside(rows + g.extra_h, shift_h, l.stride_h, l.H);
      const Span j = inside(g.pitch, shift_w, l.stride_w, l.W);
      const int64_t n = j.end - j.begin;
      if (n == 0) continue;
      const Rows block = {i.end - i.begin, g.pitch, l.stride_h * l.W};
      const float* from = x + (i.begin * l.stride_h + shift_h) * l.W + j.begin * l.stride_w + shift_w;
      float* to = planes;
      for (int64_t c = 0; c < channels; ++c, from += l.H * l.W, to += g.channel) {
        float* data = to + i.begin * g.pitch + j.begin;
        if (l.stride_w == 1) copy_inputs<lanes, 1>(data, from, n, block);
        else if (l.stride_w == 2) copy_inputs<lanes, 2>(data, from, n, block);
        else for (int64_t r = 0; r < block.rows; ++r)
          for (int64_t k = 0; k < n; ++k)
            data[r * g.pitch + k] = load_input(from + r * block.from_pitch + k * l.stride_w);
        if (g.strips > 1) {
          const int64_t after = (rows + g.extra_h - i.end) * g.pitch;
          __builtin_memset(to, 0, size_t(i.begin * g.pitch) * sizeof(float));
          __builtin_memset(to + i.end * g.pitch, 0, size_t(after) * sizeof(float));
        }
      }
    }
}

}  // namespace dibench
