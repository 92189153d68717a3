// What every CPU kernel variant is given, and how it makes itself known.
//
// One variant is one file: a comment with a [variant] TOML block, the kernel as plain code, and one
// DIBENCH_VARIANT line at the end. Every file is compiled once per instruction set (DIBENCH_ISA), so
// kernel files must not use anything from the C++ standard library that is an inline function: the
// linker would keep one copy of it, perhaps the one with AVX-512 in it, for every machine.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace dibench {

/// A layer as cuDNN describes it. x is [N][C][H][W], w is [K][C/groups][R][S], y is [N][K][P][Q], all
/// dense float32. P and Q are given, not derived: they may imply padding at the end beyond pad_h, pad_w.
struct Layer {
  int64_t N, C, H, W, K, R, S, P, Q;
  int64_t stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, groups;
};

/// The reuse knobs, already resolved to numbers and checked against the variant's header.
/// Zero where the variant does not have the knob.
struct Box {
  int64_t tile_p, tile_k, tile_c;  // output positions x output channels x reduction channels
  int64_t taps;                    // filter taps accumulated before partial sums go back to memory
  int64_t window;                  // 1: inputs are read once per sliding window, 0: once per tap
};

/// One launch: one instance of one layer. Operands never overlap.
struct Launch {
  Layer layer;
  Box box;
  const float* x;
  const float* w;
  float* y;         // overwritten whole; holds arbitrary values (NaN in the tests) before
  float* scratch;   // scratch_floats() floats, 64-byte aligned, content arbitrary; null when that is 0
  int threads;      // OpenMP threads to use
  bool* unsupported;  // run() sets it, and does nothing else, where it cannot run the layer with that box
};

struct Variant {
  void (*run)(const Launch&);
  int64_t (*scratch_floats)(const Launch&);  // null: the variant needs no scratch
};

}  // namespace dibench

#define DIBENCH_CONCAT_(a, b, c) a##b##_##c
#define DIBENCH_CONCAT(a, b, c) DIBENCH_CONCAT_(a, b, c)

/// Ends a variant's file. `name` is the file's stem; `run` and `scratch_floats` have internal linkage.
#define DIBENCH_VARIANT(name, run, scratch_floats)                                   \
  extern "C" const dibench::Variant DIBENCH_CONCAT(dibench_, DIBENCH_ISA, name);     \
  extern "C" const dibench::Variant DIBENCH_CONCAT(dibench_, DIBENCH_ISA, name) = {run, scratch_floats};
