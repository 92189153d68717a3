"""Mean power from a sensor's readings: pure functions of their times and values.

A sensor is read every few milliseconds and updates every 20 to 500 ms; an update of a counter is a tick.
Power is the energy between two *observed* ticks over the time between them, both while launches run. So it
does not matter that a reading at the edge of a window may be a period old. An update happened at some
instant between two readings; half of that distance is its uncertainty, and `Power.edge` is the uncertainty
of the mean.

Where launches are long compared with the period, power differs within a launch. Then the pair of ticks is
taken that spans most of the window and is nearest to a whole number of launches. A sensor that sees only
part of each period (25 of 100 ms on Hopper) can be in step with the launches and see the same part of each:
`Power.in_step` says how much of that remains over all updates.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from dibench import intervals

Floats = npt.NDArray[np.floating[Any]]

FEWEST_TICKS = 5
"""Fewest updates within a window that give a power: they make four steps, which give an interval."""

MOST_IN_STEP = 0.05
"""Share of the launches' variation of power beyond which the row is flagged."""

SETTLING_SAMPLE_S = 0.1
_SETTLING_SAMPLES = 5
_PERIODS_WATCHED = 5
_HARMONICS = 3
_LONG_LAUNCH = 0.05  # of a period: shorter launches are averaged away


@attrs.frozen
class Power:
    """Mean power between two updates of a sensor."""

    power_w: float
    steps_w: tuple[float, ...]
    """Power of each update between them, in order, without what repeats with every launch."""
    edge: float
    """Relative standard deviation because the instants of the two updates are not known exactly."""
    begin_s: float
    end_s: float
    in_step: float
    """0 to 1: how much of the launches' own variation of power the mean may contain."""

    @property
    def spread(self) -> intervals.VariancePart | None:
        """Relative variance of the mean of the steps; None below four."""
        part = intervals.variance_of_mean(self.steps_w)
        return None if part is None else attrs.evolve(part, variance=part.variance / self.power_w**2)


