"""A CUDA kernel with a tile in shared memory and barriers that matter; tests run it as it is and broken."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from dibench.backends import host
from dibench.kernels import compilers

TILE, TILES = 64, 3
N = TILE * TILES

# y[i] = w[0]·x[i] + w[1]·x[i+1] + w[2]·x[i+2], summed over passes that scale it by 1, 2 ..., through a tile
# in shared memory: one block for each tile, one thread for each output, and barriers that matter.
SMOOTH = """
#include "layer.cuh"
#include "access.cuh"
__device__ __noinline__ void put(float* tile, int i, float value) { tile[i] = value; }
extern "C" __global__ void smooth(const float* x, const float* w, float* y, int passes) {
  __shared__ float tile[TILE + 2];
  const int first = blockIdx.x * TILE;
  float sum = 0.0f;
  for (int pass = 0; pass < passes; ++pass) {
    for (int i = threadIdx.x; i < TILE + 2; i += TILE)
      put(tile, i, (pass + 1) * fetch_input(x + first + i));
    __syncthreads();  // the tile is complete
    for (int s = 0; s < 3; ++s) sum = mac(sum, fetch_weight(w + s), tile[threadIdx.x + s]);
    __syncthreads();  // the tile is no longer needed
  }
  put_output(y + first + threadIdx.x, sum);
}
"""
CONSTANTS = f"#pragma once\nconstexpr int TILE = {TILE};\n"
Array = npt.NDArray[np.float32]


def arrays() -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, N + 2).astype(np.float32)
    return x, np.array([0.25, 0.5, -1], np.float32), np.full(N, np.nan, np.float32)


def smooth(source: str, *, threads: bool = False, blocks: bool = False, passes: int = 1) -> Any:
    """Whether the kernel is right, having run it in the given orders; and its counts."""
    x, w, y = arrays()
    kernel = host.build(source, "smooth", CONSTANTS)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (x, w, y)]
    counts = kernel.launch(
        [*pointers, ctypes.c_int(passes)],
        {"weight": w, "input": x, "output": y},
        compilers.Geometry(TILES, TILE, 0),
        reverse_threads=threads,
        reverse_blocks=blocks,
    )
    expected = passes * (passes + 1) / 2 * np.convolve(x.astype(float), w[::-1].astype(float), "valid")
    return bool(np.allclose(y, expected, rtol=1e-5, atol=1e-5)), counts
