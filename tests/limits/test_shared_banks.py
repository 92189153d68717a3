"""Cycles of shared memory, from the addresses of a warp's lanes on the harness."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from dibench.backends import host
from dibench.kernels import compilers


def cycles(access: str, *, kind: str = "read") -> tuple[int, int]:
    """Cycles that one access of each lane takes, and without conflicts; `lane` and `words` are at hand."""
    source = f"""#include "access.cuh"
    extern "C" __global__ void probe(const float* x, float* y) {{
      alignas(16) __shared__ float words[2048];
      const int lane = threadIdx.x;
      {access};
    }}"""
    kernel = host.build(source, "probe", "", shared_accesses=True)
    x, y = np.zeros(1, np.float32), np.zeros(128, np.float32)
    counts = kernel.launch(
        [ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data)],
        {"weight": x, "input": x, "output": y},
        compilers.Geometry(1, 32, 0),
        banks=True,
    )
    taken, least = counts.shared_cycles[kind == "write"]
    return taken, least


def read(index: str, vector: str = "float") -> str:
    field = "" if vector == "float" else ".x"
    return f"put_output(y + lane, fetch_weight_shared((const {vector}*)(words + {index})){field})"


@pytest.mark.parametrize(
    ("access", "expected"),
    [
        (read("lane"), (1, 1)),
        (read("7"), (1, 1)),  # one word for all
        (read("lane / 4"), (1, 1)),
        (read("lane * 2"), (2, 1)),
        (read("lane * 32"), (32, 1)),
        (read("lane * 33"), (1, 1)),  # a pitch of one word more
        (read("lane % 4 * 132 + lane / 4"), (2, 1)),  # rows 4 banks apart, and 8 words of each
        (read("lane % 4 * 136 + lane / 4"), (1, 1)),
        (read("lane * 2", "float2"), (2, 2)),
        (read("lane / 2 * 2", "float2"), (1, 1)),  # neighbours share: both halves of the warp at once
        (read("lane * 16", "float2"), (16, 2)),
        (read("lane * 4", "float4"), (4, 4)),
        (read("lane / 2 * 4", "float4"), (2, 2)),
        (read("lane % 8 * 32", "float4"), (32, 4)),  # eight rows of 128 bytes: one bank group
        (read("lane % 8 * 36", "float4"), (4, 4)),  # padded by 16 bytes
        (read("lane % 8 * 32 + (lane % 8) * 4", "float4"), (4, 4)),  # or with an XOR swizzle
    ],
)
def test_reads_of_a_warp(access: str, expected: tuple[int, int]) -> None:
    assert cycles(access) == expected


@pytest.mark.parametrize(
    ("index", "expected"),
    [("lane", (1, 1)), ("lane * 4", (4, 1)), ("lane * 24", (8, 1))],
)
def test_writes_that_no_accessor_makes_are_seen(index: str, expected: tuple[int, int]) -> None:
    assert cycles(f"words[{index}] = 1.0f; __syncthreads(); {read('lane')}", kind="write") == expected


def test_a_threads_own_memory_is_not_shared() -> None:
    own = "(void)words; float own[64]; for (int i = 0; i < 64; ++i) own[i] = lane"
    assert cycles(f"{own}; put_output(y + lane, own[lane])") == (0, 0)


def test_a_lane_that_reads_nothing_keeps_its_place() -> None:
    """Each lane reads three neighbours, those at the ends two: every request is still one row of words."""
    read = "sum += load_input_shared(words + lane + s - 1, lane + s > 0)"
    reads = f"float sum = 0; for (int s = 0; s < 3; ++s) {read}"
    assert cycles(f"{reads}; put_output(y + lane, sum)") == (3, 3)
