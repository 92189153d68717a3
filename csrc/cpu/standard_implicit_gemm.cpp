/* Convolution with any filter as a matrix product over (c, r, s); each tile of outputs stays in registers.

x[N][C][H][W], w[K][C*R*S], y[N][K][P*Q]. Output positions are the columns: vectors run along the image, weights are
broadcast, so neither weights nor outputs need another layout. The image is worked on in strips of output rows. First a
strip's inputs are copied once, padded and with every stride_w-th column next to each other. From that copy each panel
of 3 vectors of columns is laid out, row (c, r, s) after row, only as deep as the caches hold: the matrix of all taps
(im2col), R*S times the image, never exists as a whole. See csrc/cpu/gemm.h. Each thread has strips of its own. Images
of few positions go together, several in a strip, so that they fill the panels; their outputs are taken apart at the
end.

[variant]
ops          = ["standard"]
stationarity = "output"
fast         = true
teaches      = "Laying out the inputs costs about as much as 10 output channels: little for many of them, noticeable at K = 32."
# Output rows of an image whose inputs, laid out for the filter, are about a MiB; strips are even.
define.phases = "1 if S == 1 else stride_w"
define.pitch = "ceil_div((Q - 1) * phases + (S - 1) * dil_w + 1, phases) * phases"
define.step = "1 if R == 1 else stride_h"
define.reach = "(R - 1) * dil_h + 1"
define.fit = "262144 // (C * pitch)"
define.most = "(fit - reach) // step + 1 if fit > reach else 1"
define.even = "ceil_div(P, ceil_div(P, most))"
# Images that go together: of a MiB and of 256 positions; 1 where an image has strips.
define.room = "min(262144 // (C * ((P - 1) * step + reach) * pitch), 256 // (P * Q))"
define.images = "1 if even < P or room < 2 else ceil_div(N, ceil_div(N, room))"
# Output rows of a strip and how many there are: of N images one after the other where images go together.
define.strip = "P * images if images > 1 else even"
define.high = "N * P if images > 1 else P"
define.times = "1 if images > 1 else N"
# Vectors that copy the positions of a strip, cut at the end of each row and of each panel of 3 vectors.
# The last two panels share four vectors, two and two.
define."begin(i, columns)" = "min((3 * i - (1 if i > 0 and 3 * i + 1 == ceil_div(columns, lanes) else 0)) * lanes, columns)"
define."piece(p, i, columns)" = "max(0, min((p + 1) * Q, begin(i + 1, columns)) - max(p * Q, begin(i, columns)))"
define."copies(rows)" = "sum(ceil_div(piece(p, i, rows * Q), lanes) for p in range(rows) for i in range(p * Q // (3 * lanes), ceil_div((p + 1) * Q, 3 * lanes) + 1))"
define."filled(rows, width)" = "ceil_div(rows * Q, width)"
define.copied = "times * (high // strip * copies(strip) + copies(high % strip))"
define.vectors = "times * (high // strip * filled(strip, lanes) + filled(high % strip, lanes))"
define.panels = "times * (high // strip * filled(strip, 3 * lanes) + filled(high % strip, 3 * lanes))"
define.sums = "K * lanes * vectors if images > 1 else N * K * P * Q"
counts.macs_executed = "K * C * R * S * lanes * vectors"
counts.weight_reads  = "K * C * R * S * panels"
counts.input_reads   = "C * (N * staged_inputs(P if images > 1 else strip) + R * S * lanes * (copied + vectors * ceil_div(K, 8 if lanes == 16 else 4)))"
counts.output_reads  = "sums * (ceil_div(C * R * S, 256) - 1)"
counts.output_writes = "sums * ceil_div(C * R * S, 256) + (N * K * P * Q if images > 1 else 0)"
*/
#include "gemm.h"

