"""One visit to a case in windows: warm-up, then windows until the interval is small or the budget ends.

**Stopping.** Looking after every window and stopping at the first small interval would cover the truth only
about 90% of the time. So the interval is looked at after 16, 32, 64, … windows only, and nothing stops with
fewer than twelve undisturbed windows, with half of them stretched, or in doubt which are. With the cautious
ρ of `dibench.intervals` it covers at least 93% for ρ from −0.3 to 0.5, stopping rule and disturbance included
(simulated in the tests).
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from dibench.intervals import t_975
from dibench.measure.measurement import FEWEST_OF_VISIT, FEWEST_WINDOWS, Estimate
from dibench.measure.pace import mean_pace
from dibench.measure.window import Window, WindowVisit

if TYPE_CHECKING:
    from dibench.backends import Prepared
    from dibench.measure.pace import Pace
    from dibench.measure.settings import Settings
    from dibench.meters import Meter

_FIRST_LOOK = 16
_LOST = 4  # windows tell whether a visit lies in a spell
_TAKEN, _PATIENCE = 0.1, 0.5  # of the time of a warm-up; of a case's budget
_FAR = 1.5  # times the target; an interval shrinks as 1/√windows, a little faster while they are few
_ASK_EVERY_S = 0.018  # of windows; asking takes a millisecond
_PERIODS_PER_WINDOW = 20  # of the meter: quantisation is at most a twentieth of a window
_LARGEST_STEP = 100.0  # launches are never multiplied by more: one odd reading must not cost minutes


def visit_in_windows(
    prepared: Prepared,
    meter: Meter,
    settings: Settings,
    clock: Callable[[], float] = time.perf_counter,
    *,
    counts: Mapping[str, int] | None = None,
    waited: Callable[[], float] = lambda: 0.0,
    pace: Pace | None = None,
) -> WindowVisit:
    """Visit one prepared case.

    Time alone decides when to stop where the meter has no variance. A launch so long that ten windows do not
    fit into the budget gets as many as fit, at least one, and the row is flagged with their number.

    Args:
        prepared: what launches; its seconds are the device's.
        meter: what reads energy around a window.
        settings: target and budget, and whether to give up early.
        clock: seconds for the budget only, so that tests can replay it.
        counts: what one launch does, all instances together, for meters that calculate.
        waited: seconds so far that this process's threads were kept from running, see `waited_s`.
        pace: of the machine, where that can be asked.
    """
    launch_s, begin = _warm_up(prepared, settings, clock, waited)
    launches = _launches_of(prepared, launch_s, _window_s(settings, meter))
    paced = _Paced(pace, waited)
    windows: list[Window] = []
    lost = False
    looks = doubts = _FIRST_LOOK
    while True:
        before, waited_before_s = clock(), waited()
        reading = meter.window(lambda: prepared.launch(launches), counts or {}, launches)
        waiting_s = waited() - waited_before_s
        if not math.isfinite(reading.time_s):
            raise ValueError(f"the seconds of a window must be finite, are {reading.time_s}")
        windows.append(Window(launches, reading.time_s, reading.energy_j, waiting_s, reading.reason))
        undisturbed = sum(not window.disturbed for window in windows)
        paced.note(windows, at_once=undisturbed >= looks)
        after = clock()
        if undisturbed >= looks:
            looks *= 2
            if _so_far(windows, meter, settings).finished(settings):
                break
        if settings.gives_up and len(windows) == _LOST:
            lost = not undisturbed or paced.far(settings)
            if lost:
                break  # spells last longer than a visit
        if settings.gives_up and len(windows) >= doubts:
            doubts *= 2
            left = settings.case_budget_s / (after - begin)
            width = _so_far(windows, meter, settings).reached(at_usual_pace=False) / math.sqrt(left)
            if undisturbed * left < FEWEST_WINDOWS or width > _FAR * settings.target:
                lost = undisturbed < FEWEST_OF_VISIT
                break  # even the whole budget would leave too few windows, or an interval far too wide
        # Another window as long as this one would exceed the budget.
        if after - begin + (after - before) > settings.case_budget_s:
            break
    paced.note(windows, at_once=True)
    return WindowVisit(tuple(windows), varies=meter.has_variance, lost=lost)


def _so_far(windows: Sequence[Window], meter: Meter, settings: Settings) -> Estimate:
    return Estimate([windows], varies=meter.has_variance, follows=settings.follows)


class _Paced:
    """Asks for the machine's paces between windows and writes them into these."""

    def __init__(self, pace: Pace | None, waited: Callable[[], float]) -> None:
        self._pace, self._waited, self._noted = pace, waited, 0
        self._last_s = () if pace is None else pace.now_s(waited)

    def far(self, settings: Settings) -> bool:
        """Whether the pace is so far from the usual one that a time would miss the target for that alone."""
        if settings.follows is None or not self._last_s:
            return False
        return t_975(math.inf) * settings.follows.sd(self._last_s) > settings.target

    def note(self, windows: list[Window], *, at_once: bool = False) -> None:
        """Write down the paces of windows since the last time; not `at_once`, only if it is time again."""
        new = windows[self._noted :]
        if self._pace is None or not new:
            return
        if not at_once and math.fsum(window.time_s for window in new) < _ASK_EVERY_S:
            return
        now_s = self._pace.now_s(self._waited)
        paces_s = mean_pace([self._last_s, now_s])
        windows[self._noted :] = [attrs.evolve(window, paces_s=paces_s) for window in new]
        self._last_s, self._noted = now_s, len(windows)