def updates(t: Floats, values: Floats) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Updates of a sensor: the middle between two readings, their distance, the index of the second."""
    after = np.flatnonzero(np.diff(values)) + 1
    return (t[after] + t[after - 1]) / 2, t[after] - t[after - 1], after


def update_period_s(t: Floats, values: Floats) -> float | None:
    """The sensor's period: mean distance between updates that are neither lost nor doubled.

    Args:
        t: times of the readings, a few to each period, while power varies.
        values: what they showed.

    Returns:
        Seconds; None where it moved fewer than six times.

    >>> t = np.arange(0.0, 1.0, 0.01)
    >>> round(update_period_s(t, np.floor(t / 0.1 + 1e-9)), 3)
    0.1
    """
    at, _, _ = updates(t, values)
    if len(at) <= _PERIODS_WATCHED:
        return None
    distances = np.diff(at)
    median = np.median(distances)
    return float(np.mean(distances[(distances > 0.5 * median) & (distances < 1.5 * median)]))


def counter_power(
    t: Floats,
    energy_mj: Floats,
    begin_s: float,
    end_s: float,
    *,
    launch_s: float,
    averaging_s: float,
    most_w: float = math.inf,
) -> Power | str:
    """Power from an energy counter, ΔE/Δt between observed ticks; or a phrase that says why there is none.

    Args:
        t: times of the readings.
        energy_mj: what they showed.
        begin_s: when launches began to run in steady state.
        end_s: when they ended.
        launch_s: duration of one.
        averaging_s: seconds before each tick that the sensor really sees.
        most_w: more than the card can draw: a tick above it is no energy.
    """
    inside = (t >= begin_s) & (t <= end_s)
    t, energy_mj = t[inside], energy_mj[inside]
    back = np.flatnonzero(np.diff(energy_mj) < 0)
    if len(back):
        before, after = energy_mj[back[0]], energy_mj[back[0] + 1]
        return f"the energy counter went back from {before:.0f} to {after:.0f} mJ in the window"
    at, width, index = updates(t, energy_mj)
    if len(at) < FEWEST_TICKS:
        return f"the energy counter moved {len(at)} times in the window, {FEWEST_TICKS} wanted"
    joules = energy_mj[index] * 1e-3
    period_s = update_period_s(t, energy_mj) or float(np.median(np.diff(at)))
    # Ticks are numbered by when they were seen, which may be late, never early; some may be missing.
    surest = t[index[np.argmin(width)]]
    numbers = np.floor((t[index] - surest) / period_s + 0.3)
    skipped = np.maximum(np.diff(numbers), 1).astype(int)
    each = np.diff(joules) / skipped
    if float(each.max()) > most_w * period_s:
        return f"the energy counter jumped by {each.max():.0f} J in a tick of {1e3 * period_s:.0f} ms"
    first, last = _whole_launches(at, launch_s, period_s)
    seconds = float(at[last] - at[first])
    power_w = float(joules[last] - joules[first]) / seconds
    if power_w <= 0:
        return "the energy counter stands still"
    # Ticks come at regular times; a late reading must not look like a change of power.
    steps = np.repeat(each[first:last], skipped[first:last])
    edge = math.sqrt((width[first] ** 2 + width[last] ** 2) / 12) / seconds
    return Power(
        power_w=power_w,
        steps_w=_without_launches(
            steps * (power_w * len(steps) / steps.sum()), at[first], at[last], launch_s, period_s
        ),
        edge=edge,
        begin_s=float(at[first]),
        end_s=float(at[last]),
        in_step=in_step(at[first + 1 : last + 1], launch_s, averaging_s),
    )


def instant_power(
    t: Floats,
    power_w: Floats,
    begin_s: float,
    end_s: float,
    *,
    period_s: float,
    launch_s: float,
    averaging_s: float,
) -> Power | str:
    """Power from readings of instant power, integrated between updates; or why there is none.

    An update shows the `averaging_s` before it, so the first ones after `begin_s` are left out.
    """
    inside = (t >= begin_s + averaging_s) & (t <= end_s)
    t, power_w = t[inside], power_w[inside]
    at, width, _ = updates(t, power_w)
    if len(at) < 2 or at[-1] - at[0] < (FEWEST_TICKS - 1) * 0.99 * period_s:
        return f"instant power moved {len(at)} times in the window, {FEWEST_TICKS} wanted"
    number = round((at[-1] - at[0]) / period_s)
    edges = np.linspace(at[0], at[-1], number + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    shown = power_w[np.searchsorted(t, middles, side="right") - 1]
    first, last = _whole_launches(edges, launch_s, period_s)
    steps = shown[first:last]
    mean_w = float(steps.mean())
    if mean_w <= 0:
        return "instant power reads zero"
    seconds = float(edges[last] - edges[first])
    return Power(
        power_w=mean_w,
        steps_w=_without_launches(steps, edges[first], edges[last], launch_s, period_s),
        edge=float(width.max()) / seconds * float(steps.std()) / mean_w,
        begin_s=float(edges[first]),
        end_s=float(edges[last]),
        in_step=in_step(edges[first:last], launch_s, averaging_s),
    )


def _whole_launches(at: Floats, launch_s: float, period_s: float) -> tuple[int, int]:
    """First and last update to use: the pair nearest to a whole number of launches, most between them."""
    n = len(at)
    if launch_s < _LONG_LAUNCH * period_s or n < 10:
        return 0, n - 1
    skip = max(n // 5, 1)
    firsts, lasts = np.arange(skip), np.arange(n - skip, n)
    spans = (at[lasts][None, :] - at[firsts][:, None]) / launch_s
    # Weigh the remaining part of a launch against lost updates: a period costs as much as 1% of a launch.
    cost = np.abs(spans - np.rint(spans)) + 0.01 * (spans.max() - spans) * launch_s / period_s
    cost[np.rint(spans) < 1] = np.inf
    if not np.isfinite(cost).any():
        return 0, n - 1
    i, j = np.unravel_index(np.argmin(cost), cost.shape)
    return int(firsts[i]), int(lasts[j])


def _without_launches(
    steps: Floats, begin_s: float, end_s: float, launch_s: float, period_s: float
) -> tuple[float, ...]:
    """The steps of power without the launches' own variation, whose harmonics are regressed out.

    What is left is scaled up for the coefficients spent, so that its variance stays that of the noise.
    """
    n = len(steps)
    if launch_s < _LONG_LAUNCH * period_s or n < 4 * 2 * _HARMONICS:
        return tuple(steps.tolist())
    phases = 2j * np.pi * np.linspace(begin_s, end_s, n + 1)[1:] / launch_s
    waves = np.exp(np.outer(phases, np.arange(1, _HARMONICS + 1)))
    design = np.column_stack([np.ones(n), waves.real, waves.imag])
    coefficients, _, rank, _ = np.linalg.lstsq(design, steps, rcond=1e-3)
    rest = steps - design @ coefficients
    mean = steps.mean()
    return tuple((mean + rest * math.sqrt((n - 1) / max(n - rank, 1))).tolist())


def in_step(at: Floats, launch_s: float, averaging_s: float) -> float:
    """How much of a periodic power is left in the mean of samples at these times, largest harmonic.

    Harmonic h of the launches passes the sensor's averaging as sinc(h·averaging/launch) and the mean over
    samples as |Σ exp(2πi·h·t/launch)|/n; what a square wave has of it is 1/h.

    >>> in_step(np.arange(30) * 0.1, 1e-5, 0.025) < 1e-3
    True
    >>> round(in_step(np.arange(30) * 0.1, 0.1, 0.025), 2)
    0.9
    """
    left = 0.0
    for harmonic in range(1, _HARMONICS + 1):
        passed = abs(float(np.sinc(harmonic * averaging_s / launch_s)))
        kept = abs(complex(np.mean(np.exp(2j * np.pi * harmonic * at / launch_s))))
        left = max(left, passed * kept / harmonic)
    return left


def settled(samples_w: Floats) -> bool:
    """Whether power has settled, as well as ten samples of 100 ms can show.

    The last five are compared with the five before: their means may differ by what their own spread makes
    of them, t(8 degrees of freedom) = 2.31 times s·√(2/5), or by 1%. With a ripple σ that sees changes above
    1.5·σ, not smaller ones: five samples support no finer criterion. What is left is seen by `drifting`,
    which has all updates of the window.
    """
    if len(samples_w) < 2 * _SETTLING_SAMPLES:
        return False
    before, last = samples_w[-2 * _SETTLING_SAMPLES : -_SETTLING_SAMPLES], samples_w[-_SETTLING_SAMPLES:]
    spread = math.sqrt((before.var(ddof=1) + last.var(ddof=1)) / 2)
    bound = intervals.t_975(2 * _SETTLING_SAMPLES - 2) * spread * math.sqrt(2 / _SETTLING_SAMPLES)
    return bool(abs(last.mean() - before.mean()) <= max(bound, 0.01 * samples_w.mean()))


def drifting(power: Power) -> float:
    """The change of power from the first to the second half of a window; 0 where chance explains it.

    Relative to the mean, by a straight line through the steps. More than chance: three standard deviations,
    the correlation of the steps considered, and the 1% that halves may differ by as the chip warms.
    """
    steps = np.asarray(power.steps_w)
    n = len(steps)
    if n < 2 * intervals.FEWEST:
        return 0.0
    position = np.arange(n) - (n - 1) / 2
    slope = float(position @ steps / (position @ position))
    part = intervals.variance_of_mean((steps - slope * position).tolist())
    assert part is not None
    change, noise = slope * n / 2, 2 * math.sqrt(part.variance)
    return change / power.power_w if abs(change) > max(3 * noise, 0.01 * power.power_w) else 0.0


def sampled(t: Floats, values: Floats, period_s: float) -> Floats:
    """The values that readings showed at regular times, oldest first."""
    if len(t) == 0:
        return np.array([])
    times = np.arange(t[-1], t[0], -period_s)[::-1]
    return values[np.searchsorted(t, times, side="right") - 1]
