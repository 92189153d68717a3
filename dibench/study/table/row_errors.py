"""How good rows are by themselves: what their intervals state, and what repeats of a case show.

This is the pure error of a lack-of-fit test: what no model of a layer can explain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.layer import DIMENSIONS
from dibench.study.table.columns import first_rows, is_network, numbers, row_numbers, texts

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

SAME_CASE = (
    *DIMENSIONS, "op", "dtype", "backend", "variant", "tile_p", "tile_k", "tile_c", "lanes", "instances",
    "knobs", "data",
)  # fmt: skip
"""Rows equal in these measured the same; a sentinel is a repeat of the case that it repeats."""

FEWEST_REPEATS = 5
"""Degrees of freedom below which the spread of repeats is chance."""

_BUDGETED_DF = 8.0
"""Degrees of freedom of an interval that an error budget made: the least that `measure.budget` has."""


@attrs.frozen
class Repeats:
    """Variance of log response among repeats of a case, pooled over cases, and its degrees of freedom."""

    variance: float
    df: int


NO_REPEATS = Repeats(0.0, 0)


def interval_of(response: str) -> tuple[str, str]:
    """The column that an interval is about, and its half-width; energies above a baseline share one.

    >>> interval_of("energy_above_idle_j")
    ('energy_j', 'energy_ci_j')
    """
    return ("time_s", "time_ci_s") if response == "time_s" else ("energy_j", "energy_ci_j")


def cases_of(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that tell one case from another; a whole network is told by its name, too."""
    cases = frame[[name for name in SAME_CASE if name in frame]]
    whole = is_network(frame)
    return cases.assign(network=np.where(whole, texts(frame, "name"), "")) if whole.any() else cases


def repeats(frame: pd.DataFrame, response: str) -> Repeats:
    """Of rows that count, repeats and sentinels among them; exact copies of a row are one row."""
    cases = cases_of(frame)
    value = numbers(frame, response)
    case = row_numbers(cases, cases)
    no_copy = np.zeros(len(frame), dtype=bool)
    no_copy[first_rows(row_numbers(frame, frame))] = True
    again = (np.bincount(case)[case] > 1) & (value > 0) & no_copy
    if not again.any():
        return NO_REPEATS
    case = np.unique(case[again], return_inverse=True)[1]
    logs = np.log(value[again])
    how_many = np.bincount(case)
    apart = logs - (np.bincount(case, logs) / how_many)[case]
    df = int((how_many - 1).sum())
    return Repeats(float(apart @ apart) / df, df) if df else NO_REPEATS


def row_errors(frame: pd.DataFrame, response: str, repeated: Repeats) -> FloatArray:
    """Standard deviation (n,) of each row's log response; not a number where nothing tells.

    From the row's 95% interval. Where repeats of cases lie further apart than their intervals say, what is
    missing is added to all rows.
    """
    half = numbers(frame, interval_of(response)[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.where(half > 0, half / numbers(frame, response), np.nan)
    own /= quantile(interval_degrees(frame, response)[0])
    if repeated.df < FEWEST_REPEATS:
        return own
    known = np.isfinite(own)
    stated = float(np.mean(own[known] ** 2)) if known.any() else 0.0
    variance = np.where(known, own**2, stated) + max(0.0, repeated.variance - stated)
    return np.asarray(np.sqrt(variance))


def interval_degrees(frame: pd.DataFrame, response: str, side: str = "") -> tuple[FloatArray, BoolArray]:
    """Degrees of freedom (n,) of each row's interval, infinite where windows are not told; and which of the
    intervals an error budget made.

    Args:
        frame: rows; of a comparison, with what both sides say.
        response: `time_s`, or an energy.
        side: `_a` or `_b` after the columns of one side of a comparison.
    """
    windows = numbers(frame, f"windows{side}")
    # Correlated windows count for about half (`dibench.intervals`).
    df = np.where(np.isfinite(windows), np.maximum(2.0, windows / 2 - 1), np.inf)
    budgeted = (response != "time_s") & np.isfinite(numbers(frame, f"ci_drift_j{side}"))
    return np.where(budgeted, _BUDGETED_DF, df), budgeted


def quantile(df: FloatArray, at: float = 0.975) -> FloatArray:
    """Student's quantile of each; the normal distribution's where the degrees of freedom are infinite.

    >>> quantile(np.array([4.0, np.inf])).round(2).tolist()
    [2.78, 1.96]
    """
    from scipy.special import ndtri, stdtrit

    known = np.isfinite(df)
    return np.where(known, stdtrit(np.where(known, df, 1.0), at), ndtri(at))
