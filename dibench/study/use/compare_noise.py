"""How far apart two sweeps of one program lie by noise alone: each case, and all cases together.

d = ln(B/A) of a case has the variance of both rows' own intervals (`time_ci_s`, `energy_ci_j`: half-widths
over Student's quantile) and of what these do not show, such as a neighbour on the machine who was there for
one of the two rows from its first window to its last. That second part is at least

- what the pairs themselves show. Most cases do not change, so their d spread by noise alone. Its scale is
  that of the inner half of d, or that of the shorter tail where this is larger: noise makes tails on both
  sides of the centre, a change for the worse on one. Pairs with a flagged row have a scale of their own from
  eight of them on, their root mean square, disturbance and all;
- what the sentinels of both sweeps show: the median distance between two of one sweep, of those that are
  not flagged where there are two, so that a single disturbed one does not decide.

The centre is the mean of the middle half of d, of the pairs without a flagged row where there are sixteen.
Its variance allows for autocorrelation in measured order (`dibench.intervals`), for a machine that moved all
cases alike from one quarter of a sweep to another (as far between the sweeps as within them), for what the
machine's pace leaves open (`paces`), and for `SHIFT_FLOOR`, which no sweep shows by itself.

Two sweeps cannot show everything: a neighbour who stretched one row from end to end, unseen by the kernel and
only that row, looks like a change of its case, and one who stayed for a whole sweep like a change of all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.intervals import FEWEST, VariancePart, combined_df, t_975, variance_of_mean
from dibench.study.maths.sign_flips import holm
from dibench.study.table.columns import numbers, texts
from dibench.study.table.row_errors import interval_degrees, quantile
from dibench.study.use.compare_rows import INTERVALS

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SHIFT_FLOOR = 0.005
"""Standard deviation of what moves all cases of a sweep alike from its first case to its last."""

MOST_PAIRS = 500_000
"""Of sentinels of one sweep: all those of a thousand. A million rows have fifty thousand sentinels."""

_FEWEST_FLAGGED, _FEWEST_PAIRS = 8, 16
"""So many pairs have a scale of their own."""

_MEDIAN_DF = 0.37
"""Degrees of freedom of a median of squares, for each value: its efficiency."""

_HALF = 0.6745
"""Half of normal values lie within so many standard deviations."""

_TAIL = 50
"""A tail is told by the largest |d| on its side of fewer than 100 pairs, by the second largest of 100, …"""


@attrs.frozen(eq=False)
class Noise:
    """Of d = ln(B/A): what all cases have in common, and the variance of each beside that."""

    centre: float
    half: float
    """Half-width of the centre's 95% interval; NaN where nothing tells."""
    variance: Floats
    """(n,), NaN where a row has no interval."""
    df: Floats
    judged: Mask
    """(n,) False: a flagged pair among too few flagged pairs; its variance is that of the others."""
    beyond: float
    """Standard deviation beyond the rows' own intervals, of one row of the cases that were not flagged."""

    def shift(self, accepted: float) -> float:
        """What of the centre is no change of any one case: what the machine explains, within the centre's
        interval about zero, and what is accepted of all cases beyond that of a single one."""
        most = accepted + (self.half if math.isfinite(self.half) else 0.0)
        return min(max(self.centre, -most), most)


