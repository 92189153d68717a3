"""A sensor's gain: one factor on all its joules, which no repeat and no interval of a row shows.

How far it may be off is declared in the column `gain_accuracy_pct`, from a data sheet, a calibration, or as
for NVIDIA's GPUs published comparisons; dibench does not measure it. It is taken for the half-width of a 95%
interval, and belongs to costs in joules: α, ratios of costs and errors of predictions do not depend on it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from dibench.errors import UserError
from dibench.study.table.columns import numbers

if TYPE_CHECKING:
    import pandas as pd

_COLUMN = "gain_accuracy_pct"

End = TypeVar("End", float, "float | None")


def check_gain(frame: pd.DataFrame) -> None:
    """Refuse an accuracy that none can have.

    Raises:
        UserError: it names the row.
    """
    declared = numbers(frame, _COLUMN)
    for row in np.flatnonzero(np.isfinite(declared) & ~((declared >= 0) & (declared < 100))).tolist():
        rule = "must be a percentage from 0 to below 100, or empty"
        raise UserError(f"row {frame.index[row]}: {_COLUMN}", rule, float(declared[row]))


def gain_accuracy(frame: pd.DataFrame) -> float | None:
    """The largest that rows declare, as a fraction; None where none does."""
    declared = numbers(frame, _COLUMN)
    known = declared[np.isfinite(declared)]
    return float(known.max()) / 100 if len(known) else None


def with_gain(value: float | None, low: End, high: End, accuracy: float | None) -> tuple[End, End]:
    """The ends of an interval of joules that also contains the gain: half-widths add as squares.

    As a factor where an end has the sign of the value, which it keeps; else as a difference.

    >>> with_gain(10.0, 9.0, None, None)
    (9.0, None)
    >>> [round(end, 2) for end in with_gain(10.0, 10.0, 10.2, 0.01)]
    [9.9, 10.22]
    """
    if value is None or not accuracy:
        return low, high
    return _end(value, low, accuracy, -1), _end(value, high, accuracy, 1)


def _end(value: float, end: End, accuracy: float, side: int) -> End:
    if end is None:
        return end
    if end * value > 0:
        factor = math.hypot(math.log(end / value), math.log1p(accuracy))
        return value * math.exp(math.copysign(factor, side * value))
    return value + side * math.hypot(end - value, accuracy * value)
