"""Mean power from a sensor's readings: pure functions of their times and values.

A sensor is read every few milliseconds and updates every 20 ms to 2 s; an update of a counter is a tick. What
it showed becomes a *curve*: the joules so far, at the instants where it was seen to update. A counter is such
a curve; instant power is integrated to one. Power is the slope of the curve's line by least squares.

So energy is over observed time, and no tick is numbered or expected. A tick that is late, or seen late, moves
one point of many; one that is lost, or caught up with later, is a point less or out of place. What moves
points off the line is of two kinds, and the interval tells them apart:

- *ripple* of power: the curve wanders away and stays there, a random walk. It makes most of slow waves: its
  variance is read from the curve's part along polynomials of degree 2 to 7, whatever its autocorrelation.
- *time*: each point is off by itself. It makes most of what slow waves do not hold.

Where launches are long compared with the period, the curve has their harmonics; they are fitted beside the
line. A sensor that sees only part of each period (25 of 100 ms on Hopper) can be in step with the launches
and see the same part of each: `Power.in_step` says how much of that remains over all updates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from dibench import intervals

Floats = npt.NDArray[np.floating[Any]]

FEWEST_TICKS = 5
"""Fewest updates within a window that give a power: three are left to say how far they are off the line."""

MOST_IN_STEP = 0.05
"""Share of the launches' variation of power beyond which the row is flagged."""

MOST_WIDE = 0.03
"""Half-width of a window's power beyond which the row is flagged."""

SETTLING_SAMPLE_S = 0.1
_SETTLING_SAMPLES = 5
_FEWEST_WATCHED = 5
_HARMONICS = 3
_FEWEST_LATE = 3  # points of a curve that make a line and say how far they are off it
_ON_LINE_S = 0.05  # clocks and temperature bend the curve by 10 to 20 ms as load begins
_PROMPT = 2.0  # typical distances between readings
_CAUGHT_UP_S = 0.1  # a tick may hold what others before it left out
_LONG_LAUNCH = 0.05  # of a period: shorter launches are averaged away
_SLOW_WAVES = 6  # polynomials that tell ripple: up to about 1 Hz in three seconds
_ALONE = 0.5  # share of a harmonic that the line must not explain, or the two cannot be told apart
_CHANCE = 4.5  # standard deviations of five degrees of freedom that chance exceeds once in 160 windows

RIPPLE = intervals.VariancePart(5e-5, 4.0)
"""Relative variance of a second's mean power before a window tells: 1.6% in 100 ms, correlated by 0.3."""


@attrs.frozen
class Curve:
    """Joules that a sensor has shown so far, at the instants where it was seen to update."""

    t: Floats
    joules: Floats
    blur_s: float = 0.0
    """Distance of the readings between which an update happened, typically."""
    resolution_w: float = 0.0
    """Step in which power is told."""


@attrs.frozen
class Power:
    """Mean power in a window."""

    power_w: float
    spread: intervals.VariancePart
    """Relative variance because power ripples."""
    tick: float
    """Relative variance because the instants of updates are not known exactly."""
    change: float
    """Change of power from the first to the second half, relative; 0 where chance explains it."""
    steps_w: tuple[float, ...]
    """Power of each period, in order."""
    in_step: float
    """0 to 1: how much of the launches' own variation of power the mean may contain."""

    @property
    def half_width(self) -> float:
        """Of the 95% interval, relative, without what differs between visits."""
        df = intervals.combined_df([self.spread, intervals.VariancePart(self.tick)])
        return intervals.t_975(df) * math.sqrt(self.spread.variance + self.tick)


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
    if len(at) <= _FEWEST_WATCHED:
        return None
    distances = np.diff(at)
    median = np.median(distances)
    return float(np.mean(distances[(distances > 0.5 * median) & (distances < 1.5 * median)]))


