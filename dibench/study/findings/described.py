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
class Cache:
    """One level of a processor's caches, of all cores that compute."""

    bytes: float
    bytes_per_s: float


@attrs.frozen
class Peaks:
    """What this machine can do at most, as the sweep measured it."""

    mac_per_s: float
    """Of the widest vectors, on all threads."""
    bytes_per_s: float
    """From memory."""
    scalar_mac_per_s: float | None = None
    """One number at a time, as the CPU's reuse kernels compute; None where nobody measured it."""
    caches: tuple[Cache, ...] = ()
    """From the first level on."""

    def attainable(self, mac_per_byte: Any) -> Any:
        """The roof in MAC/s: the lesser of peak compute and intensity times peak bandwidth.

        >>> Peaks(mac_per_s=100.0, bytes_per_s=10.0).attainable(np.array([2.0, 50.0]))
        array([ 20., 100.])
        """
        return np.minimum(self.mac_per_s, mac_per_byte * self.bytes_per_s)

    def bandwidth(self, footprint: Any) -> Any:
        """B/s from the nearest cache that holds so many bytes, else from memory.

        >>> peaks = Peaks(100.0, 10.0, caches=(Cache(32.0, 80.0), Cache(1024.0, 40.0)))
        >>> peaks.bandwidth(np.array([32.0, 33.0, 2000.0]))
        array([80., 40., 10.])
        """
        found = np.full(np.shape(footprint), self.bytes_per_s)
        for cache in reversed(self.caches):
            found = np.where(
                np.asarray(footprint) <= cache.bytes, max(cache.bytes_per_s, self.bytes_per_s), found
            )
        return found


BEATEN = 1.05
"""A kernel above so many times its roof shows that the roof is wrong: both err by a few percent."""


@attrs.frozen
class Roofs:
    """How the rows lie below their own roofs.

    The roof of a layer by the fastest kernel of its operator is the lesser of vector peak and intensity times
    the bandwidth of the nearest cache that holds its operands, else of memory. That of a reuse kernel is the
    scalar peak.
    """

    beaten: int
    """Rows above `BEATEN` times their roof."""
    most: float
    """The largest share of a roof, also of beaten ones."""
    scalar_rows: int
    scalar_share: float | None
    """Median share of the scalar peak, over the rows of reuse kernels; None without such rows or a peak."""


@attrs.frozen
class Speed:
    """How fast the layers of one operator run, by its fastest kernel; not a number where there are none."""

    rows: int
    """By all kernels."""
    layers: int
    median_s_per_mac: float
    most_mac_per_s: float
    median_share: float | None
    """Of each layer's own roof (see `Roofs`); None without peaks or under a beaten one, like the next two."""
    best_share: float | None
    by_arithmetic: float | None
    """Share of the layers that the peak of multiply-adds bounds, and no bandwidth."""


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
    roofs: Roofs | None
    """None without peaks."""
    speeds: Mapping[str, Speed]
    """By operator."""
    stationarity: tuple[Ratios, ...]
    """Kernels with equal boxes, by operator and pair."""
    errors: tuple[ErrorPart, ...]
    accesses_and_time: float | None
    """Spearman's rank correlation of accesses per MAC and time per MAC."""
    residuals: Mapping[str, Residuals]
    """Of AI and weighted DI, those that predict the rows of a fit."""
