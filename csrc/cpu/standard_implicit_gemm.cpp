/* Convolution with any filter as a matrix product over (c, r, s); each tile of outputs stays in registers.

x[N][C][H][W], w[K][C*R*S], y[N][K][P*Q]. Output positions are the columns: vectors run along the image, weights are
broadcast, so neither weights nor outputs need another layout. First the image is copied once, padded and with
every stride_w-th column next to each other. From that copy each panel of 3 vectors of columns is laid out, row
(c, r, s) after row, only as deep as the caches hold: the matrix of all taps (im2col), R*S times the image, never
exists as a whole. See csrc/cpu/gemm.h.

[variant]
ops          = ["standard"]
stationarity = "output"
fast         = true
teaches      = "Laying out the inputs costs 1/K of the arithmetic: little for many output channels, noticeable at K = 16."
# Vectors that copy the positions of an image, cut at the end of each row and of each panel of 3 vectors.
define."piece(p, i)" = "min((p + 1) * Q, (i + 1) * 3 * lanes) - max(p * Q, i * 3 * lanes)"
define.copied = "sum(ceil_div(piece(p, i), lanes) for p in range(P) for i in range(p * Q // (3 * lanes), ceil_div((p + 1) * Q, 3 * lanes)))"
counts.macs_executed = "N * K * C * R * S * lanes * ceil_div(P * Q, lanes)"
counts.weight_reads  = "N * K * C * R * S * ceil_div(P * Q, 3 * lanes)"
counts.input_reads   = "N * C * (staged_inputs() + R * S * lanes * (copied + ceil_div(P * Q, lanes) * ceil_div(K, 8 if lanes == 16 else 4)))"
counts.output_reads  = "N * K * P * Q * (ceil_div(C * R * S, 256) - 1)"
counts.output_writes = "N * K * P * Q * ceil_div(C * R * S, 256)"
*/
#include "gemm.h"

namespace dibench {
namespace {

/// One padded image split by column phase: image[c][row][phase][column], where filter tap (r, s) of output
/// (p, q) is row p*stride_h + r*dil_h, phase s*dil_w % stride_w, column q + s*dil_w / stride_w. All inputs
/// of one tap and one output row are then consecutive, whatever the stride, and padding needs no test.
struct Staged {
  int64_t rows, phases, columns;
  int64_t row_step, column_step;  // of x between neighbouring rows and columns of the image
  int64_t stride_h;               // in rows of the image

  explicit Staged(const Layer& l) {
    // A filter one tap high (wide) sees only every stride-th row (column): the others are left out.
    row_step = l.R == 1 ? l.stride_h : 1;
    stride_h = l.R == 1 ? 1 : l.stride_h;
    rows = (l.P - 1) * stride_h + (l.R - 1) * l.dil_h + 1;
    column_step = l.S == 1 ? l.stride_w : 1;
    phases = l.S == 1 ? 1 : l.stride_w;
    columns = ceil_div((l.Q - 1) * phases + (l.S - 1) * l.dil_w + 1, phases);
  }
  int64_t channel_floats() const { return rows * phases * columns; }
  // Copies read whole vectors, the last one beyond the image's end.
  int64_t floats(const Layer& l) const { return l.C * channel_floats() + lanes; }
};

template <int STEP>
void copy_row(const float* from, float* to, int64_t count, int64_t step) {
  for (int64_t i = 0; i < count; ++i) to[i] = load_input(from + i * (STEP ? STEP : step));
}

/// x[C][H][W] -> image; channels are shared out over the threads.
void stage(const Layer& l, const Staged& staged, const float* x, float* image) {
#pragma omp for
  for (int64_t c = 0; c < l.C; ++c)
    for (int64_t row = 0; row < staged.rows; ++row)
      for (int64_t phase = 0; phase < staged.phases; ++phase) {
        float* to = image + ((c * staged.rows + row) * staged.phases + phase) * staged.columns;
        const int64_t h = row * staged.row_step - l.pad_h;
        // Column j of this phase is column first + j * step of x; columns [begin, end) exist.
        const int64_t step = staged.phases * staged.column_step, first = phase - l.pad_w;
        int64_t begin = first < 0 ? smaller(ceil_div(-first, step), staged.columns) : 0;
        int64_t end = first < l.W ? smaller((l.W - 1 - first) / step + 1, staged.columns) : 0;
        if (h < 0 || h >= l.H || begin >= end) begin = end = 0;
        const float* from = x + (c * l.H + h) * l.W + first + begin * step;
        for (int64_t j = 0; j < begin; ++j) to[j] = 0;
        if (step == 1) copy_row<1>(from, to + begin, end - begin, step);
        else if (step == 2) copy_row<2>(from, to + begin, end - begin, step);
        else copy_row<0>(from, to + begin, end - begin, step);
        for (int64_t j = end; j < staged.columns; ++j) to[j] = 0;
      }
}

/// Walks over the reduction d = (c, r, s) without dividing at each step.
struct Tap {
  const Layer l;  // copies, as stores to the panel could change what is referred to
  const Staged staged;
  int64_t c, r, s;
  int64_t phase, shift;  // phase + shift * phases = s * dil_w

