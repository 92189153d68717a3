"""AI, DI and reuse: the identities they are defined by, on numbers and on arrays."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dibench import intensity

COUNT = st.integers(1, 10**12)
ALPHA = st.floats(0, 1)


@given(COUNT, COUNT, COUNT)
def test_weighted_di_at_one_half_is_ai(m: int, w: int, a: int) -> None:
    assert intensity.di_weighted(m, w, a, 0.5) == intensity.arithmetic_intensity(m, w, a)


@given(COUNT, COUNT, COUNT, ALPHA)
def test_weighted_di_is_half_the_harmonic_and_disjoint_the_arithmetic_mean_of_the_reuses(
    m: int, w: int, a: int, alpha: float
) -> None:
    of_weights, of_activations = intensity.reuse(m, w), intensity.reuse(m, a)
    harmonic = 1 / (alpha / of_weights + (1 - alpha) / of_activations)
    assert math.isclose(intensity.di_weighted(m, w, a, alpha), harmonic / 2, rel_tol=1e-9)
    arithmetic = alpha * of_weights + (1 - alpha) * of_activations
    assert math.isclose(intensity.di_disjoint(m, w, a, alpha), arithmetic, rel_tol=1e-9)
    assert harmonic <= arithmetic * (1 + 1e-9)


def test_the_ends_of_alpha_look_at_one_data_type_only() -> None:
    assert intensity.di_weighted(1000, 10, 50, 1.0) == 1000 / 20
    assert intensity.di_weighted(1000, 10, 50, 0.0) == 1000 / 100
    assert intensity.di_disjoint(1000, 10, 50, 1.0) == 100
    assert intensity.di_disjoint(1000, 10, 50, 0.0) == 20


@given(st.lists(st.tuples(*[st.integers(1, 512)] * 5, st.integers(1, 7), st.integers(1, 7)), min_size=1))
def test_arrays_give_what_numbers_give(rows: list[tuple[int, ...]]) -> None:
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    N, K, P, Q, C, R, S = columns
    m = intensity.macs(N, K, P, Q, C, 1, R, S)
    w = intensity.weights(K, C, 1, R, S)
    y = intensity.outputs(N, K, P, Q)
    x = intensity.inputs(N, C, P, Q)
    ai = intensity.arithmetic_intensity(m, w, x + y)
    for i, (n, k, p, q, c, r, s) in enumerate(rows):
        assert m[i] == n * k * p * q * c * r * s
        assert (w[i], x[i], y[i]) == (k * c * r * s, n * c * p * q, n * k * p * q)
        assert ai[i] == m[i] / (w[i] + x[i] + y[i])