def noise_of(
    pairs: pd.DataFrame,
    d: Floats,
    tables: Sequence[pd.DataFrame],
    column: str,
    *,
    repeats: bool,
    moved: float = 0.0,
) -> Noise:
    """The noise of d (n,) of these pairs.

    Args:
        pairs: rows of both sides, in the order in which A measured them.
        d: ln(B/A).
        tables: both sweeps, sentinels included.
        column: of `INTERVALS`.
        repeats: A and B are the same cases on the same kind of device. Otherwise the spread of d is no noise.
        moved: standard deviation of what may have moved all cases alike, beside `SHIFT_FLOOR`.
    """
    own, weighted, budgeted = _own(pairs, column)
    flagged = flagged_pairs(pairs)
    sentinels = _of_sentinels(tables, column)
    least = (2.0 - budgeted) * sentinels.variance  # a budgeted row's own interval has this already
    some = ~flagged if np.sum(~flagged) >= _FEWEST_PAIRS else np.ones(len(d), dtype=bool)
    centre, half = _all_together(d[some], (own + least)[some], math.hypot(SHIFT_FLOOR, moved))
    beyond = {state: VariancePart(0.0) for state in (False, True)}
    judged = np.ones(len(d), dtype=bool)
    if repeats and len(d) >= _FEWEST_PAIRS:
        residual, known = d - centre, np.nan_to_num(own)
        beyond[False] = beyond[True] = _excess(residual[some], known[some])
        if flagged.sum() >= _FEWEST_FLAGGED:
            among = float(np.mean(residual[flagged] ** 2 - known[flagged]))
            if among > beyond[True].variance:
                beyond[True] = VariancePart(among, float(flagged.sum()))
        elif not some.all():
            judged = ~flagged
    visits = np.maximum(np.where(flagged, beyond[True].variance, beyond[False].variance), least)
    visits_df = np.where(flagged, beyond[True].df, beyond[False].df)
    visits_df = np.where(np.isfinite(visits_df), visits_df, sentinels.df)  # where the pairs are too few
    variance = own + visits
    with np.errstate(divide="ignore", invalid="ignore"):
        below = weighted + visits**2 / visits_df
        df = np.where(below > 0, variance**2 / below, math.inf)  # Welch and Satterthwaite
    common = max(beyond[False].variance / 2, sentinels.variance)
    return Noise(centre, half, variance, df, judged, math.sqrt(common))


def flagged_pairs(pairs: pd.DataFrame) -> Mask:
    """(n,) whether a row of the pair is flagged."""
    return np.asarray((texts(pairs, "status_a") == "flagged") | (texts(pairs, "status_b") == "flagged"))


def _own(pairs: pd.DataFrame, column: str) -> tuple[Floats, Floats, Floats]:
    """Of both rows' intervals: variance, sum of variance² / df, how many of the two an error budget made."""
    variance, weighted, by_budget = np.zeros((3, len(pairs)))
    for side in "ab":
        relative = numbers(pairs, f"{INTERVALS[column]}_{side}") / numbers(pairs, f"{column}_{side}")
        df, budgeted = interval_degrees(pairs, column, f"_{side}")
        own = (relative / quantile(df)) ** 2
        variance, weighted, by_budget = variance + own, weighted + own**2 / df, by_budget + budgeted
    return variance, weighted, by_budget


def _of_sentinels(tables: Sequence[pd.DataFrame], column: str) -> VariancePart:
    """Relative variance between visits at the reference case beyond the rows' own, for one row."""
    beyond, values = [], 0
    for frame in tables:
        if "sentinel" not in frame or column not in frame:
            continue
        own = frame[(frame["sentinel"].fillna(0) == 1) & frame["status"].isin(("ok", "flagged"))]
        if (own["status"] == "ok").sum() > 1:
            own = own[own["status"] == "ok"]
        value, half = numbers(own, column), numbers(own, INTERVALS[column])
        good = value > 0
        logs, within = np.log(value[good]), (np.nan_to_num(half[good] / value[good]) / t_975(math.inf)) ** 2
        one, other = pairs_of(len(logs))
        beyond.append(((logs[one] - logs[other]) / _HALF) ** 2 - within[one] - within[other])
        values += max(0, len(logs) - 1)
    if not any(map(len, beyond)):
        return VariancePart(0.0)
    median = float(np.median(np.concatenate(beyond)))
    return VariancePart(max(0.0, median / 2), max(1.0, _MEDIAN_DF * values))


