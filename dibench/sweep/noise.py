"""How much other processes disturb a machine, measured before a sweep's first case.

The same case, repeated, tells what a case can reach here: how far apart repeats lie, and how narrow an
interval becomes within a case's budget. Where that is wider than the target, the sweep aims at what can be
reached: a case that stops there leaves its time to others. There every case is visited twice, some cases
apart, since spells of a neighbour last for seconds. Cases that miss the target are visited again at the end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import TYPE_CHECKING

import attrs

from dibench.measure.measurement import Measurement, measurement
from dibench.measure.window import WindowVisit
from dibench.sweep.crew import DeviceLostError
from dibench.sweep.repeats import Repeated, learn

if TYPE_CHECKING:
    from dibench.measure.settings import Settings
    from dibench.plan import Case
    from dibench.sweep.crew import OpenDevice

TARGETS = (0.03, 0.05, 0.07, 0.1, 0.15, 0.2)
"""Relative half-widths that are aimed at where the one asked for cannot be reached."""

_REPEATS = 5
_LEAST_REPEATS = 2
_QUIET = 0.05  # of windows that may be disturbed where a case is visited once
_VISITS = 2  # elsewhere; those in which others had the cores do not count
_MOST_S = 5.0
_SHARE = 0.05  # of the time that the sweep may take


@attrs.frozen
class Noise:
    """What repeats of one case told; shares of one."""

    case_id: str
    repeats: int
    spread: float
    """The largest deviation of a repeat's time from their median."""
    reached: float
    """The median half-width of their 95% intervals, relative, each within a case's budget."""
    between: float
    """Half-width of one visit by how much visits differ, see `repeats`."""
    disturbed: float
    """Windows of which others took a part."""
    target: float
    """What cases aim at, until more repeats tell (`Loop.learn`)."""
    visits: int = 1
    """To each case, some cases apart: windows of one visit do not show what visits differ by."""

    @property
    def quiet(self) -> bool:
        """Whether one visit to a case says all."""
        return self.visits == 1


def time_for(cases: int, settings: Settings, left_s: float) -> float:
    """Seconds that measuring the noise may take; 0 where two repeats would be out of proportion.

    >>> from dibench.measure.settings import Settings
    >>> [time_for(cases, Settings(case_budget_s=1.0), 60.0) for cases in (12, 50, 1000)]
    [0.0, 2.5, 3.0]
    """
    limit_s = min(_MOST_S, _SHARE * min(left_s, cases * settings.case_budget_s))
    return limit_s if limit_s >= _LEAST_REPEATS * settings.case_budget_s else 0.0


def spread_of(times_s: Sequence[float]) -> float:
    """The largest deviation of repeats from their median, relative.

    >>> spread_of([1.0, 1.0, 1.5])
    0.5
    """
    typical_s = median(times_s)
    return max(abs(time_s / typical_s - 1) for time_s in times_s)


def reachable(needed: float, asked: float) -> float:
    """The target that half-widths of `needed` allow: the one asked for, or the next of TARGETS.

    >>> reachable(0.01, 0.02), reachable(0.06, 0.02), reachable(0.9, 0.02)
    (0.02, 0.07, 0.2)
    """
    return asked if needed <= asked else next((t for t in TARGETS if t >= needed), max(asked, TARGETS[-1]))


def measure_noise(
    device: OpenDevice,
    case: Case,
    settings: Settings,
    limit_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Noise | None:
    """Measure a case several times; None where it cannot be measured at all.

    Args:
        device: measures it in windows.
        case: the reference case.
        settings: of the sweep; its target is the best that is ever aimed at.
        limit_s: no third repeat begins that would end later.
        clock: seconds, so that tests can replay them.
    """
    begin, longest_s = clock(), 0.0
    visits: list[WindowVisit] = []
    while len(visits) < _REPEATS:
        before = clock()
        if len(visits) >= _LEAST_REPEATS and before - begin + longest_s > limit_s:
            break
        try:
            visit = device.measure(case, settings).visit
        except DeviceLostError:  # the sweep notices when it wants to measure there
            return None
        if not isinstance(visit, WindowVisit):
            return None
        visits.append(visit)
        longest_s = max(longest_s, clock() - before)
    return _noise_of(case, [measurement([visit], settings) for visit in visits], visits, settings.target)


def _noise_of(case: Case, found: list[Measurement], visits: list[WindowVisit], asked: float) -> Noise:
    spread = spread_of([each.time_s for each in found])
    disturbed = fmean(window.disturbed for visit in visits for window in visit.windows)
    reached = median(each.reached for each in found)
    between = learn([Repeated(case.variant, visits, len(visits))]).between.get(case.variant, 0.0)
    quiet = max(spread, reached) <= asked and disturbed <= _QUIET
    each = 1 if quiet else _VISITS
    return Noise(
        case_id=case.case_id,
        repeats=len(found),
        spread=spread,
        reached=min(reached, 1.0),
        between=between,
        disturbed=disturbed,
        target=reachable(max(reached, between) / math.sqrt(each), asked),
        visits=each,
    )
