"""The float64 convolution that every kernel is held against equals the definition, term by term."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from references import layers, operands

from dibench.backends.operands import as_elements, as_values
from dibench.check.reference import allowance, convolution
from dibench.layer import Layer


@settings(max_examples=60, deadline=None)
@given(layers().filter(lambda layer: layer.macs < 20_000))
def test_the_reference_is_the_definition(layer: Layer) -> None:
    x, w, _ = operands(layer, 1, seed=1)
    got = convolution(layer, x[0], w[0])
    group_k, group_c = layer.K // layer.groups, layer.C // layer.groups
    for n, k, p, q in itertools.product(*map(range, (layer.N, layer.K, layer.P, layer.Q))):
        total = 0.0
        for c, r, s in itertools.product(range(group_c), range(layer.R), range(layer.S)):
            h = p * layer.stride_h - layer.pad_h + r * layer.dil_h
            v = q * layer.stride_w - layer.pad_w + s * layer.dil_w
            if 0 <= h < layer.H and 0 <= v < layer.W:
                total += float(w[0, k, c, r, s]) * float(x[0, n, k // group_k * group_c + c, h, v])
        assert got[n, k, p, q] == pytest.approx(total, rel=1e-12, abs=1e-12)
    assert got.dtype == np.float64


@pytest.mark.parametrize(("dtype", "least"), [("fp16", 2.0**-24), ("bf16", 2.0**-133)])
@settings(max_examples=60, deadline=None)
@given(size=st.integers(-30, 10), seed=st.integers(0, 1000))
@example(size=0, seed=569)  # products that all but cancel: summing is off by more than outputs are apart
def test_a_16_bit_output_may_be_off_by_its_rounding_and_no_more(
    dtype: str, least: float, size: int, seed: int
) -> None:
    """The nearest number of the type is right; two further, beyond what summing is off by, is wrong."""
    layer = Layer.fc(N=8, C=3, K=8)
    x, w, _ = (values[0] for values in operands(layer, 1, seed))
    x = x * np.float32(2.0**size)
    y = convolution(layer, x, w)
    nearest = as_values(as_elements(y.astype(np.float32), dtype), dtype).astype(np.float64)
    allowed = allowance(layer, x, w, dtype)
    assert (np.abs(nearest - y) <= allowed).all()
    summing = 2 * allowance(layer, x, w)  # 16-bit kernels may truncate where float32 rounds
    largest = np.abs(y) + summing
    spacing = np.maximum(2.0 ** (np.floor(np.log2(largest)) - (10 if dtype == "fp16" else 7)), least)
    assert (np.abs(nearest + 2 * spacing + 2 * summing - y) > allowed).all()
