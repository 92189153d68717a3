"""The anchor kernels do what they say: on the harness, and in machine code for every architecture."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from dibench.backends import host
from dibench.kernels import anchors, compilers
from dibench.kernels.anchors import Anchor
from dibench.kernels.compilers import nvrtc, sass

ANCHORS = list(anchors.registry().values())
BY_NAME = pytest.mark.parametrize("anchor", ANCHORS, ids=[anchor.name for anchor in ANCHORS])
BLOCKS, PASSES = 3, 4


def elements_of(anchor: Anchor) -> int:
    """As many elements as the test gives it, no multiple of anything."""
    return BLOCKS * anchor.block if anchor.access == "fma" else 5001


def test_one_for_each_level() -> None:
    levels = {(anchor.level, anchor.access) for anchor in ANCHORS}
    assert levels == {
        ("register", "fma"),
        ("l1", "read"),
        ("l2", "read"),
        ("dram", "read"),
        ("dram", "write"),
    }


@BY_NAME
def test_counts_and_result(anchor: Anchor) -> None:
    elements = elements_of(anchor)
    rows = BLOCKS if anchor.level == "l1" else 1
    buffer = np.full(rows * elements, np.nan, np.float32)
    kernel = host.build(anchor.path.read_text("utf-8"), anchor.name, "")
    arguments = [ctypes.c_void_p(buffer.ctypes.data), ctypes.c_longlong(elements), ctypes.c_int(PASSES)]
    counts = kernel.launch(
        arguments,
        {"weight": buffer[:0], "input": buffer, "output": buffer},
        compilers.Geometry(BLOCKS, anchor.block, 0),
    )
    counted = {
        "macs_executed": counts.macs_executed, "reads": counts.global_reads[1], "writes": counts.output_writes
    }  # fmt: skip
    assert counted == anchor.counts_for(blocks=BLOCKS, elements=elements, passes=PASSES)
    if anchor.access == "write":
        assert (buffer == PASSES - 1).all()
    if anchor.access == "fma":  # each sum halves and adds 1 + thread, 8 times a pass: s -> s/2 + t
        thread = np.tile(np.arange(anchor.block), BLOCKS)
        last = (2 - 0.5 ** (8 * PASSES - 1)) * (1 + thread)
        start = np.arange(8).sum() * 0.5 ** (8 * PASSES)
        np.testing.assert_allclose(buffer, 8 * last + start, rtol=1e-6)


# What the loop of each holds: instruction, its modifier on sm_90, how often.
BODY = {
    "anchor_fma": ("FFMA", "", 64),
    "anchor_l1": ("LDG", "STRONG.SM", 8),
    "anchor_l2": ("LDG", "STRONG.GPU", 8),
    "anchor_dram_read": ("LDG", "STRONG.GPU", 8),
    "anchor_dram_write": ("STG", "STRONG.GPU", 8),
}


def compiled(anchor: Anchor, arch: int = 90) -> list[nvrtc.Binary]:
    source = anchor.path.read_text("utf-8")
    compiler = nvrtc.compiler_for(arch)
    return [compiler.compile(source, anchor.name, compilers.device_headers(), arch=arch)]


@pytest.mark.machine_code(of=compiled)
@BY_NAME
def test_the_machine_code_is_the_loop_and_nothing_else(anchor: Anchor, listings: list[str]) -> None:
    (listing,) = listings
    name, modifier, times = BODY[anchor.name]
    found = [i for i in sass.instructions(listing) if i.partition(".")[0] == name]
    assert len(found) == times
    assert all(i.endswith(modifier) for i in found)
    traffic = sass.tally(listing)  # beside the loop: the sum's store, or one that next to never happens
    assert traffic["LDG"] + traffic["STG"] == {"fma": 1, "read": 8 + 1, "write": 8}[anchor.access]


ARCHS = [60, 61, 70, 75, 80, 86, 89, 90, 100, 120]


@pytest.mark.parametrize(
    ("anchor", "arch"),
    [
        pytest.param(one, arch, id=f"{arch}-{one.name}")
        for arch in ARCHS
        for one in ANCHORS
        if arch >= one.least_arch
    ],
)
def test_compiles_everywhere(anchor: Anchor, arch: int) -> None:
    (binary,) = compiled(anchor, arch)
    assert (binary.spill_bytes, binary.stack_bytes) == (0, 0)


def test_only_l1_needs_a_gpu_whose_exact_loads_may_hit_it() -> None:
    """Before sm_70 they are volatile, which L2 serves: the anchor would say what L2 costs, in L1's name."""
    assert {one.name: one.least_arch for one in ANCHORS if one.least_arch > 60} == {"anchor_l1": 70}
