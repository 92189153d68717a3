"""The time that an undisturbed machine takes, from windows of which some were disturbed.

Other processes, a hypervisor that takes the core and a neighbour on the cache only ever make a window longer,
often many in a row, and the kernel reports some of that and misses some. So:

1. A window of which the kernel says that it was disturbed is left out, if four others remain.
2. The rest is sorted and searched from below, from four windows on, for a place where two groups meet: where
   the next window is much farther above the mean of the k below it than their spread explains. Were the n
   windows one normal sample, it would be 1.15 + 0.27·ln(n/(n−k)) of their standard deviations above; the
   limit is 1.35 + 0.45·ln(n/(n−k)), which clean but skewed windows (skewness 1) stay under too, times 1 +
   14/(k−2), because the spread of a few windows is badly known. Windows beyond 1.1 limits are stretched and
   left out; the search goes on in those left. Less than 1% above the mean is never stretched.
3. Location is the mean of the windows left; the 95% interval is that of `dibench.intervals`. Where a group
   begins between 0.65 and 1.1 limits, nothing is left out, but the interval reaches down to the end of the
   interval without that group.

The search begins at the fastest windows, so it needs no majority: a median and all that rests on a half of
the windows break where a burst covers more than that. It cannot tell where hardly any window was undisturbed.
It doubts where more than half the windows are stretched, and where up to three windows stand far below all
others. A case in which *every* window was stretched alike looks like a slower case: only a second visit sees
that.

Simulated with 0 to 40% of windows stretched 1.1 to 10 times in bursts of 1 to 8, lag-1 correlation −0.3 to
0.5, spread 0.3 to 2%: `python -m benchmarks.window_truth`, in short in tests/measure/test_undisturbed.py.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import attrs

from dibench.intervals import FEWEST, mean_interval

LEAST_STRETCH = 0.01
"""Relative; half of the default target. Less is not worth leaving a window out."""
_PERHAPS, _SURELY = 0.65, 1.1  # limits
_FEW_BELOW = 3


@attrs.frozen
class Undisturbed:
    """Time of a window on an undisturbed machine, in the unit of the times given."""

    time_s: float
    ci_s: float | None
    """Half-width of the 95% interval; None below four windows."""
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
    below, excess = _group_from_below(rising)
    while excess > _SURELY:
        rising = rising[:below]
        below, excess = _group_from_below(rising)
    used = tuple(a and t <= rising[-1] for t, a in zip(times_s, open_to_use, strict=True))
    kept = [t for t, counts in zip(times_s, used, strict=True) if counts]
    time_s, ci_s = mean_interval(kept)
    if ci_s is None:
        time_s = statistics.median_low(kept)
    elif excess > _PERHAPS:
        lower_s, lower_ci_s = mean_interval([t for t in kept if t <= rising[below - 1]])
        ci_s = max(ci_s, time_s - lower_s + (lower_ci_s or 0.0))
    doubt = ""
    if 2 * len(rising) <= candidates:
        doubt = f"{candidates - len(rising)} of {candidates} windows were stretched"
    elif _few_far_below(rising):
        doubt = "a few windows were much shorter than all others"
    return Undisturbed(time_s, ci_s, used, reported, candidates - len(rising), doubt)


def _limit(n: int, k: int) -> float:
    """Standard deviations of the k lowest of n windows above their mean up to which the next is expected."""
    return (1.35 + 0.45 * math.log(n / (n - k))) * (1 + 14 / (k - 2))


def _group_from_below(rising: Sequence[float]) -> tuple[int, float]:
    """How many windows the likeliest lower group has, and how many limits above it the next window is."""
    n, best = len(rising), (len(rising), 0.0)
    total = squares = 0.0  # of differences from the lowest, which keeps their digits
    for k in range(1, n):
        above = rising[k - 1] - rising[0]
        total += above
        squares += above * above
        if k < FEWEST:
            continue
        mean = total / k
        deviation = math.sqrt(max(squares - k * mean * mean, 0.0) / (k - 1))
        limit = max(_limit(n, k) * deviation, LEAST_STRETCH * (rising[0] + mean) / _SURELY)
        excess = (rising[k] - rising[0] - mean) / limit if limit > 0 else 0.0
        if excess > best[1]:
            best = (k, excess)
    return best


def _few_far_below(rising: Sequence[float]) -> bool:
    """Whether the lowest windows are so far below the others that these may be the stretched ones."""
    n = len(rising)
    for few in range(1, min(_FEW_BELOW, n - FEWEST) + 1):
        others = rising[few:]
        mean = math.fsum(others) / len(others)
        deviation = math.sqrt(math.fsum((t - mean) ** 2 for t in others) / (len(others) - 1))
        if mean - rising[few - 1] > max(_limit(n, len(others)) * deviation, LEAST_STRETCH * mean):
            return True
    return False