  Tap(const Layer& layer, const Staged& image, int64_t d)
      : l(layer), staged(image), c(d / (l.R * l.S)), r(d / l.S % l.R), s(d % l.S),
        phase(s * l.dil_w % staged.phases), shift(s * l.dil_w / staged.phases) {}

  void next() {
    phase += dil_phase;
    shift += dil_shift;
    if (phase >= staged.phases) phase -= staged.phases, ++shift;
    if (++s < l.S) return;
    s = phase = shift = 0;
    if (++r == l.R) r = 0, ++c;
  }
  /// Where in the image this tap meets output position (0, 0).
  int64_t offset() const {
    return ((c * staged.rows + r * l.dil_h) * staged.phases + phase) * staged.columns + shift;
  }

 private:
  const int64_t dil_phase = l.dil_w % staged.phases, dil_shift = l.dil_w / staged.phases;
};

/// Row d = (c, r, s) of a panel holds the inputs that tap (c, r, s) meets at the panel's output positions.
struct PackTaps {
  const Layer& l;
  const Staged& staged;
  const float* image;

  void operator()(int64_t panel, int64_t d_begin, int64_t d_end, float* to) const {
    // The vectors of a row, in ascending order. A vector may spill over the end of an output row: the next
    // one, stored later, corrects that.
    struct Move {
      int64_t from, to;
    } moves[panel_columns];
    int count = 0;
    const int64_t begin = panel * panel_columns, end = smaller(begin + panel_columns, l.P * l.Q);
    for (int64_t j = begin; j < end;) {
      const int64_t p = j / l.Q, q = j % l.Q, length = smaller(l.Q - q, end - j);
      for (int64_t i = 0; i < length; i += lanes)
        moves[count++] = {p * staged.stride_h * staged.phases * staged.columns + q + i, j - begin + i};
      j += length;
    }
    float last[panel_columns + lanes];
    Tap tap(l, staged, d_begin);
    for (int64_t d = d_begin; d < d_end; ++d, tap.next()) {
      // What the last row spills would fall on rows that another thread packs.
      float* row = d + 1 < d_end ? to + (d - d_begin) * panel_columns : last;
      const float* from = image + tap.offset();
      const auto copy = [&](int vectors) {
        for (int i = 0; i < vectors; ++i) *(vec_unaligned*)(row + moves[i].to) = load_inputs(from + moves[i].from);
      };
      // Unrolled by the compiler where the panel lies in a single output row or is cut once.
      if (count == panel_vectors) copy(panel_vectors);
      else if (count == panel_vectors + 1) copy(panel_vectors + 1);
      else copy(count);
    }
    for (int64_t j = 0; j < end - begin; ++j) to[(d_end - d_begin - 1) * panel_columns + j] = last[j];
  }
};

Product product_of(const Launch& launch, int64_t n) {
  const Layer& l = launch.layer;
  return {l.K, l.C * l.R * l.S, l.P * l.Q, launch.w, launch.y + n * l.K * l.P * l.Q};
}

int64_t scratch_floats(const Launch& launch) {
  return packed_floats(product_of(launch, 0), launch.threads) + Staged(launch.layer).floats(launch.layer);
}

void run(const Launch& launch) {
  const Layer& l = launch.layer;
  const Staged staged(l);
#pragma omp parallel num_threads(launch.threads)
  for (int64_t n = 0; n < l.N; ++n) {
    const Product product = product_of(launch, n);
    float* image = launch.scratch + packed_floats(product, launch.threads);
    stage(l, staged, launch.x + n * l.C * l.H * l.W, image);  // ends with a barrier
    multiply(product, PackTaps{l, staged, image}, launch.scratch);
    if (n + 1 < l.N) {  // the next image overwrites this one
#pragma omp barrier
    }
  }
}

}  // namespace
}  // namespace dibench

DIBENCH_VARIANT(standard_implicit_gemm, dibench::run, dibench::scratch_floats)
