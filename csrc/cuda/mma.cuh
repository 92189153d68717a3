// Tensor cores, the plain way: one warp multiplies a 16 x k by a k x 8 matrix and adds to a 16 x 8 one in fp32
// (sm_80 and later). Which lane holds what, with g = lane / 4, t = lane % 4 (PTX ISA, "Matrix Fragments"):
//
//   a   tf32, k = 8                a[0] = A[g][t]      a[1] = A[g+8][t]      a[2] = A[g][t+4]     a[3] = A[g+8][t+4]
//   b                              b[0] = B[t][g]      b[1] = B[t+4][g]
//   a   fp16, bf16, k = 16; two    a[0] = A[g][2t..]   a[1] = A[g+8][2t..]   a[2] = A[g][2t+8..]  a[3] = A[g+8][2t+8..]
//   b   elements to a register     b[0] = B[2t..][g]   b[1] = B[2t+8..][g]   (the lower index in the lower half)
//   d   fp32                       d[0] = D[g][2t]     d[1] = D[g][2t+1]     d[2] = D[g+8][2t]    d[3] = D[g+8][2t+1]
#pragma once

#ifdef DIBENCH_HOST
#include "mma.h"
#else
/// The bits of x rounded to tf32 (10 bits of mantissa), nearest, ties away from zero.
__device__ __forceinline__ unsigned to_tf32(float x) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

/// Two floats rounded to a 16-bit type, to nearest even, as one word: the first in the lower half.
__device__ __forceinline__ unsigned to_fp16(float low, float high) {
  unsigned bits;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}
__device__ __forceinline__ unsigned to_bf16(float low, float high) {
  unsigned bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}

#define DIBENCH_MMA(name, instruction)                                                                          \
  __device__ __forceinline__ void name(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {          \
    asm volatile(instruction " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                  \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                 \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                             \
  }
DIBENCH_MMA(mma_tf32, "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32")   // d += a · b, 1024 multiply-adds
DIBENCH_MMA(mma_fp16, "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32")    // 2048
DIBENCH_MMA(mma_bf16, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32")  // 2048
#undef DIBENCH_MMA

/// Rows of 16 bytes in shared memory, from one on. The address is hidden from the compiler, which would otherwise work out
/// each row's anew instead of adding a constant to it.
template <typename Row>
struct Rows {
  unsigned address;
  __device__ __forceinline__ explicit Rows(const Row* first) : address(unsigned(__cvta_generic_to_shared(first))) {
    asm volatile("" : "+r"(address));
  }
};
/// Four matrices of 8 rows, a warp's fragments of them: lane 8i + r names row r of matrix i as one of its `rows`, and lane
/// l gets word l % 4 of row l / 4 of each.
template <typename Row>
__device__ __forceinline__ void fetch_weight_matrices(unsigned (&m)[4], Rows<Row> rows, int row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(rows.address + row * unsigned(sizeof(Row)))
               : "memory");
}
template <typename Row>
__device__ __forceinline__ void fetch_input_matrices(unsigned (&m)[4], Rows<Row> rows, int row) {
  fetch_weight_matrices(m, rows, row);
}
#endif
