"""The headers' count formulas equal what the counting build counts, to the last element."""

from __future__ import annotations

import random

import pytest
from header_counts import compare
from hypothesis import given, settings
from hypothesis import strategies as st
from references import STRIPS, box, extension, layers, legal_knobs, operands

from dibench.kernels import COUNTS, Variant, registry
from dibench.kernels.counting import positions
from dibench.layer import Layer

CPU = list(registry("cpu").values())
REUSE = {
    "output": registry("cpu")["conv_output_stationary"],
    "weight": registry("cpu")["conv_weight_stationary"],
    "input": registry("cpu")["conv_input_stationary"],
}


def counted(
    variant: Variant, isa: str, layer: Layer, knobs: dict[str, int], threads: int = 1
) -> dict[str, int]:
    count = extension("count")
    x, w, y = operands(layer, 1, 0)
    return dict(count.counts(variant.name, isa, layer.shape, box(knobs), x, w, y, threads))


def check(variant: Variant, isa: str, layer: Layer, knobs: dict[str, int], threads: int) -> None:
    lanes = extension("count").vector_lanes(isa)
    header = variant.counts_for(layer, knobs, lanes, threads)
    executed = counted(variant, isa, layer, knobs, threads)
    compare("cpu", header, executed, f"{variant.name} {isa} {knobs}, {threads} threads, {layer}")


@settings(max_examples=40, deadline=None)
@given(layer=layers(), seed=st.integers(0, 2**32))
def test_formula_equals_count_on_random_layers(layer: Layer, seed: int) -> None:
    choose = random.Random(seed)
    for variant in CPU:
        if layer.op in variant.ops:
            legal = legal_knobs(variant, layer)
            for knobs in choose.sample(legal, min(3, len(legal))):
                for isa in extension("count").isas():
                    check(variant, isa, layer, knobs, choose.choice((1, 2)))


@pytest.mark.parametrize("variant", CPU, ids=lambda variant: variant.name)
def test_formula_equals_count_for_every_knob_setting(variant: Variant) -> None:
    candidates = [
        Layer(N=1, C=6, H=5, W=13, K=9, R=3, S=3, pad_h=1, pad_w=1),
        Layer(N=1, C=3, H=9, W=13, K=2, R=5, S=5, stride_h=2, stride_w=2, pad_h=2, pad_w=2),
        Layer(N=1, C=2, H=7, W=15, K=2, R=7, S=7, pad_h=3, pad_w=3),
        Layer(N=1, C=1, H=15, W=23, K=2, R=11, S=11, stride_h=4, stride_w=4, pad_h=2, pad_w=2),
        Layer(N=2, C=9, H=3, W=5, K=10, R=1, S=1),
        Layer(N=1, C=8, H=6, W=9, K=12, R=3, S=3, pad_h=1, pad_w=1, groups=4),
        Layer(N=2, C=3, H=6, W=19, K=3, R=3, S=3, pad_h=1, pad_w=1, groups=3),
        Layer.fc(9, 17, 13),
    ]
    isa = extension("count").isas()[-1]
    ran = 0
    for layer in candidates:
        if layer.op in variant.ops:
            for knobs in legal_knobs(variant, layer):
                check(variant, isa, layer, knobs, 1)
                ran += 1
    assert ran, "none of the layers suits this variant"


@pytest.mark.parametrize("layer", STRIPS, ids=str)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_formula_equals_count_where_images_are_cut_into_strips(layer: Layer, threads: int) -> None:
    isa = extension("count").isas()[-1]
    check(registry("cpu")["standard_implicit_gemm"], isa, layer, {}, threads)


WHOLE = Layer(N=1, C=16, H=6, W=18, K=16, R=3, S=3)
"""No padding, P·Q = 4·16: every tile divides it, so counts scale exactly."""

M, Y = WHOLE.macs, WHOLE.outputs


