"""Blocks that share a reduction, on the harness: which wrong ways of handing sums over it finds."""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest

from dibench.backends import host
from dibench.kernels import compilers, source_directory
from dibench.kernels.compilers import nvrtc, sass
from dibench.kernels.counting.splits import split_bytes

THREADS, TILES, SPLITS, STEPS = 64, 3, 4, 37
ORDERS = [(threads, blocks) for threads in (False, True) for blocks in (False, True)]
HEADER = (source_directory() / "cuda" / "split.cuh").read_text("utf-8")

# y[tile][thread][4] = sum over e of x[e][tile][thread][4], whose steps several blocks share.
COLUMNS = """
#include "layer.cuh"
@split
extern "C" __global__ void columns(const float4* x, float4* y, float* workspace) {
  for (int item = blockIdx.x; item < TILES * splits; item += gridDim.x) {
    const int tile = item / splits, split = item % splits;
    const Steps share = share_of(split, STEPS, 2);
    float4 sum = {0, 0, 0, 0};
    for (int e = share.begin; e < share.end; ++e) {
      const float4 one = fetch_input(x + (e * TILES + tile) * THREADS + threadIdx.x);
      sum.x += one.x, sum.y += one.y, sum.z += one.z, sum.w += one.w;
    }
    const Split<THREADS, 1> all(workspace, TILES, tile);
    all.put(split, 0, sum);
    if (!all.complete()) continue;
    float4 sums[1];
    all.sum(sums, 0);
    put_output(y + tile * THREADS + threadIdx.x, sums[0]);
  }
}
"""
CONSTANTS = (
    f"#pragma once\nconstexpr int THREADS = {THREADS}, TILES = {TILES}, splits = {SPLITS}, STEPS = {STEPS};\n"
)


def kernel(*changes: tuple[str, str]) -> str:
    """The kernel with split.cuh in it, and what has been changed there."""
    text = COLUMNS.replace("@split", HEADER)
    for before, after in changes:
        assert text.count(before) == 1
        text = text.replace(before, after)
    return text


def run(source: str, threads: bool = False, blocks: bool = False, grid: int = TILES * SPLITS) -> Any:
    """The outputs, and the counts; x is such that every order of summation rounds in its own way."""
    x = np.random.default_rng(5).uniform(-1, 1, (STEPS, TILES, THREADS, 4)).astype(np.float32)
    y = np.full((TILES, THREADS, 4), np.nan, np.float32)
    workspace = np.zeros(split_bytes(TILES, THREADS * 4, SPLITS) // 4, np.float32)
    counts = host.build(source, "columns", CONSTANTS).launch(
        [ctypes.c_void_p(array.ctypes.data) for array in (x, y, workspace)],
        {"weight": x[:0], "input": x, "output": y, "workspace": workspace},
        compilers.Geometry(grid, THREADS, 0),
        reverse_threads=threads,
        reverse_blocks=blocks,
    )
    right = np.allclose(y, x.sum(axis=0, dtype=float), rtol=0, atol=1e-5)
    return bool(right), y.tobytes(), counts


@pytest.mark.parametrize("grid", [TILES * SPLITS, 5, 1])
def test_shared_sums_are_the_same_bits_in_every_order(grid: int) -> None:
    runs = [run(kernel(), threads, blocks, grid) for threads, blocks in ORDERS]
    assert all(right for right, _, _ in runs)
    assert len({bits for _, bits, _ in runs}) == 1
    elements = TILES * THREADS * 4
    for _, _, counts in runs:
        assert list(counts.global_reads) == [0, STEPS * elements, SPLITS * elements]
        assert counts.output_writes == (SPLITS + 1) * elements
        assert counts.sectors[2] == (2 * SPLITS + 1) * elements // 8


RACES = {
    "no barrier before the block arrives": (
        "    __syncthreads();  // all have put theirs before one of them says so\n",
        "",
    ),
    "no block arrives": ("threadIdx.x == 0 && arrive(counter, splits)", "true"),
    "only some splits are waited for": ("arrive(counter, splits)", "arrive(counter, splits - 1)"),
    "every warp arrives": ("threadIdx.x == 0 &&", "threadIdx.x % 32 == 0 &&"),
    "two splits put at one place": ("all.put(split,", "all.put(split / 2,"),
    "a part that nobody has put": (
        "own + (s * parts + n) * threads",
        "own + (s * parts + n + 1) * threads",
    ),
    "a counter where a part is": ("(int*)((float4*)workspace + tiles * of_tile)", "(int*)workspace"),
    "a counter that two tiles share": (" + tile;\n  }", ";\n  }"),
    "a counter behind the workspace": (" + tile;\n  }", " + tile + 1;\n  }"),
}


@pytest.mark.parametrize("change", RACES.values(), ids=RACES)
@pytest.mark.parametrize(("threads", "blocks"), ORDERS)
def test_what_another_block_need_not_have_put_yet_is_a_fault(
    change: tuple[str, str], threads: bool, blocks: bool
) -> None:
    with pytest.raises(
        host.KernelError, match=r"race: .*(partial element|counter)|out of bounds: .* workspace"
    ):
        run(kernel(change), threads, blocks)


def test_a_counter_that_does_not_come_back_to_0_is_named() -> None:
    more = ("arrive(counter, splits)", "arrive(counter, splits + 1)")
    with pytest.raises(host.KernelError, match=r"counter: the one at byte .* is not back at 0"):
        run(kernel(more))


def test_threads_that_do_not_wait_for_the_counter_write_nothing() -> None:
    alone = (
        "__syncthreads_or(threadIdx.x == 0 && arrive(counter, splits))",
        "(threadIdx.x == 0 && arrive(counter, splits))",
    )
    assert not run(kernel(alone))[0]


def test_sums_in_the_order_of_arrival_are_other_bits() -> None:
    own_first = (
        ("const Steps share", "const Steps own = {0, 0}; const Steps share"),
        (
            "all.sum(sums, 0)",
            "all.sum(sums, split + 0 * own.end)",
        ),
        (
            "own + (s * parts + n) * threads",
            "first + (s + i) % splits * threads",
        ),
    )
    runs = [run(kernel(*own_first), blocks=blocks) for blocks in (False, True)]
    assert all(right for right, _, _ in runs)
    assert runs[0][1] != runs[1][1]


# ---- what only the machine code can tell: fences around the counter ---------------------------------------


def fences(arch: int, access: str) -> list[str]:
    """Fences and the counter's atomic in the order in which they stand."""
    headers = {**compilers.device_headers(), "constants.cuh": CONSTANTS, "access.cuh": access}
    binary = nvrtc.compiler_for(arch).compile(kernel(), "columns", headers, arch=arch)
    (listing,) = sass.disassemble([binary])
    names = [name.split(".")[0] for name in sass.instructions(listing)]
    return [name for name in names if name in ("MEMBAR", "ATOMG", "CCTL")]


@pytest.mark.parametrize("arch", [75, 80, 90, 120])
def test_the_counter_stands_between_fences(arch: int) -> None:
    access = compilers.device_headers()["access.cuh"]
    order = fences(arch, access)
    at = order.index("ATOMG")
    assert "MEMBAR" in order[:at] and "MEMBAR" in order[at:]
    assert Counter(order)["ATOMG"] == 1
    found = [one.span() for one in re.finditer(r"__threadfence\(\);", access)]
    assert len(found) == 2
    for start, end in found:
        without = fences(arch, access[:start] + access[end:])
        at = without.index("ATOMG")
        assert not ("MEMBAR" in without[:at] and "MEMBAR" in without[at:])
