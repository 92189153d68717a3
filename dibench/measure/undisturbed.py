"""The time that an undisturbed machine takes, from windows of which some were disturbed.

Other processes, a hypervisor that takes the core and a neighbour on the cache only ever make a window longer,
often many in a row, and the kernel reports some of that and misses some. So:

1. A window of which the kernel says that it was disturbed is left out, if four others remain.
2. The rest is sorted and searched from below for a second group: for k and a next window that is farther from
   the mean of the k below it than these spread. Let r be that distance in their standard deviations. Of n
   undisturbed windows it is about 1.15 + 0.27·ln(n/(n−k)), and up to e = 1.5 + 0.5·ln(n/(n−k)) if they are
   skewed (skewness 1). The evidence is (k − 2)·(r/e − 1): the spread of few windows is badly known.
   Beyond 15 the group is stretched and left out, and the search goes on in those below. A distance under
   1% of the mean is no group.
3. Location is the mean of the windows left; the interval is that of `dibench.intervals`, a tenth wider where
   windows were left out for their time, since some of either kind pass for the other. With evidence from 4 to
   15, and a quarter of the windows below, nothing is left out, but the interval reaches down to the lower end
   that it would have without the group.

The search begins at the fastest windows, so it needs no majority: a median, and all that rests on a half of
the windows, break where bursts cover more than that. With fewer than four undisturbed windows it cannot know:
where up to three stand far below all others, it doubts, and the interval reaches down to them. A visit in
which every window was stretched alike looks like a slower case: only another visit can tell
(`dibench.measure.measurement`).

All numbers are from simulation: 0 to 40% of windows stretched 1.1 to 10 times, in bursts of 1 to 8, lag-1
correlation −0.3 to 0.5, spread 0.3 to 2%, stopping rule included (`python -m benchmarks.window_truth`; a part
of it in tests/measure/test_undisturbed.py). Intervals cover the undisturbed time in 93% of cases or more.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import attrs

from dibench.intervals import FEWEST, mean_interval, variance_of_mean

LEAST_STRETCH = 0.01
"""Relative; half of the default target. Less is not worth leaving a window out."""
_PERHAPS, _SURELY = 4.0, 15.0  # evidence of a second group, see above
_JUDGED = 1.1  # times the interval where windows were left out for their time
_FEWEST_SHARE = 0.25  # of windows below a second group that is not sure
_FEW_BELOW = 3


@attrs.frozen
class Undisturbed:
    """Time of a window on an undisturbed machine, in the unit of the times given."""

    time_s: float
    ci_s: float | None
    """Half-width of the 95% interval; None below four windows."""
    df: float
    """Degrees of freedom of that interval."""
    used: tuple[bool, ...]
    """Which windows it rests on."""
    reported: int
    """Windows of which the kernel said that they were disturbed."""
    stretched: int
    """Windows left out for their time alone."""
    doubt: str
    """Why the time may not be the undisturbed one; empty if nothing speaks for that."""


def undisturbed_time(times_s: Sequence[float], disturbed: Sequence[bool]) -> Undisturbed:
    """Location and interval of the undisturbed windows.

    Below four windows nothing can be judged: the lower median of all, without an interval.

    Args:
        times_s: of windows in the order they were taken, at least one; per launch if their numbers differ.
        disturbed: for each, whether the kernel says that somebody else had the cores.

    >>> found = undisturbed_time([1.0, 1.01, 3.0, 0.99, 1.0, 1.02, 0.98, 1.0], [False] * 8)
    >>> found.time_s, found.stretched
    (1.0, 1)
    """
    reported = sum(disturbed)
    believed = len(times_s) - reported >= FEWEST
    open_to_use = [not (believed and told) for told in disturbed]
    rising = sorted(t for t, allowed in zip(times_s, open_to_use, strict=True) if allowed)
    candidates = len(rising)
    while (group := _second_group(rising, FEWEST)).evidence > _SURELY:
        rising = rising[: group.below]
    group = _second_group(rising, max(FEWEST, math.ceil(_FEWEST_SHARE * len(rising))))
    stretched = candidates - len(rising)
    used = tuple(a and t <= rising[-1] for t, a in zip(times_s, open_to_use, strict=True))
    kept = [t for t, counts in zip(times_s, used, strict=True) if counts]
    time_s, ci_s = mean_interval(kept)
    part = variance_of_mean(kept)
    if ci_s is None:
        time_s = statistics.median_low(kept)
    elif stretched:
        ci_s *= _JUDGED
    if ci_s is not None and group.evidence > _PERHAPS:
        lower_s, lower_ci_s = mean_interval([t for t in kept if t <= rising[group.below - 1]])
        ci_s = max(ci_s, time_s - lower_s + (lower_ci_s or 0.0))
    doubt = "a few windows were much shorter than all others" if _few_far_below(rising) else ""
    if doubt and ci_s is not None:
        ci_s = max(ci_s, time_s - rising[0])
    df = math.inf if part is None else part.df
    return Undisturbed(time_s, ci_s, df, used, reported, stretched, doubt)


def _expected(n: int, k: int) -> float:
    """Standard deviations of the k lowest of n windows from their mean up to the next."""
    return 1.5 + 0.5 * math.log(n / (n - k))


class _Group(NamedTuple):
    below: int
    """Windows below it."""
    evidence: float
    """That it is a group of its own."""


def _second_group(rising: Sequence[float], fewest: int) -> _Group:
    """The likeliest second group above at least `fewest` windows."""
    n, best = len(rising), _Group(len(rising), 0.0)
    total = squares = 0.0  # of differences from the lowest, which keeps their digits
    for k in range(1, n):
        above = rising[k - 1] - rising[0]
        total += above
        squares += above * above
        mean = total / k
        distance = rising[k] - rising[0] - mean
        if k < fewest or distance <= LEAST_STRETCH * (rising[0] + mean):
            continue
        deviation = math.sqrt(max(squares - k * mean * mean, 0.0) / (k - 1))
        expected = _expected(n, k) * deviation
        evidence = (k - 2) * (distance / expected - 1) if expected > 0 else math.inf
        if evidence > best.evidence:
            best = _Group(k, evidence)
    return best


def _few_far_below(rising: Sequence[float]) -> bool:
    """Whether the lowest windows are so far below the others that these may be the stretched ones."""
    n = len(rising)
    for few in range(1, min(_FEW_BELOW, n - FEWEST) + 1):
        others = rising[few:]
        mean = math.fsum(others) / len(others)
        deviation = math.sqrt(math.fsum((t - mean) ** 2 for t in others) / (len(others) - 1))
        limit = _expected(n, len(others)) * (1 + _SURELY / (len(others) - 2)) * deviation
        if mean - rising[few - 1] > max(limit, LEAST_STRETCH * mean):
            return True
    return False
