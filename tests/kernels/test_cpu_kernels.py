"""Every CPU kernel computes the convolution: all variants, knobs, instruction sets, threads and instances."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from references import STRIPS, Floats, box, layers, legal_knobs, operands

from dibench import _cpu
from dibench.check.reference import convolution
from dibench.kernels import Variant, registry
from dibench.layer import Layer

CPU = list(registry("cpu").values())
ISAS = _cpu.isas()


def run(
    variant: Variant, isa: str, layer: Layer, knobs: dict[str, int], threads: int, seed: int, instances: int
) -> Floats:
    x, w, y = operands(layer, instances, seed)
    _cpu.launch(variant.name, isa, layer.shape, box(knobs), x, w, y, threads, 1)
    return y


def check(
    variant: Variant, isa: str, layer: Layer, knobs: dict[str, int], threads: int, seed: int, instances: int
) -> None:
    x, w, _ = operands(layer, instances, seed)
    y = run(variant, isa, layer, knobs, threads, seed, instances)
    terms = layer.C // layer.groups * layer.R * layer.S
    for i in range(instances):
        expected = convolution(layer, x[i], w[i])
        # Any order of a float32 sum of n products errs by at most n·2^-24 of the sum of their magnitudes.
        allowed = (terms + 1) * 2.0**-24 * convolution(layer, abs(x[i]), abs(w[i]))
        wrong = ~(abs(y[i] - expected) <= allowed)
        assert not wrong.any(), (variant.name, isa, knobs, threads, np.argwhere(wrong)[:3].tolist())


ALEXNET_LIKE = Layer(N=1, C=2, H=23, W=27, K=3, R=11, S=11, stride_h=4, stride_w=4, pad_h=2, pad_w=2)
MOBILENET_LIKE = Layer(N=2, C=4, H=9, W=19, K=4, R=3, S=3, pad_h=1, pad_w=1, groups=4)
SEVEN_LIKE = Layer(N=1, C=3, H=9, W=21, K=5, R=7, S=7, stride_h=2, stride_w=2, pad_h=3, pad_w=3)


@settings(max_examples=40, deadline=None)
@example(layer=ALEXNET_LIKE, seed=1)
@example(layer=MOBILENET_LIKE, seed=2)
@example(layer=SEVEN_LIKE, seed=3)
@given(layer=layers(), seed=st.integers(0, 2**32))
def test_every_output_is_the_float64_convolution(layer: Layer, seed: int) -> None:
    choose = random.Random(seed)
    for variant in CPU:
        if layer.op in variant.ops:
            legal = legal_knobs(variant, layer)
            for knobs in choose.sample(legal, min(3, len(legal))):
                for isa in ISAS:
                    check(variant, isa, layer, knobs, choose.choice((1, 2)), seed, choose.choice((1, 1, 3)))


@pytest.mark.parametrize("variant", CPU, ids=lambda variant: variant.name)
def test_every_knob_setting_is_right_on_layers_like_real_ones(variant: Variant) -> None:
    candidates = [
        Layer(N=2, C=10, H=6, W=13, K=11, R=3, S=3, pad_h=1, pad_w=1),
        Layer(N=1, C=9, H=11, W=12, K=9, R=5, S=5, stride_h=2, stride_w=2, pad_h=2, pad_w=2),
        Layer(N=1, C=4, H=1, W=17, K=3, R=1, S=7, pad_w=3),
        Layer(N=2, C=12, H=5, W=5, K=10, R=1, S=1),
        Layer(N=2, C=8, H=8, W=9, K=12, R=3, S=3, pad_h=1, pad_w=1, groups=4),
        Layer.fc(9, 33, 21),
        ALEXNET_LIKE, MOBILENET_LIKE, SEVEN_LIKE,
    ]  # fmt: skip
    ran = 0
    for layer in candidates:
        if layer.op in variant.ops:
            for knobs in legal_knobs(variant, layer):
                check(variant, ISAS[-1], layer, knobs, 1, 7, 1)
                ran += 1
    assert ran, "none of the layers suits this variant"


@pytest.mark.parametrize("layer", STRIPS, ids=str)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_images_cut_into_strips_are_right_and_the_same_on_any_threads(layer: Layer, threads: int) -> None:
    variant = registry("cpu")["standard_implicit_gemm"]
    for isa in ISAS:
        check(variant, isa, layer, {}, threads, 11, 1)
        one, other = (run(variant, isa, layer, {}, t, 11, 1) for t in (1, threads))
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("variant", [v for v in CPU if not v.fast], ids=lambda variant: variant.name)
def test_results_do_not_depend_on_the_number_of_threads(variant: Variant) -> None:
    candidates = [
        *(Layer(N=2, C=6, H=7, W=11, K=9, R=R, S=R, pad_h=R // 2, pad_w=R // 2) for R in (3, 1)),
        Layer(N=2, C=6, H=7, W=11, K=6, R=3, S=3, pad_h=1, pad_w=1, groups=6),
        Layer(N=2, C=6, H=7, W=11, K=9, R=3, S=3, pad_h=1, pad_w=1, groups=3),
        Layer.fc(9, 33, 21),
    ]
    layer = next(layer for layer in candidates if layer.op in variant.ops)
    for knobs in legal_knobs(variant, layer)[::5]:
        one, *others = (run(variant, ISAS[-1], layer, knobs, threads, 5, 1) for threads in (1, 2, 3, 7))
        for other in others:
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("op", ["fc", "pointwise", "standard", "depthwise", "grouped"])
def test_every_operator_has_all_stationarities_and_a_fast_variant(op: str) -> None:
    reuse = {variant.stationarity for variant in CPU if op in variant.ops and not variant.fast}
    assert reuse == {"output", "weight", "input", "none"}
    assert any(variant.fast for variant in CPU if op in variant.ops)
