/* Pointwise convolution as the matrix product it is; each tile of outputs stays in registers.

x[N][C][H][W], w[K][C], y[N][K][P*Q]. Output positions are the columns: vectors run along the image, weights are
broadcast, so neither weights nor outputs need another layout. Panels of 3 vectors of columns are copied to
consecutive memory, c after c, and then meet every tile of output channels; see csrc/cpu/gemm.h. With
stride or padding the inputs that the filter sees are gathered into a dense image first.

[variant]
ops          = ["pointwise"]
stationarity = "output"
fast         = true
teaches      = "With a register tile of 8 x 48 outputs an image is read once for 8 channels and a filter once for 48 positions: arithmetic, not memory, is the limit."
counts.macs_executed = "N * K * C * lanes * ceil_div(P * Q, lanes)"
counts.weight_reads  = "N * K * C * ceil_div(P * Q, 3 * lanes)"
counts.input_reads   = "N * C * (P * Q + lanes * ceil_div(P * Q, lanes) * ceil_div(K, 8 if lanes == 16 else 4) + (0 if (stride_h, stride_w, pad_h, pad_w, P, Q) == (1, 1, 0, 0, H, W) else staged_inputs(P)))"
counts.output_reads  = "N * K * P * Q * (ceil_div(C, 256) - 1)"
counts.output_writes = "N * K * P * Q * ceil_div(C, 256)"
*/
#include "gemm.h"

namespace dibench {
namespace {

/// Copies columns of x[C][columns]; where the last panel has no whole vectors it is copied element by element, as
/// nothing follows it in x.
struct PackImage {
  // A few of each panel in turn: panels lie next to each other in x, so that memory is read in long runs.
  static constexpr int64_t rows = 8;

  const float* x;
  int64_t columns;

  void operator()(int64_t panel, int64_t c_begin, int64_t c_end, float* to) const {
    const int64_t column = panel_begin(columns, panel);
    const int64_t existing = panel_begin(columns, panel + 1) - column;
    for (int64_t c = c_begin; c < c_end; ++c, to += panel_columns) {
      const float* from = x + c * columns + column;
      if (existing == panel_columns)
        for (int v = 0; v < panel_vectors; ++v) *(vec_unaligned*)(to + v * lanes) = load_inputs(from + v * lanes);
      else if (existing == 2 * lanes)
        for (int v = 0; v < 2; ++v) *(vec_unaligned*)(to + v * lanes) = load_inputs(from + v * lanes);
      else
        for (int64_t j = 0; j < existing; ++j) to[j] = load_input(from + j);
    }
  }
};

/// x[C][H][W] with stride or padding -> image[C][P*Q], the positions the filter sees.
template <int STRIDE>
void gather_row(const float* from, float* to, int64_t count, int64_t stride) {
  for (int64_t i = 0; i < count; ++i) to[i] = load_input(from + i * (STRIDE ? STRIDE : stride));
}

bool dense(const Layer& l) {
  return l.stride_h == 1 && l.stride_w == 1 && l.pad_h == 0 && l.pad_w == 0 && l.P == l.H && l.Q == l.W;
}

void gather(const Layer& l, const float* x, const Share& channels, float* image) {
  // Positions [q_begin, q_end) of a row lie inside x.
  const int64_t q_begin = smaller(l.Q, ceil_div(l.pad_w, l.stride_w));
  const int64_t q_end = smaller(l.Q, (l.W - 1 + l.pad_w) / l.stride_w + 1);
  for (int64_t c = channels.begin; c < channels.end; ++c)
    for (int64_t p = 0; p < l.P; ++p) {
      float* row = image + (c * l.P + p) * l.Q;
      const int64_t h = p * l.stride_h - l.pad_h;
      const bool inside = h >= 0 && h < l.H && q_begin < q_end;
      for (int64_t q = 0; q < (inside ? q_begin : l.Q); ++q) row[q] = 0;
      if (!inside) continue;
      const float* from = x + (c * l.H + h) * l.W + q_begin * l.stride_w - l.pad_w;
      if (l.stride_w == 2) gather_row<2>(from, row + q_begin, q_end - q_begin, 2);
      else gather_row<0>(from, row + q_begin, q_end - q_begin, l.stride_w);
      for (int64_t q = q_end; q < l.Q; ++q) row[q] = 0;
    }
}

Product product_of(const Launch& launch, int64_t n) {
  const Layer& l = launch.layer;
  return {l.K, l.C, l.P * l.Q, launch.w, launch.y + n * l.K * l.P * l.Q, l.P * l.Q};
}

// Scratch: the packed panels of each thread, then an image of each, if inputs are gathered.
int64_t image_floats(const Layer& l) { return dense(l) ? 0 : ceil_div(l.C * l.P * l.Q, 16) * 16; }

int64_t scratch_floats(const Launch& launch) {
  return packed_floats(product_of(launch, 0), launch.threads) + launch.threads * image_floats(launch.layer);
}

/// Image n by one thread alone, or by all threads of the enclosing parallel region together.
void run_image(const Launch& launch, int64_t n, bool alone) {
  const Layer& l = launch.layer;
  const int thread = omp_get_thread_num(), threads = omp_get_num_threads();
  const Product product = product_of(launch, n);
  const float* x = launch.x + n * l.C * l.H * l.W;
  if (!dense(l)) {
    float* images = launch.scratch + packed_floats(product, launch.threads);
    float* image = images + (alone ? thread * image_floats(l) : 0);
    gather(l, x, alone ? Share{0, l.C} : share_of(l.C, thread, threads), image);
    if (!alone) {
#pragma omp barrier
    }
    x = image;
  }
  const PackImage pack = {x, product.columns};
  if (alone) {
    float* packed = launch.scratch + packed_floats(product, thread);
    multiply_panels(product, {0, ceil_div(product.columns, panel_columns)}, pack, packed, 0, 1);
  } else {
    multiply(product, pack, launch.scratch);
  }
}

void run(const Launch& launch) {
  const int64_t N = launch.layer.N;
#pragma omp parallel num_threads(launch.threads)
  {
    const int thread = omp_get_thread_num(), threads = omp_get_num_threads();
    // Each thread has as many images of its own as all others; what is left they share.
    const int64_t each = N / threads;
    for (int64_t i = 0; i < each; ++i) run_image(launch, thread * each + i, true);
    for (int64_t n = each * threads; n < N; ++n) {
      if (n > 0) {  // the next image overwrites what others may still read
#pragma omp barrier
      }
      run_image(launch, n, false);
    }
  }
}

}  // namespace
}  // namespace dibench

DIBENCH_VARIANT(pointwise_gemm, dibench::run, dibench::scratch_floats)
