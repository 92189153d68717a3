"""How far apart two measurements of a case lie by noise alone.

The variance of ln(B/A) has two parts:

- the two rows' own intervals (`time_ci_s`, `energy_ci_j`): half-widths over Student's quantile;
- for each side, how much two visits at a case differ. The sentinels show it: the variance of their
  logarithms beyond their own intervals, pooled over both sweeps, at the upper end of its one-sided 80%
  interval. Rows whose interval has such a part already (`ci_drift_j`) get none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dibench.intervals import VariancePart, t_975
from dibench.study.maths.sign_flips import holm
from dibench.study.table.columns import numbers
from dibench.study.use.compare_rows import INTERVALS

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

_BUDGETED_DF = 8.0
"""Degrees of freedom of an interval that an error budget made: the least that `measure.budget` has."""


def variance_of_cases(pairs: pd.DataFrame, column: str, between: VariancePart) -> tuple[Floats, Floats]:
    """Variance of ln(B/A) of each case and its degrees of freedom; NaN where a row has no interval."""
    variances, weighted = [], []
    for side in "ab":
        relative = numbers(pairs, f"{INTERVALS[column]}_{side}") / numbers(pairs, f"{column}_{side}")
        windows = numbers(pairs, f"windows_{side}")
        budgeted = (column == "energy_j") & np.isfinite(numbers(pairs, f"ci_drift_j_{side}"))
        # Correlated windows count for about half (`dibench.intervals`). Where the number of windows is not
        # known, the half-width is taken as 1.96 standard deviations.
        df = np.where(np.isfinite(windows), np.maximum(2.0, windows / 2 - 1), math.inf)
        df = np.where(budgeted, _BUDGETED_DF, df)
        own = (relative / quantile(df)) ** 2
        visits = np.where(budgeted, 0.0, between.variance)
        variances += [own, visits]
        weighted += [own**2 / df, visits**2 / between.df]
    variance, below = sum(variances, np.zeros(len(pairs))), sum(weighted, np.zeros(len(pairs)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return variance, np.where(below > 0, variance**2 / below, math.inf)  # Welch and Satterthwaite


def quantile(df: Floats) -> Floats:
    """Student's 97.5% quantile of each."""
    from scipy.special import stdtrit

    known = np.isfinite(df)
    return np.where(known, stdtrit(np.where(known, df, 1.0), 0.975), t_975(math.inf))


def between_visits(tables: Sequence[pd.DataFrame], column: str) -> VariancePart:
    """Relative variance between visits at the reference case beyond the rows' own, pooled over the tables.

    It is the upper end of a one-sided 80% interval: a few sentinels often look quieter than the machine is,
    and all cases depend on them.
    """
    from scipy.special import chdtri

    squares, own_squares, df = 0.0, 0.0, 0.0
    for frame in tables:
        if "sentinel" not in frame or column not in frame:
            continue
        own = frame[(frame["sentinel"].fillna(0) == 1) & frame["status"].isin(("ok", "flagged"))]
        value, half = numbers(own, column), numbers(own, INTERVALS[column])
        good = value > 0
        if good.sum() < 2:
            continue
        half = np.where(np.isfinite(half), half, 0.0)  # rows without an interval: all their spread counts
        logs, within = np.log(value[good]), (half[good] / value[good] / t_975(math.inf)) ** 2
        squares += float(((logs - logs.mean()) ** 2).sum())
        own_squares += float((good.sum() - 1) * within.mean())
        df += float(good.sum() - 1)
    if not df:
        return VariancePart(0.0)
    return VariancePart(max(0.0, squares / float(chdtri(df, 0.8)) - own_squares / df), df)


def p_values(d: Floats, variance: Floats, df: Floats, margin: float) -> tuple[list[float], list[float]]:
    """Holm's p of worse and of better than the margin for each case; NaN where a row has no interval."""
    from scipy.special import ndtr, stdtr

    def one_sided(distance: Floats) -> list[float]:
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(distance == 0, 0.0, distance / np.sqrt(variance))  # a model's rows have no variance
        p = np.where(np.isfinite(df), stdtr(np.where(np.isfinite(df), df, 1.0), -t), ndtr(-t))
        return holm([float(one) for one in np.where(np.isnan(variance), math.nan, p)])

    return one_sided(d - margin), one_sided(-d - margin)


def mean_interval(d: Floats) -> tuple[float, float]:
    """95% t-interval of the mean over the cases; NaN below two."""
    if len(d) < 2:
        return math.nan, math.nan
    half = t_975(len(d) - 1.0) * float(d.std(ddof=1)) / math.sqrt(len(d))
    return float(d.mean()) - half, float(d.mean()) + half


def wilcoxon_p(d: Floats) -> float | None:
    """Two-sided p of the signed-rank test; None where no case differs."""
    from scipy.stats import wilcoxon

    return float(wilcoxon(d).pvalue) if np.any(d != 0) else None