namespace dibench {
namespace {

// Floats of a strip's inputs: a MiB. Larger ones leave the second-level cache, smaller ones read the weights more often.
constexpr int64_t strip_floats = 262144;

// Images that go together have so many positions: about five panels, whose outputs stay in that cache too.
constexpr int64_t merged_positions = 256;

/// A strip of output rows and the inputs under it, padded and split by column phase: image[c][row][phase][column],
/// where filter tap (r, s) of output (p, q) is row p*stride_h + r*dil_h, phase s*dil_w % stride_w, column
/// q + s*dil_w / stride_w. All inputs of one tap and one output row are then consecutive, whatever the stride, and
/// padding needs no test.
struct Staged {
  int64_t phases, columns;
  int64_t row_step, column_step;  // of x between neighbouring rows and columns of the image
  int64_t stride_h;               // in rows of the image
  int64_t reach;                  // rows of the image under one output row
  int64_t strip, strips;          // output rows of a strip (the last one may have fewer), strips of an image
  int64_t rows;                   // of the image, under a whole strip
  int64_t images;                 // of a strip: more than one where one has few positions

  explicit Staged(const Layer& l) {
    // A filter one tap high (wide) sees only every stride-th row (column): the others are left out.
    row_step = l.R == 1 ? l.stride_h : 1;
    stride_h = l.R == 1 ? 1 : l.stride_h;
    column_step = l.S == 1 ? l.stride_w : 1;
    phases = l.S == 1 ? 1 : l.stride_w;
    columns = ceil_div((l.Q - 1) * phases + (l.S - 1) * l.dil_w + 1, phases);
    reach = (l.R - 1) * l.dil_h + 1;
    // As even as possible: two strips of 14 rows rather than 15 and 13.
    const int64_t fit = strip_floats / (l.C * phases * columns), most = fit > reach ? (fit - reach) / stride_h + 1 : 1;
    strip = ceil_div(l.P, ceil_div(l.P, most));
    strips = ceil_div(l.P, strip);
    rows = (strip - 1) * stride_h + reach;
    // Small images go together, as many as the budget holds: vectors fill up, and weights are read less often.
    const int64_t room = smaller(strip_floats / (l.C * channel_floats()), merged_positions / (l.P * l.Q));
    images = strips > 1 || room < 2 ? 1 : ceil_div(l.N, ceil_div(l.N, room));
  }
  int64_t channel_floats() const { return rows * phases * columns; }
  int64_t strips_of(const Layer& l) const { return ceil_div(l.N, images) * strips; }
  int64_t positions(const Layer& l) const { return images * strip * l.Q; }
  // Copies read whole vectors, the last one beyond the image's end.
  int64_t image_floats(const Layer& l) const { return ceil_div(images * l.C * channel_floats() + lanes, 16) * 16; }
  // Outputs of several images, not yet apart.
  int64_t merged_floats(const Layer& l) const {
    return images > 1 ? l.K * ceil_div(positions(l), 16) * 16 : 0;
  }
};

/// Copies `count` inputs that lie `step` apart.
DIBENCH_INLINE void copy_row(const float* from, float* to, int64_t count, int64_t step) {
  if (step == 1) {
    DIBENCH_ADD(input_reads, count);
    __builtin_memcpy(to, from, size_t(count) * sizeof(float));
  } else if (step == 2) {
    for (int64_t i = 0; i < count; ++i) to[i] = load_input(from + 2 * i);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = load_input(from + i * step);
  }
}

/// Zeros to[begin .. end): a few, for which a call of memset would take longer.
DIBENCH_INLINE void clear(float* to, int64_t begin, int64_t end) {
  for (int64_t j = begin; j < end; ++j) {
    to[j] = 0;
    __asm__("" ::: "memory");  // GCC would make a memset of the loop
  }
}

/// Lays out channels [c_begin, c_end) of x[C][H][W] for `out_rows` output rows, of which row p is the first.
void stage(const Layer& l, const Staged& staged, const float* x, int64_t p, int64_t out_rows, Share channels,
           float* image) {
  const int64_t first_row = p * staged.stride_h, rows = (out_rows - 1) * staged.stride_h + staged.reach;
  const int64_t columns = staged.columns;
  for (int64_t phase = 0; phase < staged.phases; ++phase) {
    // Column j of this phase is column first + j * step of x; columns [begin, end) exist.
    const int64_t step = staged.phases * staged.column_step, first = phase - l.pad_w;
    const int64_t begin = first < 0 ? smaller(ceil_div(-first, step), columns) : 0;
    const int64_t end = first < l.W ? smaller((l.W - 1 - first) / step + 1, columns) : 0;
    for (int64_t c = channels.begin; c < channels.end; ++c)
      for (int64_t row = 0; row < rows; ++row) {
        float* to = image + ((c * staged.rows + row) * staged.phases + phase) * columns;
        const int64_t h = (first_row + row) * staged.row_step - l.pad_h;
        if (h < 0 || h >= l.H || begin >= end) {
          clear(to, 0, columns);
          continue;
        }
        clear(to, 0, begin);
        copy_row(x + (c * l.H + h) * l.W + first + begin * step, to + begin, end - begin, step);
        clear(to, end, columns);
      }
  }
}

/// Where in the image each tap (r, s) meets output position (0, 0) of channel 0.
void tap_offsets(const Layer& l, const Staged& staged, int64_t* offsets) {
  for (int64_t r = 0; r < l.R; ++r)
    for (int64_t s = 0; s < l.S; ++s)
      *offsets++ = (r * l.dil_h * staged.phases + s * l.dil_w % staged.phases) * staged.columns +
                   s * l.dil_w / staged.phases;
}

/// A vector of a panel's rows: where it comes from, in the image, and goes to.
struct Move {
  int64_t from, to;
};

/// Row d = (c, r, s) of a panel holds the inputs that tap (c, r, s) meets at the panel's output positions.
struct PackTaps {
  static constexpr int64_t rows = depth_chunk;  // all: the copy of the strip is in the cache

