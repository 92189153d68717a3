"""Tests and intervals of paired differences without a distribution: sign flips, and Holm's adjustment.

The test flips the signs of the differences (Fisher 1935, exact up to EXACT_PAIRS of them); the interval
inverts that test by the means of subsets (Hartigan, "Using Subsample Values as Typical Values", JASA 1969).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

EXACT_PAIRS = 14
DRAWS = 9_999
SEED = 20_200_806
AT_ONCE = 2_000_000
"""Random numbers drawn at once: bounds memory whatever the number of pairs."""


def flip_test(difference: FloatArray) -> float:
    """Two-sided p value of the sign flip test that the differences are symmetric about zero.

    Of all 2ⁿ sign patterns up to EXACT_PAIRS differences, of DRAWS seeded ones beyond.

    >>> flip_test(np.array([0.1, 0.2, 0.3]))
    0.25
    """
    sums, _, exact = _subset_sums(difference)
    total = float(difference.sum())
    reached = int(np.count_nonzero(np.abs(total - 2 * sums) >= abs(total) * (1 - 1e-9)))
    return reached / len(sums) if exact else (1 + reached) / (1 + len(sums))


def interval(difference: FloatArray, level: float) -> tuple[float | None, float | None]:
    """The centres of symmetry that the sign flip test does not reject; None for an end that is not bounded.

    Flipping the subset F about a centre δ raises the mean exactly where the mean over F is at most δ. So the
    ends are order statistics of the means of the subsets.
    """
    sums, sizes, _ = _subset_sums(difference)
    means = np.sort(sums[sizes > 0] / sizes[sizes > 0])
    rank = int((1 - level) / 2 * (1 + len(means)) * (1 + 1e-12))
    return (None, None) if rank < 1 else (float(means[rank - 1]), float(means[-rank]))


def _subset_sums(difference: FloatArray) -> tuple[FloatArray, FloatArray, bool]:
    """Sum and number of the differences that each pattern flips, and whether these are all patterns."""
    n = len(difference)
    if n <= EXACT_PAIRS:
        flipped = (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(float)
        return flipped @ difference, flipped.sum(axis=1), True
    rng = np.random.default_rng(SEED)
    sums, sizes = np.empty(DRAWS), np.empty(DRAWS)
    block = max(1, AT_ONCE // n)
    for first in range(0, DRAWS, block):
        flipped = (rng.random((min(block, DRAWS - first), n)) < 0.5).astype(float)
        sums[first : first + block], sizes[first : first + block] = flipped @ difference, flipped.sum(axis=1)
    return sums, sizes, False


def holm(p_values: list[float]) -> list[float]:
    """Holm's (1979) adjusted p values; a p value that is not a number is no test and stays so.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    tests = sorted((p, at) for at, p in enumerate(p_values) if not math.isnan(p))
    adjusted, most = [math.nan] * len(p_values), 0.0
    for rank, (p, at) in enumerate(tests):
        most = max(most, min(1.0, (len(tests) - rank) * p))
        adjusted[at] = most
    return adjusted