def knobs_of(
    variant: Variant, tile_p: int, tile_k: int, tile_c: int, taps: int, window: int = 0
) -> dict[str, int]:
    knobs = {"tile_p": tile_p, "tile_k": tile_k, "tile_c": tile_c, "taps": taps, "window": window}
    return {name: knobs[name] for name in variant.knobs}


@pytest.mark.parametrize("stationarity", ["output", "weight", "input"])
@pytest.mark.parametrize(
    ("start", "knob", "value", "changes"),
    [
        ((2, 2, 2, 1), "tile_p", 4, {"weight_reads": M // 4}),
        ((2, 2, 2, 1), "tile_k", 4, {"input_reads": M // 4}),
        ((2, 2, 2, 1), "tile_c", 4, {"output_reads": Y * (4 * 9 - 1), "output_writes": Y * 4 * 9}),
        ((1, 1, 1, 1), "taps", 3, {"output_reads": Y * (16 * 3 - 1), "output_writes": Y * 16 * 3}),
    ],
)
def test_one_knob_moves_exactly_its_count(
    stationarity: str, start: tuple[int, int, int, int], knob: str, value: int, changes: dict[str, int]
) -> None:
    variant, isa = REUSE[stationarity], extension("count").isas()[-1]
    knobs = knobs_of(variant, *start)
    before, after = (counted(variant, isa, WHOLE, k) for k in (knobs, knobs | {knob: value}))
    assert {name: after[name] for name in COUNTS if after[name] != before[name]} == changes


@pytest.mark.parametrize(("stationarity", "tile_p"), [("output", 8), ("output", 4), ("input", 2)])
def test_the_sliding_window_saves_input_reads_and_nothing_else(stationarity: str, tile_p: int) -> None:
    variant, isa = REUSE[stationarity], extension("count").isas()[-1]
    without, windowed = (
        counted(variant, isa, WHOLE, knobs_of(variant, tile_p, 1, 1, 3, window)) for window in (0, 1)
    )
    moved = {name: windowed[name] for name in COUNTS if windowed[name] != without[name]}
    assert moved == {"input_reads": M * (tile_p + 2) // (3 * tile_p)}


@settings(max_examples=40, deadline=None)
@given(layer=layers(), seed=st.integers(0, 2**32))
def test_equal_boxes_cost_the_same_in_all_three_stationarities(layer: Layer, seed: int) -> None:
    three = [REUSE[stationarity] for stationarity in ("output", "weight", "input")]
    boxes = [{box(knobs) for knobs in legal_knobs(variant, layer)} for variant in three]
    shared = random.Random(seed).choice(sorted(set.intersection(*boxes)))  # at least 1 x 1 x 1 x 1
    first, *others = (variant.counts_for(layer, knobs_of(variant, *shared), lanes=1) for variant in three)
    assert others == [first, first]


@given(layer=layers(), tile_p=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_helpers_equal_their_definitions(layer: Layer, tile_p: int) -> None:
    inside = [
        (n, p, q, r, s)
        for n in range(layer.N) for p in range(layer.P) for q in range(layer.Q)
        for r in range(layer.R) for s in range(layer.S)
        if 0 <= p * layer.stride_h - layer.pad_h + r * layer.dil_h < layer.H
        and 0 <= q * layer.stride_w - layer.pad_w + s * layer.dil_w < layer.W
    ]  # fmt: skip
    assert positions.taps_inside(layer) == len(inside)
    if positions.row_length(layer) == layer.Q and layer.op not in ("fc",):
        assert positions.tiles_touched(layer, tile_p) == len(
            {(n, p, q // tile_p, r, s) for n, p, q, r, s in inside}
        )
        if layer.dil_w == 1 and layer.stride_w <= layer.S:
            elements = {(n, p, q // tile_p, r, q * layer.stride_w + s) for n, p, q, r, s in inside}
            assert positions.clipped_windows(layer, tile_p) == len(elements)
