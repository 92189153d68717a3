"""AI, DI and reuse: the identities they are defined by, on numbers and on arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dibench import intensity
from dibench.errors import UserError

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


@given(
    st.lists(st.tuples(*[st.integers(1, 70_000)] * 5), min_size=1, max_size=5),
    st.sampled_from(["int8", "int16", "int32", "int64", "uint16", "uint32"]),
)
def test_counts_of_arrays_are_exact_whatever_integers_they_hold(
    rows: list[tuple[int, ...]], kind: str
) -> None:
    most = np.iinfo(kind).max
    rows = [tuple(min(one, most) for one in row) for row in rows]
    N, K, P, Q, C = (np.array(column, dtype=kind) for column in zip(*rows, strict=True))
    found = intensity.macs(N, K, P, Q, C, 1, 3, 3)
    for i, (n, k, p, q, c) in enumerate(rows):
        exact = n * k * p * q * c * 9
        assert found[i] == exact if found.dtype.kind == "i" else math.isclose(found[i], exact, rel_tol=1e-14)
    assert found.dtype == ("int64" if max(math.prod(row) * 9 for row in rows) < 2**63 * (1 - 1e-9) else float)


def test_sums_of_counts_do_not_overflow() -> None:
    for most in (np.array([2**31 - 1], dtype="int32"), np.int32(2**31 - 1)):
        assert intensity.arithmetic_intensity(most, most, most) == 0.5
        assert intensity.di_weighted(most, most, most, 0.5) == 0.5
    assert intensity.outputs(np.int64(2**31), np.int64(2**31), np.int64(4), np.int64(1)) == 2**64


def test_zero_means_the_same_in_numbers_and_arrays() -> None:
    """Infinite reuse of what is not there, NaN for nothing over nothing; no warning, no ZeroDivisionError."""
    for m, w, a in [(8, 0, 2), (8, 2, 0), (8, 0, 0), (0, 0, 0), (0, 2, 2)]:
        ms, ws, xs = (np.array([one]) for one in (m, w, a))
        for alpha in (0.0, 0.5, 1.0):
            for form in (intensity.di_weighted, intensity.di_disjoint):
                np.testing.assert_equal(form(ms, ws, xs, alpha)[0], form(m, w, a, alpha))
        np.testing.assert_equal(intensity.reuse(ms, ws)[0], intensity.reuse(m, w))
        of_numbers = intensity.arithmetic_intensity(m, w, a)
        np.testing.assert_equal(intensity.arithmetic_intensity(ms, ws, xs)[0], of_numbers)
    assert intensity.di_disjoint(8, 0, 2, alpha=0) == 4  # weights that do not count, however often reused
    for groups in (0, np.array([1, 0])):
        with pytest.raises(UserError, match="groups: must be at least 1"):
            intensity.weights(4, np.array([4, 4]), groups, 1, 1)
