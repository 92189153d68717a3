"""Lack of fit, before any verdict: does the description by shape miss its rows by more than they explain?

Residuals of `di_split` hold the rows' own errors (`table.row_errors`) and what the model misses. The miss is
the root of mean square residual less mean square error. A model is not adequate if that is larger than
`MISS_MARGIN`, significantly, at 5%: an equivalence margin, because in a large table every model of silicon
misses by *something* (Wellek, Testing Statistical Hypotheses of Equivalence and Noninferiority, 2010), and a
bare test of lack of fit (pure error: Draper and Smith, Applied Regression Analysis, 1998, section 2.1) would
reject them all.

Why 2%: the misfits of `benchmarks.study_misfits`, scaled to a miss of 2%, move α by 0.01 to 0.07, and by 0.12
where a term of the hardware tells them; from 3% on several pass for a data type (docs/study.md).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dibench.study.findings.adequacy import Adequacy, Followed
from dibench.study.ladder.models import FULL, Data, Terms, design
from dibench.study.maths.estimate import fit_log
from dibench.study.maths.inference import LEVEL
from dibench.study.maths.labels import Labels, distinct
from dibench.study.maths.minimise import LOOSE
from dibench.study.maths.sign_flips import holm

if TYPE_CHECKING:
    from collections.abc import Mapping

FloatArray = NDArray[np.float64]

MISS_MARGIN = 0.02
FEWEST_ROWS = 10
"""Rows of known error beyond the coefficients, below which nothing is said."""

EIGHTHS = 8
LEAST_SHARE = 0.05
"""Of the residuals' variance: what explains less is not told."""


def judge(residuals: FloatArray, error: FloatArray, k: int, layer: Labels) -> Adequacy:
    """From residuals of log response (n,) of k coefficients and the rows' errors (n,), NaN if not known.

    Under the hypothesis a row's residual has its own error and a miss of MISS_MARGIN that rows of one layer
    share. Their sum of squares is then near to a scaled χ², its scale and degrees of freedom by the first two
    moments (Satterthwaite 1946).

    >>> layers = np.array(list("abcdefghijklmnopqrstuvwxyz"), dtype=object)
    >>> found = judge(np.tile([0.1, -0.1], 13), np.full(26, 0.02), 0, layers)
    >>> found.adequate, round(found.miss, 3), round(found.p_value, 9)
    (False, 0.098, 0.0)
    """
    from scipy.stats import chi2

    n = len(residuals)
    known = np.isfinite(error)
    if n <= k or known.sum() < k + FEWEST_ROWS:
        return Adequacy(None, None, _root_mean(residuals, n - k), None, MISS_MARGIN, None)
    square = residuals[known] ** 2 * n / (n - k)
    variance, margin = error[known] ** 2, MISS_MARGIN**2
    rows_of = np.bincount(distinct(layer[known])[1])
    expected = float(variance.sum()) + margin * len(square)
    spread = 2 * float((variance**2).sum() + 2 * margin * variance.sum() + margin**2 * (rows_of**2).sum())
    degrees = 2 * expected**2 / spread
    p_value = float(chi2.sf(degrees * float(square.sum()) / expected, degrees))
    return Adequacy(
        adequate=p_value >= 1 - LEVEL,
        miss=math.sqrt(max(0.0, float(square.mean() - variance.mean()))),
        residual=math.sqrt(float(square.mean())),
        rows_error=math.sqrt(float(variance.mean())),
        margin=MISS_MARGIN,
        p_value=p_value,
    )


def _root_mean(residuals: FloatArray, degrees: int) -> float | None:
    return math.sqrt(float(residuals @ residuals) / degrees) if degrees > 0 else None


def residuals_of(data: Data, terms: Terms) -> tuple[FloatArray, int]:
    """Log residuals of `di_split` with these terms, and its number of coefficients."""
    at = design("di_split", data, terms=terms)
    if len(data) <= len(at.names):
        return np.zeros(len(data)), len(at.names)
    return fit_log(at.columns, data.y, tolerance=LOOSE).residuals, len(at.names)


def adequacy(data: Data, terms: Terms = FULL) -> Adequacy:
    """Of the rows' most general description by shape, with these terms."""
    residuals, k = residuals_of(data, terms)
    return judge(residuals, data.error, k, data.layer)


def followed(residuals: FloatArray, properties: Mapping[str, NDArray[Any]]) -> tuple[Followed, ...]:
    """Properties (n,) of layers that residuals follow, the largest share first.

    Numbers are cut into eighths of the rows, so that a step counts as much as a slope. Ranks of residuals are
    compared between these, or between kinds.
    """
    from scipy.stats import kruskal

    found, p_values = [], []
    for name, values in properties.items():
        group = _groups(values)
        parts = [residuals[group == one] for one in np.unique(group)]
        parts = [part for part in parts if len(part) > 1]
        if len(parts) < 2 or not np.ptp(residuals) > 0:
            continue
        between = sum(len(part) * part.mean() ** 2 for part in parts)
        found.append((name, float(between / (residuals @ residuals))))
        p_values.append(float(kruskal(*parts).pvalue))
    told = [
        Followed(name, share, p)
        for (name, share), p in zip(found, holm(p_values), strict=True)
        if p < 1 - LEVEL and share >= LEAST_SHARE
    ]
    return tuple(sorted(told, key=lambda one: -one.share))


def _groups(values: NDArray[Any]) -> NDArray[np.intp]:
    if values.dtype.kind in "OUS":
        return distinct(values)[1]
    numbers = np.asarray(values, dtype=np.float64)
    cuts = np.unique(np.quantile(numbers, np.arange(1, EIGHTHS) / EIGHTHS))
    return np.asarray(np.searchsorted(cuts, numbers, side="left"), dtype=np.intp)
