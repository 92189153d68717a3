"""Mean and 95% interval of autocorrelated values, in the order they were taken.

Successive windows are correlated (clocks, temperature): n of them carry the information of n/f independent
ones, f = (1 + ρ)/(1 − ρ) for an AR(1) process. The lag-1 autocorrelation r of n windows underestimates ρ by
(1 + 3ρ)/n (Marriott and Pope, Biometrika 41, 1954) and has a standard error of 1/√n. So
ρ = (n·r + 1)/(n − 3) + 1/√n: corrected for the bias, and one standard error on the safe side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import attrs

FEWEST = 4
"""With fewer values, nothing can be said about their spread."""


@attrs.frozen
class VariancePart:
    """A variance and its degrees of freedom, infinite if the variance is known exactly."""

    variance: float
    df: float = math.inf


def variance_of_mean(values: Sequence[float]) -> VariancePart | None:
    """The variance of the mean of correlated values; None below four.

    >>> variance_of_mean([1.0, 3.0, 1.0, 3.0])
    VariancePart(variance=0.3333333333333333, df=3.0)
    """
    n = len(values)
    if n < FEWEST:
        return None
    mean = math.fsum(values) / n
    deviations = [value - mean for value in values]
    squares = math.fsum(d * d for d in deviations)
    if squares == 0.0:
        return VariancePart(0.0, n - 1)
    r = math.fsum(a * b for a, b in pairwise(deviations)) / squares
    rho = min(max((n * r + 1) / (n - 3) + 1 / math.sqrt(n), 0.0), 0.9)
    inflation = min((1 + rho) / (1 - rho), n / 3)
    effective = n / inflation
    variance = squares / (n - inflation)  # correlated windows spread less around their own mean
    return VariancePart(variance / effective, effective - 1)


def mean_interval(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean of windows in the order they were taken, and the half-width of its 95% interval.

    Returns:
        (mean, half-width); the half-width is None below four values, where nothing can be said.

    >>> mean_interval([1.0, 1.0, 1.0, 1.0])
    (1.0, 0.0)
    """
    part = variance_of_mean(values)
    mean = math.fsum(values) / len(values)
    return mean, None if part is None else t_975(part.df) * math.sqrt(part.variance)


def combined_df(parts: Sequence[VariancePart]) -> float:
    """Degrees of freedom of a sum of independent variances (Welch and Satterthwaite).

    >>> combined_df([VariancePart(2.0, 10.0), VariancePart(0.0, 1.0)])
    10.0
    """
    total = math.fsum(part.variance for part in parts)
    below = math.fsum(part.variance**2 / part.df for part in parts)
    return total**2 / below if below > 0 else math.inf


def t_975(df: float) -> float:
    """The 97.5% quantile of Student's t (scipy.special alone loads in a fifth of scipy.stats's time)."""
    from scipy.special import ndtri, stdtrit

    return float(stdtrit(df, 0.975)) if math.isfinite(df) else float(ndtri(0.975))
