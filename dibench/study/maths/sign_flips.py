"""Tests and intervals of paired differences without a distribution: sign flips, and Holm's adjustment.

The test flips the signs of the differences (Fisher 1935, exact up to EXACT_PAIRS of them); the interval
inverts that test by the means of subsets (Hartigan, "Using Subsample Values as Typical Values", JASA 1969).

By hand, because `scipy.stats.permutation_test` gives the same p value and no interval, and for 14 pairs takes
49 ms where this takes 2.5 ms. SciPy has no Holm adjustment.
"""

from __future__ import annotations

import math

import attrs
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

EXACT_PAIRS = 14
DRAWS = 9_999
SEED = 20_200_806
AT_ONCE = 2_000_000
"""Random numbers drawn at once: bounds memory whatever the number of pairs."""


@attrs.frozen(eq=False)
class Flips:
    """What flipping the signs of some differences gives: the test, and the interval that it inverts to."""

    differences: FloatArray
    """(n,)"""
    sums: FloatArray
    """Of the differences that each pattern flips, (patterns,)."""
    sizes: FloatArray
    """How many these are, (patterns,)."""
    exact: bool
    """Whether these are all 2ⁿ patterns."""

    @property
    def p_value(self) -> float:
        """Two-sided, of the hypothesis that the differences are symmetric about zero."""
        total = float(self.differences.sum())
        flipped = np.abs(total - 2 * self.sums)
        reached = int(np.count_nonzero(flipped >= abs(total) * (1 - 1e-9)))
        return reached / len(self.sums) if self.exact else (1 + reached) / (1 + len(self.sums))

    def p_within(self, margin: float) -> float:
        """Of the hypothesis that the centre of symmetry lies `margin` or more from zero: the larger of two.

        Each is one-sided, of a centre at one end (Schuirmann 1987). Flipping the subset F about a centre δ
        leaves the mean as large or larger exactly where Σ_F d ≤ δ·|F|.
        """
        edge = self.sizes * margin
        rounding = 1e-12 * float(np.abs(self.differences).sum())
        reached = [
            int(np.count_nonzero(self.sums <= rounding - edge)),
            int(np.count_nonzero(self.sums >= edge - rounding)),
        ]
        patterns = len(self.sums)
        return max(reached) / patterns if self.exact else (1 + max(reached)) / (1 + patterns)

    def interval(self, level: float) -> tuple[float | None, float | None]:
        """The centres of symmetry that the test does not reject; None for an end that is not bounded.

        Flipping the subset F about a centre δ raises the mean exactly where the mean over F is at most δ. So
        the ends are order statistics of the means of the subsets.
        """
        some = self.sizes > 0
        means = np.sort(self.sums[some] / self.sizes[some])
        rank = int((1 - level) / 2 * (1 + len(means)) * (1 + 1e-12))
        return (None, None) if rank < 1 else (float(means[rank - 1]), float(means[-rank]))


def flips(difference: FloatArray) -> Flips:
    """Every sign pattern of up to EXACT_PAIRS differences (n,), DRAWS seeded ones of more.

    >>> flips(np.array([0.1, 0.2, 0.3])).p_value
    0.25
    """
    n = len(difference)
    if n <= EXACT_PAIRS:
        flipped = (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(float)
        return Flips(difference, flipped @ difference, flipped.sum(axis=1), True)
    rng = np.random.default_rng(SEED)
    sums, sizes = np.empty(DRAWS), np.empty(DRAWS)
    block = max(1, AT_ONCE // n)
    for first in range(0, DRAWS, block):
        flipped = (rng.random((min(block, DRAWS - first), n)) < 0.5).astype(float)
        sums[first : first + block], sizes[first : first + block] = flipped @ difference, flipped.sum(axis=1)
    return Flips(difference, sums, sizes, False)


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
