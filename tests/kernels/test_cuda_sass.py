"""Counted is executed: the machine code of a whole small layer has as many instructions as the header says.

In a proof compile one thread does the whole layer, its sizes are constants and every loop unrolls. What is
left are the accesses and multiply-adds themselves, edges and padding included.
"""

from __future__ import annotations

import itertools
from typing import Any

import attrs
import pytest
from cuda_cases import BOXED, REUSE

from dibench.kernels import Variant
from dibench.kernels.compilers import nvrtc, sass
from dibench.layer import Layer

BY_NAME = pytest.mark.parametrize("variant", BOXED, ids=[variant.name for variant in BOXED])

LAYERS = {
    "padded": Layer(N=1, C=2, H=1, W=3, K=2, R=3, S=3, pad_h=1, pad_w=1),
    "grouped": Layer(N=1, C=4, H=1, W=5, K=4, R=1, S=3, pad_w=1, stride_w=2, groups=2),
    "depthwise": Layer(N=1, C=2, H=2, W=3, K=2, R=3, S=3, pad_h=1, pad_w=1, groups=2),
    "pointwise": Layer(N=1, C=5, H=2, W=3, K=3, R=1, S=1),
    "fc": Layer.fc(N=3, C=5, K=4),
}
BOXES: list[dict[str, Any]] = [
    {},
    {"tile_p": 2, "tile_k": 2, "tile_c": 2, "taps": 3},
    {"tile_p": 2, "tile_k": 1, "tile_c": 1, "taps": 9, "window": 1},
]


@attrs.frozen
class Executed:
    """Instructions by what they do."""

    macs: int
    loads: int
    stores: int


def proof(
    variant: Variant, layer: Layer, knobs: dict[str, Any], arch: int = 90, *options: str
) -> list[nvrtc.Binary]:
    compiler = nvrtc.compiler_for(arch)
    return [compiler.compile_variant(variant, layer, knobs, arch=arch, proof=True, options=options)]


def executed(listing: str) -> Executed:
    counted = sass.tally(listing)
    assert not counted["BRA"] - 1, "a loop or branch is left: the layer is too large to unroll"  # 1: the end
    return Executed(
        macs=counted["FFMA"] + counted["FMUL"] + 2 * counted["FFMA2"],
        loads=counted["LDG"] + counted["LD"] + counted["LDS"],
        stores=counted["STG"] + counted["ST"],
    )


def promised(variant: Variant, layer: Layer, knobs: dict[str, Any]) -> Executed:
    counts = variant.counts_for(layer, knobs, warp=1)
    return Executed(
        macs=counts["macs_executed"],
        loads=counts["weight_reads"] + counts["input_reads"] + counts["output_reads"],
        stores=counts["output_writes"],
    )


def settings(variant: Variant, **chosen: Any) -> dict[str, Any]:
    usual = {"lanes": "p", "cache": "ca", "warps": 1, "window": 0, "stage_w": 1, "stage_x": 1}
    return {name: chosen.get(name, usual.get(name, 1)) for name in variant.knobs}


def legal_case(variant: Variant) -> tuple[Layer, dict[str, Any]]:
    """A layer and knobs that the variant takes, with tiles and padding if it may be."""
    candidates = itertools.product(({"tile_p": 2, "taps": 3}, {}), LAYERS.values())
    return next(
        (layer, knobs)
        for box, layer in candidates
        if variant.allows(layer, knobs := settings(variant, **box))
    )


CASES = [
    pytest.param(variant, layer, knobs, 90, id=f"{variant.name}-{name}-{number}-sm_90")
    for variant in REUSE
    for name, layer in LAYERS.items()
    for number, box in enumerate(BOXES)
    if variant.allows(layer, knobs := settings(variant, **box)) and (variant.knobs.keys() & box or not box)
] + [
    pytest.param(variant, *legal_case(variant), arch, id=f"{variant.name}-sm_{arch}")
    for variant in REUSE
    for arch in (75, 80, 100, 120)
]


@pytest.mark.machine_code(of=proof)
@pytest.mark.parametrize(("variant", "layer", "knobs", "arch"), CASES)
def test_machine_code_executes_what_the_header_counts(
    variant: Variant, layer: Layer, knobs: dict[str, Any], arch: int, listings: list[str]
) -> None:
    assert [executed(listing) for listing in listings] == [promised(variant, layer, knobs)]


def plain(variant: Variant) -> list[nvrtc.Binary]:
    knobs = settings(variant, tile_p=2)
    return proof(variant, LAYERS["pointwise"], knobs, 90, "-DDIBENCH_MUTANT_PLAIN_LOADS")


@pytest.mark.machine_code(of=plain)
@BY_NAME
def test_plain_accesses_would_be_merged(variant: Variant, listings: list[str]) -> None:
    """Without ld.relaxed the compiler keeps what it has read: the proof must notice."""
    wanted = promised(variant, LAYERS["pointwise"], settings(variant, tile_p=2))
    assert [executed(listing).loads < wanted.loads for listing in listings] == [True]


def of_both_caches(variant: Variant) -> list[nvrtc.Binary]:
    return [
        binary
        for cache in ("ca", "cg")
        for binary in proof(variant, LAYERS["pointwise"], settings(variant, cache=cache))
    ]


@pytest.mark.machine_code(of=of_both_caches)
@BY_NAME
def test_the_cache_knob_moves_the_loads(variant: Variant, listings: list[str]) -> None:
    layer = LAYERS["pointwise"]
    counts = variant.counts_for(layer, settings(variant), warp=1)
    operands = counts["weight_reads"] + counts["input_reads"]
    operands -= counts.get("weight_reads_shared", 0) + counts.get("input_reads_shared", 0)
    scopes = {}
    for cache, listing in zip(("ca", "cg"), listings, strict=True):
        names = sass.instructions(listing)
        scopes[cache] = [
            sum(name.startswith("LDG") and name.endswith(scope) for name in names) for scope in ("SM", "GPU")
        ]
    assert scopes["ca"] == [operands, counts["output_reads"]]
    assert scopes["cg"] == [0, operands + counts["output_reads"]]


def as_launched(variant: Variant, arch: int) -> list[nvrtc.Binary]:
    layer = Layer(N=2, C=16, H=14, W=14, K=32, R=3, S=3, pad_h=1, pad_w=1)
    knobs = settings(variant, tile_p=4, tile_k=2, tile_c=2, warps=4)
    return [nvrtc.compiler_for(arch).compile_variant(variant, layer, knobs, arch=arch)]


@pytest.mark.machine_code(of=as_launched)
@pytest.mark.parametrize("arch", [75, 80, 86, 89, 90, 100, 120])
@BY_NAME
def test_what_lies_outside_is_not_multiplied(variant: Variant, arch: int, listings: list[str]) -> None:
    """In the loops as launched, too: each FFMA predicated, none whose product an FSEL throws away."""
    (listing,) = listings
    products = [line for line in listing.splitlines() if "FFMA" in line]
    assert products
    assert all("@" in line for line in products)
    assert not sass.tally(listing)["FSEL"]
