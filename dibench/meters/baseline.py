"""Power without load, which is subtracted from energies, and whether it is at rest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import numpy as np

from dibench.intervals import mean_interval
from dibench.meters.ticks import Floats, resolution, sampled, updates

if TYPE_CHECKING:
    from dibench.meters.sampler import Readings

_BLOCKS, _FEWEST_BLOCKS = 10, 4
_SAMPLE_S = 0.1
_LEAST_SEEN = 0.5  # of the time since the beginning: readings may have failed
_LEAST_CHANGE = 0.01
_MOST_ERRORS = (2.0, 2.4, 2.4)
_MEDIAN_OF_NORMAL = 0.6745  # of absolute values, in standard deviations
_CHANGE_LEFT = 2.0
"""How far off the mean may be: a decay of 12 s is off by 2.4 times what it changes in 5 s."""


@attrs.frozen
class Baseline:
    """A power that is subtracted, the half-width of its 95% interval, and how warm the chip was."""

    power_w: float
    ci_w: float
    celsius: float | None = None
    settled: bool = True
    """Whether power had no trend."""

    def at(self, reference_c: float | None, leakage: float) -> Baseline:
        """The baseline on a chip of that temperature, if it grows with it as the energy of a load does.

        Leakage is known of loads; without one its share may be smaller or larger. So the whole correction is
        added to the interval.

        >>> round(Baseline(100.0, 0.0, 40.0).at(50.0, 0.002).power_w, 3)
        102.02
        """
        if self.celsius is None or reference_c is None:
            return self
        change_w = self.power_w * math.expm1(leakage * (reference_c - self.celsius))
        return attrs.evolve(
            self,
            power_w=self.power_w + change_w,
            ci_w=math.hypot(self.ci_w, change_w),
            celsius=reference_c,
        )

    def above(self, energy_j: float, time_s: float) -> tuple[float, float]:
        """Energy above this baseline and the baseline's part of its interval, for one launch.

        >>> Baseline(100.0, 1.0).above(0.5, 1e-3)
        (0.4, 0.001)
        """
        return energy_j - self.power_w * time_s, self.ci_w * time_s


def baseline_since(found: Readings, begin_s: float, *, by_counter: bool) -> Baseline | None:
    """Power since `begin_s`; None where the sensor showed too little of it.

    Power is at rest where no estimator shows a trend, in the whole or in either half, as power that rises and
    falls has none in the whole: a straight line through the blocks changes by less than two of its standard
    errors (2.4 in a half, as three looks find chance more often), or by less than 0.5%.

    Args:
        found: what a sampler read.
        begin_s: the instant.
        by_counter: whether the energy counter says how much it is, as in the rows; else readings of power do.
    """
    counted = _counter_blocks(found, begin_s)
    drawn = _power_blocks(found, begin_s)
    power_w, blocks, tick, _ = counted if by_counter else drawn
    if len(blocks) < _FEWEST_BLOCKS:
        return None
    ripples = [
        mean_interval(each.tolist())[1] for _, each, *_ in (counted, drawn) if len(each) >= _FEWEST_BLOCKS
    ]
    changes = [_changes(each, step) for _, each, _, step in (counted, drawn) if len(each) >= _FEWEST_BLOCKS]
    # Ticks that come early and late make a counter's blocks noisy, but not its mean: `tick` is its error.
    ripple_w = min((width for width in ripples if width is not None), default=0.0)
    change_w = min(abs(parts[0][0]) for parts in changes)
    degrees = [
        state.temperature_c
        for state in found.states
        if state.at_s >= begin_s and state.temperature_c is not None
    ]
    return Baseline(
        power_w,
        math.hypot(ripple_w, tick, _CHANGE_LEFT * change_w),
        math.fsum(degrees) / len(degrees) if degrees else None,
        all(
            abs(change) <= max(errors * error, _LEAST_CHANGE * power_w)
            for parts in changes
            for (change, error), errors in zip(parts, _MOST_ERRORS, strict=False)
        ),
    )


def _power_blocks(found: Readings, begin_s: float) -> tuple[float, Floats, float, float]:
    """Mean power, that of each block, the mean's error because of instants of updates (none here), a step."""
    inside = found.power_at_s >= begin_s
    samples = sampled(found.power_at_s[inside], found.power_w[inside], _SAMPLE_S)
    number = min(_BLOCKS, len(samples))
    if number == 0 or _SAMPLE_S * len(samples) < _LEAST_SEEN * (found.power_at_s[-1] - begin_s):
        return math.nan, np.array([]), 0.0, 0.0
    blocks = [each.mean() for each in np.array_split(samples, number)]
    return float(samples.mean()), np.array(blocks), 0.0, resolution(samples)


def _counter_blocks(found: Readings, begin_s: float) -> tuple[float, Floats, float, float]:
    """The same by the energy counter, between observed ticks; the error is that of two ticks' instants."""
    inside = found.energy_at_s >= begin_s
    joules = found.energy_mj[inside] * 1e-3
    at, _, index = updates(found.energy_at_s[inside], joules)
    if len(at) < _FEWEST_BLOCKS + 1 or (np.diff(joules) < 0).any():
        return math.nan, np.array([]), 0.0, 0.0
    seconds = float(at[-1] - at[0])
    if seconds < _LEAST_SEEN * (found.energy_at_s[-1] - begin_s):
        return math.nan, np.array([]), 0.0, 0.0
    number = min(_BLOCKS, len(at) - 1)
    edges = np.linspace(at[0], at[-1], number + 1)
    blocks = np.diff(np.interp(edges, at, joules[index])) / np.diff(edges)
    power_w = float(joules[index][-1] - joules[index][0]) / seconds
    tick = 2 * math.sqrt(2) * power_w * float(np.diff(at).std()) / seconds
    return power_w, blocks, tick, resolution(joules) / float(edges[1] - edges[0])


def _changes(blocks: Floats, step_w: float) -> list[tuple[float, float]]:
    """Changes by a straight line and their standard errors: of all blocks, and of each half of eight or more.

    The noise is that of differences between neighbours, by their median: a step among them is no noise. Power
    that is told in steps may have equal neighbours: rounding makes at least so much of both ends of a block.
    """
    noise = float(np.median(np.abs(np.diff(blocks)))) / _MEDIAN_OF_NORMAL / math.sqrt(2)
    noise = max(noise, step_w / math.sqrt(6))
    middle = len(blocks) // 2
    halves = [blocks[:middle], blocks[-middle:]] if middle >= _FEWEST_BLOCKS else []
    found = []
    for part in (blocks, *halves):
        position = np.arange(len(part)) - (len(part) - 1) / 2
        squares = float(position @ position)
        found.append((len(part) * float(position @ part) / squares, len(part) * noise / math.sqrt(squares)))
    return found