  const Layer& l;
  const Staged& staged;
  const float* image;
  const int64_t* offsets;  // of the taps
  int64_t columns;

  void operator()(int64_t panel, int64_t d_begin, int64_t d_end, float* to) const {
    // The vectors of a row, in ascending order. A vector may spill over the end of an output row: the next
    // one, stored later, corrects that.
    Move moves[panel_columns];
    int count = 0;
    const int64_t begin = panel_begin(columns, panel), end = panel_begin(columns, panel + 1);
    for (int64_t j = begin; j < end;) {
      const int64_t row = j / l.Q, q = j % l.Q, length = smaller(l.Q - q, end - j);
      const int64_t n = row / staged.strip, p = row % staged.strip;  // in the strip
      const int64_t from = n * l.C * staged.channel_floats() + p * staged.stride_h * staged.phases * staged.columns;
      for (int64_t i = 0; i < length; i += lanes) moves[count++] = {from + q + i, j - begin + i};
      j += length;
    }
    // What the last row spills would fall on rows that another thread packs.
    float last[panel_columns + lanes];
    if (count == 3) pack<3>(moves, count, d_begin, d_end, to, last);
    else if (count == 4) pack<4>(moves, count, d_begin, d_end, to, last);
    else if (count == 5) pack<5>(moves, count, d_begin, d_end, to, last);
    else pack<0>(moves, count, d_begin, d_end, to, last);
    for (int64_t j = 0; j < end - begin; ++j) to[(d_end - d_begin - 1) * panel_columns + j] = last[j];
  }

  /// COUNT: how many moves, if known; their addresses then stay in registers.
  template <int COUNT>
  void pack(const Move* moves, int count, int64_t d_begin, int64_t d_end, float* to, float* last) const {
    const int64_t taps = l.R * l.S, channel = staged.channel_floats();
    const int64_t* const tap_begin = offsets;
    const int64_t *tap = tap_begin + d_begin % taps, *const tap_end = tap_begin + taps;
    const float* c = image + d_begin / taps * channel;
    int64_t from[COUNT + 1], at[COUNT + 1];
    for (int i = 0; i < COUNT; ++i) from[i] = moves[i].from, at[i] = moves[i].to;
    for (int64_t d = d_begin; d < d_end; ++d, to += panel_columns) {
      float* row = d + 1 < d_end ? to : last;
      const float* x = c + *tap;
      if (++tap == tap_end) tap = tap_begin, c += channel;
      if constexpr (COUNT) {
#pragma GCC unroll 8
        for (int i = 0; i < COUNT; ++i) *(vec_unaligned*)(row + at[i]) = load_inputs(x + from[i]);
      } else {
        for (int i = 0; i < count; ++i) *(vec_unaligned*)(row + moves[i].to) = load_inputs(x + moves[i].from);
      }
    }
  }
};

/// A strip of a launch: rows of one image, or several whole images.
struct Strip {
  int64_t n, images, p, rows;

