// Tensor cores on the CPU: the lanes of a warp exchange their fragments and each computes its part of the product.
// Layouts as in csrc/cuda/mma.cuh. Products are summed exactly enough (double) and rounded once: hardware rounds
// more often, in an order it does not tell, so results agree to float32's precision, not to the bit.
#pragma once
#include "cuda_on_host.h"
#include "tally.h"

namespace dibench_host {
inline float half_value(unsigned short h) {
  const int exponent = h >> 10 & 31, mantissa = h & 1023;
  const float magnitude = exponent == 31  ? (mantissa ? __builtin_nanf("") : __builtin_inff())
                          : exponent == 0 ? __builtin_ldexpf(float(mantissa), -24)
                                          : __builtin_ldexpf(float(mantissa | 1024), exponent - 25);
  return h >> 15 ? -magnitude : magnitude;
}
inline float bfloat_value(unsigned short b) { return __uint_as_float(unsigned(b) << 16); }
/// The nearest number of a 16-bit type, ties to even; as on a GPU any NaN becomes 0x7fff.
inline unsigned half_bits(float x) {
  const unsigned bits = __float_as_uint(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return 0x7fff;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;  // from 65520 on: infinite
  if (magnitude < 0x38800000)                         // below 2^-14: a multiple of 2^-24, as floats from 0.5 on are
    return sign | (__float_as_uint(__uint_as_float(magnitude) + 0.5f) - __float_as_uint(0.5f));
  return sign | (magnitude - (112 << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
}
inline unsigned bfloat_bits(float x) {
  const unsigned bits = __float_as_uint(x);
  return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
/// What a tensor core sees of a float: it leaves out the low 13 bits.
inline float tf32_value(unsigned bits) { return __uint_as_float(bits & ~0x1fffu); }

struct Fragments {
  unsigned a[4], b[2];
};

/// d += a · b with `packed` elements to a register, each read by `value(register, which)`.
template <int packed, typename Value>
inline void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Value value, const char* file, int line) {
  Fragments mine;
  memcpy(mine.a, a, sizeof a);
  memcpy(mine.b, b, sizeof b);
  const unsigned char* cells = warp_exchange(0xffffffffu, &mine, sizeof mine, file, line);
  const auto lane_has = [cells](int lane) {
    Fragments f;
    memcpy(&f, cells + 64 * lane, sizeof f);
    return f;
  };
  const int g = lane() / 4, t = lane() % 4;
  for (int i = 0; i < 4; ++i) {
    const int row = g + i / 2 * 8, column = 2 * t + i % 2;
    double sum = d[i];
    for (int k = 0; k < 8 * packed; ++k) {
      const int in_half = k % (4 * packed), high = k / (4 * packed);  // registers 0, 1 hold the first half of k
      const Fragments left = lane_has(row % 8 * 4 + in_half / packed), right = lane_has(column * 4 + in_half / packed);
      sum += double(value(left.a[2 * high + row / 8], k % packed)) * value(right.b[high], k % packed);
    }
    d[i] = float(sum);
  }
  count_macs(16 * 8 * 8 * packed / 32);  // this lane's share
}
}  // namespace dibench_host

inline unsigned to_tf32(float x) {
  const unsigned bits = __float_as_uint(x);
  return (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & ~0x1fffu;
}
inline unsigned to_fp16(float low, float high) {
  return dibench_host::half_bits(low) | dibench_host::half_bits(high) << 16;
}
inline unsigned to_bf16(float low, float high) {
  return dibench_host::bfloat_bits(low) | dibench_host::bfloat_bits(high) << 16;
}
inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                     const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  dibench_host::mma<1>(d, a, b, [](unsigned r, int) { return dibench_host::tf32_value(r); }, file, line);
}
inline void mma_fp16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                     const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  const auto half = [](unsigned r, int which) { return dibench_host::half_value((unsigned short)(r >> 16 * which)); };
  dibench_host::mma<2>(d, a, b, half, file, line);
}
inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                     const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  const auto half = [](unsigned r, int which) { return dibench_host::bfloat_value((unsigned short)(r >> 16 * which)); };
  dibench_host::mma<2>(d, a, b, half, file, line);
}

// ---- ldmatrix: lane 8i + r names row r of matrix i, 16 bytes, and lane l gets word l % 4 of row l / 4 of each
template <typename Row>
struct Rows {
  const Row* first;
  explicit Rows(const Row* first) : first(first) {}
};
namespace dibench_host {
template <typename Row>
__attribute__((no_sanitize("thread"))) inline void load_matrices(Kind kind, unsigned (&m)[4], const Row* row, const char* file, int line) {
  static_assert(sizeof(Row) == 16);
  const unsigned char* cells = warp_exchange(0xffffffffu, &row, sizeof row, file, line);
  for (int i = 0; i < 4; ++i) {
    const unsigned char* from;
    memcpy(&from, cells + 64 * (8 * i + lane() / 4), sizeof from);
    memcpy(&m[i], from + 4 * (lane() % 4), 4);
  }
  count_shared(kind, elements_of<Row>);
  // A matrix is served as 8 lanes with 16 bytes each would be.
  touch_shared(row, 16, false, reinterpret_cast<uintptr_t>(file) + unsigned(line));
}
}  // namespace dibench_host
template <typename Row>
inline void fetch_weight_matrices(unsigned (&m)[4], Rows<Row> rows, int row, DIBENCH_SITE) {
  dibench_host::load_matrices(dibench_host::weight, m, rows.first + row, file, line);
}
template <typename Row>
inline void fetch_input_matrices(unsigned (&m)[4], Rows<Row> rows, int row, DIBENCH_SITE) {
  dibench_host::load_matrices(dibench_host::input, m, rows.first + row, file, line);
}
