"""The float64 convolution that every kernel is held against equals the definition, term by term."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from references import layers, operands

from dibench.check.reference import convolution
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