def _window_s(settings: Settings, meter: Meter) -> float:
    return max(settings.window_s, _PERIODS_PER_WINDOW * (meter.period_s or 0.0))


def _warm_up(
    prepared: Prepared, settings: Settings, clock: Callable[[], float], waited: Callable[[], float]
) -> tuple[float, float]:
    """Launch until caches, pages and clocks are warm, and others have left the cores, if they soon do.

    Bursts of others last about a second. Where a visit would be given up for one, and the next case's and the
    one after that, it waits instead, at most half of a case's budget.

    Returns:
        The seconds of the last launch, and when the warm-up proper began.
    """
    first = clock()
    while True:
        begin, waited_before_s = clock(), waited()
        while True:
            last_s = prepared.launch(1)
            warm_s = clock() - begin
            if warm_s >= settings.warm_up_s:
                break
        taken = settings.gives_up and waited() - waited_before_s > _TAKEN * warm_s
        if not taken or clock() - first > _PATIENCE * settings.case_budget_s:
            return last_s, begin


def _launches_of(prepared: Prepared, launch_s: float, window_s: float) -> int:
    """Launches of a window that lasts `window_s`, found by trying, not extrapolated from one launch."""
    launches, batch_s = 1, launch_s
    while batch_s < window_s:
        step = min(_LARGEST_STEP, 1.1 * window_s / batch_s) if batch_s > 0 else _LARGEST_STEP
        launches = math.ceil(launches * step)
        batch_s = prepared.launch(launches)
    return launches


def waited_s() -> float:
    """Seconds that this process was kept from its cores, by others or by the hypervisor; 0 if unknown.

    Linux: the second number of /proc/self/task/*/schedstat, in nanoseconds; and `steal` in /proc/stat of the
    cores that we may run on, in ticks (10 ms, so a tick marks a short window and spares its neighbours).
    """
    waiting_ns = 0
    for thread in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # a thread that has just ended
            waiting_ns += int(thread.read_text().split()[1])
    return waiting_ns * 1e-9 + _stolen_s()


def _stolen_s(statistics: Path = Path("/proc/stat")) -> float:
    try:
        cores = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        lines = [line.split() for line in statistics.read_text().splitlines()]
        ticks = sum(int(line[8]) for line in lines if line and line[0] in cores)
        return ticks / os.sysconf("SC_CLK_TCK")
    except (AttributeError, OSError, ValueError, IndexError):  # not Linux, or hidden in a container
        return 0.0