def counter_curve(t: Floats, energy_mj: Floats) -> Curve:
    """The ticks of an energy counter, without those that were seen late because a reading was.

    A reading that took long shows an instant within it. So what it shows is as late as it, and so is a tick
    that only the next reading shows; before the first reading there may have been such a one.
    """
    at, width, index = updates(t, energy_mj)
    before = np.where(index > 1, t[index - 1] - t[index - 2], np.inf)
    longer = np.maximum(width, before)
    prompt = longer <= _PROMPT * np.median(width) if len(width) else np.array([], bool)
    if prompt.sum() >= FEWEST_TICKS:
        at, width, index = at[prompt], width[prompt], index[prompt]
    return Curve(at, energy_mj[index] * 1e-3, float(np.median(width)) if len(width) else 0.0)


def power_curve(t: Floats, power_w: Floats, period_s: float) -> Curve:
    """Instant power integrated from its first update to the last reading.

    Power that stands still, as it may where it is told in watts, is integrated in steps of a period.
    """
    joules = np.append(0.0, np.cumsum((power_w[1:] + power_w[:-1]) / 2 * np.diff(t)))
    at = np.append(updates(t, power_w)[0], t[-1])
    if len(at) < FEWEST_TICKS:
        at = np.arange(t[0], t[-1], period_s)
    return Curve(at, np.interp(at, t, joules), resolution_w=resolution(power_w))


def resolution(values: Floats) -> float:
    """The coarsest of 1, 0.1 and 0.01 (W or J) of which all readings are multiples, else 0.001.

    >>> resolution(np.array([114.0, 115.0])), resolution(np.array([114.2, 115.0]))
    (1.0, 0.1)
    """
    for step in (1000, 100, 10):
        if not (np.rint(1e3 * values) % step).any():
            return 1e-3 * step
    return 1e-3


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
    """Power from an energy counter; or a phrase that says why there is none.

    Args:
        t: times of the readings.
        energy_mj: what they showed.
        begin_s: when the counter began to show launches in steady state.
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
    curve = counter_curve(t, energy_mj)
    if len(curve.t) < FEWEST_TICKS:
        return f"the energy counter moved {len(curve.t)} times in the window, {FEWEST_TICKS} wanted"
    each, apart = np.diff(curve.joules), np.diff(curve.t)
    longest_s = max(float(apart.max()), _CAUGHT_UP_S)
    if float(each.max()) > most_w * longest_s:
        return f"the energy counter jumped by {each.max():.0f} J in a tick of {1e3 * longest_s:.0f} ms"
    # What a tick counts says how long it was, also where each reading shows another one.
    period_s = float(np.median(each) * apart.sum() / each.sum())
    return _mean_power(curve, period_s, launch_s, averaging_s)


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
    """Power from readings of instant power, integrated; or why there is none.

    An update shows the `averaging_s` before it, so the first ones after `begin_s` are left out.
    """
    inside = (t >= begin_s + averaging_s) & (t <= end_s)
    t, power_w = t[inside], power_w[inside]
    if len(t) < FEWEST_TICKS or t[-1] - t[0] < (FEWEST_TICKS - 1) * 0.99 * period_s:
        seconds = float(t[-1] - t[0]) if len(t) else 0.0
        return f"power was read {len(t)} times in {seconds:.2g} s, {FEWEST_TICKS} updates wanted"
    if power_w.mean() <= 0:
        return "power reads zero"
    return _mean_power(power_curve(t, power_w, period_s), period_s, launch_s, averaging_s)


def _mean_power(curve: Curve, period_s: float, launch_s: float, averaging_s: float) -> Power:
    """The slope of a curve's line by least squares, with what the points off the line say of it."""
    t, joules = curve.t, curve.joules - curve.joules[0]
    n, seconds = len(t), float(t[-1] - t[0])
    x = 2 * (t - t[0]) / seconds - 1
    line = _orthonormal([np.ones(n), *_harmonics(t, x, launch_s, period_s), x])
    weights = line[:, -1] / (line[:, -1] @ t)
    power_w = float(weights @ joules)
    polynomials = [np.polynomial.Legendre.basis(2 + d)(x) for d in range(min(_SLOW_WAVES, n - line.shape[1]))]
    whole = _orthonormal([*line.T, *polynomials])
    slow = whole[:, line.shape[1] :]
    seen, walk = slow.T @ joules, _walk(slow, t)
    left = float(np.sum((joules - whole @ (whole.T @ joules)) ** 2))
    walked = float(np.sum(t - t[0]) - np.trace(_walk(whole, t)))
    rest = max(n - whole.shape[1], 1)
    ripple, time = _ripple_and_time(seen, walk, left / rest, walked / rest, power_w)
    blur = 2 * curve.blur_s**2 / 12 / seconds**2 / _passes(curve.blur_s, period_s, seconds) ** 2
    return Power(
        power_w=power_w,
        spread=intervals.VariancePart(
            ripple.variance * float(_walk(weights[:, None], t)[0, 0]) / power_w**2, ripple.df
        ),
        tick=time * float(weights @ weights) / power_w**2 + blur + (curve.resolution_w / power_w) ** 2 / 12,
        change=_change(seen, walk, 6 / seconds / float(slow[:, 0] @ polynomials[0]) / power_w),
        steps_w=tuple(_steps(curve, period_s).tolist()),
        in_step=in_step(t, launch_s, averaging_s),
    )