def pairs_of(number: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Both ends of every pair of so many; of more than `MOST_PAIRS` of as many, at evenly spread distances.

    >>> [len(pairs_of(number)[0]) for number in (3, 1_000, 50_000)]
    [3, 499500, 500000]
    """
    if number * (number - 1) <= 2 * MOST_PAIRS:
        return np.triu_indices(number, k=1)
    distances = np.linspace(1, (number - 1) // 2, max(1, MOST_PAIRS // number)).astype(np.intp)
    one = np.tile(np.arange(number), len(distances))
    return one, (one + np.repeat(distances, number)) % number


def _excess(residual: Floats, own: Floats) -> VariancePart:
    """The variance which, added to each own one, makes median and shorter tail those of normal values.

    |r| ≤ z·√(own + v) is (r/z)² − own ≤ v, so v is a quantile of the left side.
    """
    from scipy.special import ndtri

    inner = float(np.median((residual / _HALF) ** 2 - own))
    last = max(1, len(residual) // _TAIL)
    z = float(ndtri(1 - (last - 0.5) / len(residual)))
    beyond = (residual / z) ** 2 - own
    tails = [np.sort(beyond[side])[-last:] for side in (residual < 0, residual > 0)]
    shorter = min(float(tail[0]) if len(tail) == last else 0.0 for tail in tails)
    return VariancePart(max(0.0, inner, shorter), max(1.0, _MEDIAN_DF * len(residual)))


def _middle_mean(d: Floats) -> float:
    """Mean of the middle half."""
    cut = len(d) // 4
    return float(np.sort(d)[cut : len(d) - cut].mean())


def _all_together(d: Floats, variance: Floats, shift: float) -> tuple[float, float]:
    """The middle mean of d in measured order, and the half-width of its 95% interval.

    `shift` is the standard deviation of what moves all cases alike.
    """
    cut, centre = len(d) // 4, _middle_mean(d)
    parts = [VariancePart(shift**2)]
    if len(d) < FEWEST:
        return centre, t_975(math.inf) * math.sqrt(float(np.mean(variance)) / len(d) + shift**2)
    ordered = np.sort(d)
    winsorised = np.clip(d, ordered[cut], ordered[-1 - cut])
    part = variance_of_mean(list(winsorised))
    assert part is not None
    mean = part.variance / (1 - 2 * cut / len(d)) ** 2  # Tukey and McLaughlin, Sankhyā A 25, 1963
    parts.append(VariancePart(mean, min(part.df, len(d) - 2 * cut - 1.0)))
    if len(d) >= _FEWEST_PAIRS:
        quarters = [_middle_mean(quarter) for quarter in np.array_split(d, 4)]
        parts.append(VariancePart(max(0.0, float(np.var(quarters, ddof=1)) - 4 * mean), 3.0))
    return centre, t_975(combined_df(parts)) * math.sqrt(math.fsum(part.variance for part in parts))


def p_values(d: Floats, noise: Noise, margin: float, shift: float) -> tuple[list[float], list[float]]:
    """Holm's p of worse and of better than the margin for each case; NaN where a row has no interval.

    The shift is taken off all cases.
    """
    from scipy.special import ndtr, stdtr

    def one_sided(distance: Floats) -> list[float]:
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(distance == 0, 0.0, distance / np.sqrt(noise.variance))  # a model has no variance
        known = np.isfinite(noise.df)
        p = np.where(known, stdtr(np.where(known, noise.df, 1.0), -t), ndtr(-t))
        return holm([float(one) for one in np.where(np.isnan(noise.variance), math.nan, p)])

    return one_sided(d - shift - margin), one_sided(shift - d - margin)


def wilcoxon_p(d: Floats) -> float | None:
    """Two-sided p of the signed-rank test; None where no case differs."""
    from scipy.stats import wilcoxon

    return float(wilcoxon(d).pvalue) if np.any(d != 0) else None
