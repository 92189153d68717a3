"""How well predictions fit a response: the figures every model is judged by.

All take the response y and its predictions, both (n,) and positive, and are computed on the predicted
response itself, never on a ratio of it. A low MAPE can hide a low correlation, so both are always given.
"""

from __future__ import annotations

import functools
import math

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.study.findings.ladder import NO_SCORES, Scores

FloatArray = NDArray[np.float64]


def r2_log(y: FloatArray, predicted: FloatArray) -> float:
    """R² of log y: 1 − Σ(log y − log ŷ)² / Σ(log y − mean log y)²; negative where ŷ is worse than the mean.

    Not a number where y is constant.

    >>> r2_log(np.array([1.0, 10.0, 100.0]), np.array([1.0, 10.0, 100.0]))
    1.0
    """
    if _is_constant(y):
        return math.nan
    log_y = np.log(y)
    total = float(np.sum((log_y - log_y.mean()) ** 2))
    return 1 - float(np.sum((log_y - np.log(predicted)) ** 2)) / total


def mape(y: FloatArray, predicted: FloatArray) -> float:
    """Mean absolute error relative to y, as a fraction.

    >>> mape(np.array([1.0, 2.0]), np.array([1.5, 1.0]))
    0.5
    """
    return float(np.mean(np.abs(predicted - y) / y))


def rmse_log(y: FloatArray, predicted: FloatArray) -> float:
    """Root mean square of log ŷ − log y."""
    return float(np.sqrt(np.mean((np.log(predicted) - np.log(y)) ** 2)))


def pearson(y: FloatArray, predicted: FloatArray) -> float:
    """Pearson's correlation of y and ŷ; not a number where either is constant."""
    if _is_constant(y) or _is_constant(predicted):
        return math.nan
    a, b = y - y.mean(), predicted - predicted.mean()
    return float(a @ b / math.sqrt(float(a @ a) * float(b @ b)))


def _is_constant(values: FloatArray) -> bool:
    """Constant up to rounding."""
    return float(np.ptp(values)) <= 1e-12 * float(np.abs(values).max())


def spearman(y: FloatArray, predicted: FloatArray) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, ties at their mean rank.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([9.0, 4.0, 1.0]))
    -1.0
    """
    return pearson(ranks(y), ranks(predicted))


def ranks(values: FloatArray) -> FloatArray:
    """Ranks from 1, ties at the mean of theirs.

    >>> ranks(np.array([5.0, 1.0, 5.0]))
    array([2.5, 1. , 2.5])
    """
    _, inverse, how_often = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(how_often)
    return np.asarray((last - (how_often - 1) / 2)[inverse], dtype=np.float64)


def aicc(rss: float, n: int, k: int) -> float:
    """Akaike's criterion with the small-sample term, for k coefficients and a variance on log y.

    n·log(RSS/n) + 2p + 2p(p+1)/(n−p−1) with p = k + 1; not a number for n ≤ p + 1 (Hurvich and Tsai 1989).
    """
    p = k + 1
    if n <= p + 1 or rss <= 0:
        return math.nan
    return n * math.log(rss / n) + 2 * p + 2 * p * (p + 1) / (n - p - 1)


@attrs.frozen(eq=False)
class Target:
    """A response (n,) that several predictions are scored against."""

    y: FloatArray

    @functools.cached_property
    def _ranks(self) -> FloatArray:
        return ranks(self.y)

    def scores(self, predicted: FloatArray) -> Scores:
        """All figures of predictions (n,); None where fewer than three rows were predicted."""
        y = self.y
        if len(y) < 3:
            return attrs.evolve(NO_SCORES, n=len(y))
        rank = pearson(self._ranks, ranks(predicted))
        values = (
            r2_log(y, predicted),
            mape(y, predicted),
            pearson(y, predicted),
            rank,
            rmse_log(y, predicted),
        )
        return Scores(len(y), *(value if math.isfinite(value) else None for value in values))