def _passes(read_s: float, period_s: float, seconds: float) -> float:
    """How often the instants of readings drift past those of ticks, at least once.

    Where they drift past once or less, all ticks may be seen ever later, which no residual shows.
    """
    a_tick = period_s / read_s if read_s else 0.0
    return max(1.0, abs(a_tick - round(a_tick)) * seconds / period_s)


def _ripple_and_time(
    seen: Floats, walk: Floats, left: float, walked: float, power_w: float
) -> tuple[intervals.VariancePart, float]:
    """The variance of a second's ripple and that of a point, in J².

    What is seen along slow waves has the covariance ripple·walk + time·1, and what is left beside them the
    mean square ripple·walked + time. Waves count by how much of them is ripple, and RIPPLE counts as four
    more: ripple that is hidden is not taken for none.

    Args:
        seen: projections on slow waves.
        walk: their covariance under unit ripple.
        left: mean square of what no slow wave holds.
        walked: the same under unit ripple.
        power_w: mean power.
    """
    m, axes = np.linalg.eigh(walk)
    squares = (axes.T @ seen) ** 2
    ripple, time, known = float(np.mean(squares / m)), 0.0, float(len(m))
    prior = RIPPLE.variance * power_w**2
    for _ in range(10):
        time = max(left - walked * ripple, 0.0)
        weights = (ripple * m / (ripple * m + time)) ** 2
        known = float(weights.sum())
        found = float(weights @ ((squares - time) / m))
        ripple = max((found + RIPPLE.df * prior) / (known + RIPPLE.df), 0.1 * prior)
    return intervals.VariancePart(ripple, known + RIPPLE.df), time


def _change(seen: Floats, walk: Floats, per_seen: float) -> float:
    """Relative change of power between the halves: the first slow wave, if the others make it no chance.

    The halves may differ by 1% as the chip warms.
    """
    if len(seen) < _SLOW_WAVES:
        return 0.0
    noise = math.sqrt(
        float(seen[1:] @ np.linalg.solve(walk[1:, 1:], seen[1:])) / (len(seen) - 1) * walk[0, 0]
    )
    change = per_seen * float(seen[0])
    return change if abs(seen[0]) > _CHANCE * noise and abs(change) > 0.01 else 0.0


def _orthonormal(columns: Sequence[Floats]) -> Floats:
    """Columns of length 1 that span the same, each at right angles to those before it."""
    return np.linalg.qr(np.column_stack(columns))[0]


