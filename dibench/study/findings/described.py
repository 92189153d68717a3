"""What the rows of a sweep say by themselves, and how far off predictions are: for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

Array = Any  # of float64


@attrs.frozen(eq=False)
class Ratios:
    """Ratios of costs on the layers of one operator."""

    op: str
    values: Array
    """Ascending."""
    quartiles: tuple[float, float, float]
    """Lower quartile, median and upper quartile."""
    pair: str = ""
    """Of stationarities: `weight / output` is the cost of holding weights over that of holding outputs."""


@attrs.frozen
class Peaks:
    """What this machine can do at most, as the sweep measured it."""

    mac_per_s: float
    bytes_per_s: float

    def attainable(self, mac_per_byte: Any) -> Any:
        """The roof in MAC/s: the lesser of peak compute and intensity times peak bandwidth.

        >>> Peaks(mac_per_s=100.0, bytes_per_s=10.0).attainable(np.array([2.0, 50.0]))
        array([ 20., 100.])
        """
        return np.minimum(self.mac_per_s, mac_per_byte * self.bytes_per_s)


@attrs.frozen
class Speed:
    """How fast the layers of one operator run, by its fastest kernel; not a number where there are none."""

    rows: int
    """By all kernels."""
    layers: int
    median_s_per_mac: float
    most_mac_per_s: float
    median_share: float | None
    """Of the roof; None without peaks, like the largest."""
    best_share: float | None


@attrs.frozen
class ErrorPart:
    """One source of error: quantiles, over the rows, of its half-width of 95% over gross energy."""

    column: str
    """Of the CSV contract."""
    low: float
    """5% of the rows have less."""
    median: float
    high: float
    """95% of the rows have less."""


@attrs.frozen(eq=False)
class Residuals:
    """Measurements over the predictions of one model."""

    column: str
    """Of the predictions, in the rows of the fit."""
    held_out: bool
    """Whether they are held out, not in sample."""
    within_two: float
    """Share of the rows that are predicted within a factor of two."""
    by_operator: tuple[Ratios, ...]


@attrs.frozen(eq=False)
class Described:
    """What the report shows of one card beside the answers of the study."""

    peaks: Peaks | None
    speeds: Mapping[str, Speed]
    """By operator."""
    stationarity: tuple[Ratios, ...]
    """Kernels with equal boxes, by operator and pair."""
    errors: tuple[ErrorPart, ...]
    accesses_and_time: float | None
    """Spearman's rank correlation of accesses per MAC and time per MAC."""
    residuals: Mapping[str, Residuals]
    """Of AI and weighted DI, those that predict the rows of a fit."""