  Strip(const Layer& l, const Staged& staged, int64_t index)
      : n(index / staged.strips * staged.images), images(smaller(staged.images, l.N - n)),
        p(index % staged.strips * staged.strip), rows(smaller(staged.strip, l.P - p)) {}
};

/// Scratch of one thread, or of a team at work on one strip.
struct Scratch {
  float *packed, *image, *merged;
  int64_t floats;

  Scratch(const Layer& l, const Staged& staged, float* begin) {
    const int64_t panels = packed_floats({l.K, l.C * l.R * l.S, staged.positions(l), nullptr, nullptr, 0}, 1);
    packed = begin;
    image = packed + panels;
    merged = image + staged.image_floats(l);
    floats = panels + staged.image_floats(l) + staged.merged_floats(l);
  }
};

int64_t offsets_floats(const Layer& l) { return ceil_div(2 * l.R * l.S, 16) * 16; }

/// One strip by member `member` of `members` threads, which share one scratch.
void run_strip(const Launch& launch, const Staged& staged, int64_t index, float* scratch, int member, int members) {
  const Layer& l = launch.layer;
  const Strip strip(l, staged, index);
  const Scratch at(l, staged, scratch);
  for (int64_t i = 0; i < strip.images; ++i)
    stage(l, staged, launch.x + (strip.n + i) * l.C * l.H * l.W, strip.p, strip.rows, share_of(l.C, member, members),
          at.image + i * l.C * staged.channel_floats());
  if (members > 1) {
#pragma omp barrier
  }
  const int64_t plane = l.P * l.Q, columns = strip.images * strip.rows * l.Q, depth = l.C * l.R * l.S;
  const PackTaps pack = {l, staged, at.image, (const int64_t*)launch.scratch, columns};
  float* const y = launch.y + strip.n * l.K * plane;
  const bool merged = staged.images > 1;
  const int64_t whole = ceil_div(columns, lanes) * lanes;
  const Product product = merged ? Product{l.K, depth, whole, launch.w, at.merged, whole}
                                 : Product{l.K, depth, columns, launch.w, y + strip.p * l.Q, plane};
  multiply_panels(product, {0, ceil_div(columns, panel_columns)}, pack, at.packed, member, members);
  if (!merged) return;
  const Share mine = share_of(l.K, member, members);
  for (int64_t i = 0; i < strip.images; ++i)
    for (int64_t k = mine.begin; k < mine.end; ++k) {
      DIBENCH_ADD(output_writes, plane);
      __builtin_memcpy(y + (i * l.K + k) * plane, at.merged + k * whole + i * plane, size_t(plane) * sizeof(float));
    }
  if (members > 1) {  // the next strip overwrites this one's sums
#pragma omp barrier
  }
}

int64_t scratch_floats(const Launch& launch) {
  const Layer& l = launch.layer;
  return offsets_floats(l) + launch.threads * Scratch(l, Staged(l), nullptr).floats;
}

void run(const Launch& launch) {
  const Layer& l = launch.layer;
  const Staged staged(l);
  const int64_t strips = staged.strips_of(l), floats = Scratch(l, staged, nullptr).floats;
  tap_offsets(l, staged, (int64_t*)launch.scratch);
  float* const scratch = launch.scratch + offsets_floats(l);
#pragma omp parallel num_threads(launch.threads)
  {
    const int thread = omp_get_thread_num(), threads = omp_get_num_threads();
    // Each thread has as many strips of its own as all others; what is left they share.
    const int64_t each = strips / threads;
    for (int64_t i = 0; i < each; ++i)
      run_strip(launch, staged, thread * each + i, scratch + thread * floats, 0, 1);
    if (each > 0 && each * threads < strips) {  // the first one's scratch is free
#pragma omp barrier
    }
    for (int64_t i = each * threads; i < strips; ++i) run_strip(launch, staged, i, scratch, thread, threads);
  }
}

}  // namespace
}  // namespace dibench

DIBENCH_VARIANT(standard_implicit_gemm, dibench::run, dibench::scratch_floats)