def _walk(columns: Floats, t: Floats) -> Floats:
    """Covariance of these sums over a random walk of unit variance per second that passes the instants t."""
    tails = np.cumsum(columns[::-1], axis=0)[::-1][1:]
    return np.asarray(tails.T @ (np.diff(t)[:, None] * tails))


def _harmonics(t: Floats, x: Floats, launch_s: float, period_s: float) -> list[Floats]:
    """Harmonics of the launches at these instants, as many as the line can be told apart from."""
    if launch_s < _LONG_LAUNCH * period_s:
        return []
    found: list[Floats] = []
    for harmonic in range(1, 1 + min(_HARMONICS, (len(t) - FEWEST_TICKS) // 2)):
        phases = 2 * np.pi * harmonic * (t - t[0]) / launch_s
        waves = [np.cos(phases), np.sin(phases)]
        known = _orthonormal([np.ones_like(x), x, *found])
        if all(np.linalg.norm(w - known @ (known.T @ w)) > _ALONE * np.linalg.norm(w) for w in waves):
            found += waves
    return found


def _steps(curve: Curve, period_s: float) -> Floats:
    """Mean power of each period."""
    seconds = float(curve.t[-1] - curve.t[0])
    edges = np.linspace(curve.t[0], curve.t[-1], max(round(seconds / period_s), 1) + 1)
    return np.asarray(np.diff(np.interp(edges, curve.t, curve.joules)) / np.diff(edges))


def lag_s(curve: Curve, begin_s: float) -> float | None:
    """Seconds from a step of load until a sensor's curve runs on the line that it ends on.

    A sensor that lags shows the power of before for so long; one that averages comes nearer all the while.

    Args:
        curve: what it showed since the step.
        begin_s: the instant of the step.

    Returns:
        Seconds; None where the curve has not run on a line for half of its time, and twice its lag.

    >>> t = np.arange(0.0, 4.0, 0.1)
    >>> round(lag_s(Curve(t, 100 * t + 300 * np.maximum(t - 1.5, 0)), 0.0), 1)
    1.5
    """
    late = curve.t >= (begin_s + curve.t[-1]) / 2 if len(curve.t) else np.array([])
    if np.sum(late) < _FEWEST_LATE:
        return None
    slope, at_0 = np.polyfit(curve.t[late], curve.joules[late], 1)
    if slope <= 0:
        return None
    off_s = (curve.joules - at_0 - slope * curve.t) / slope
    if off_s[late].std() > _ON_LINE_S:
        return None
    off = np.flatnonzero(np.abs(off_s) > _ON_LINE_S + 3 * off_s[late].std())
    if len(off) == 0:
        return 0.0
    joined = int(off[-1]) + 1
    return None if joined >= len(curve.t) or late[joined - 1] else float(curve.t[joined] - begin_s)


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
    1.5·σ, not smaller ones: five samples support no finer criterion. What is left is seen by
    `Power.change`, which has all updates of the window.
    """
    if len(samples_w) < 2 * _SETTLING_SAMPLES:
        return False
    before, last = samples_w[-2 * _SETTLING_SAMPLES : -_SETTLING_SAMPLES], samples_w[-_SETTLING_SAMPLES:]
    spread = math.sqrt((before.var(ddof=1) + last.var(ddof=1)) / 2)
    bound = intervals.t_975(2 * _SETTLING_SAMPLES - 2) * spread * math.sqrt(2 / _SETTLING_SAMPLES)
    return bool(abs(last.mean() - before.mean()) <= max(bound, 0.01 * samples_w.mean()))


def sampled(t: Floats, values: Floats, period_s: float) -> Floats:
    """The values that readings showed at regular times, oldest first."""
    if len(t) == 0:
        return np.array([])
    times = np.arange(t[-1], t[0], -period_s)[::-1]
    return values[np.searchsorted(t, times, side="right") - 1]
