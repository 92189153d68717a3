"""One case measured in windows: warm-up, then windows until the interval is small or the budget ends.

**Time.** Of the undisturbed machine: of the windows that nobody stretched, see `dibench.measure.undisturbed`.
The kernel reports what was taken from a window: our threads waited, or the hypervisor had the core. It sees
neither all nor only what matters, so it does not decide alone: windows in which that was over 1% are left
out, and where fewer than four others remain, all are used and the interval is wider by the share taken.

**Energy.** Joules of a metered window are not asked of another machine, they add up: total joules over total
launches of the same windows, whatever their joules. A median of them would be no total. So time and joules
have intervals of their own: that of joules is the spread of windows, that of time also says how surely
stretched windows could be told from others. Power is joules over the seconds of the very same windows.

**Interval.** 95%, Student's t with an effective number of windows, see `dibench.intervals`. Fewer than ten
windows flag the row.

**Stopping.** Looking after every window and stopping at the first small interval would cover the truth only
about 90% of the time. So the interval is looked at after 16, 32, 64, … windows only, and nothing stops with
fewer than twelve undisturbed windows, with half of them stretched, or in doubt which are. With the cautious
ρ of that module it covers at least 93% for ρ from −0.3 to 0.5, stopping rule and disturbance included
(simulated in the tests).
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench.intervals import mean_interval
from dibench.measure.undisturbed import undisturbed_time

if TYPE_CHECKING:
    from dibench.backends import Prepared
    from dibench.measure.pace import Pace
    from dibench.measure.settings import Settings
    from dibench.meters import Meter
    from dibench.schema import Row

FEWEST_WINDOWS = 10
MOST_WAITING = 0.01  # of a window's time; half of the default target
_FIRST_LOOK = 16
_FEWEST_TO_STOP = 12
_FAR = 1.5  # times the target; an interval shrinks as 1/√windows, a little faster while they are few
_WAIT = 0.25  # of a case's budget: for the machine to be calm
_ASK_EVERY_S = 0.04  # a millisecond each time
_PERIODS_PER_WINDOW = 20  # of the meter: quantisation is at most a twentieth of a window
_LARGEST_STEP = 100.0  # launches are never multiplied by more: one odd reading must not cost minutes


@attrs.frozen
class Window:
    """A metered batch of launches, as it was read."""

    launches: int
    time_s: float
    """Of all its launches, by the device's clock."""
    energy_j: float | None
    waited_s: float
    """Seconds of it that others took: threads of this process were kept from running, or ran slower."""
    reason: str = ""
    """Why there are no joules, where the meter should have read some."""

    @property
    def disturbed(self) -> bool:
        """Whether other processes had the cores for too much of it."""
        return self.waited_s > MOST_WAITING * self.time_s


@attrs.frozen
class WindowVisit:
    """What one visit to a case found: windows in the order they were taken."""

    windows: tuple[Window, ...]
    varies: bool
    """Whether two windows may read different joules: true of a sensor, false of a calculation."""

    @property
    def launches(self) -> int:
        """Of all windows."""
        return sum(window.launches for window in self.windows)

    def to_json(self) -> dict[str, Any]:
        """Plain values: the windows as columns, which are a third as long as a list of objects."""
        names = [field.name for field in attrs.fields(Window)]
        columns = {name: [getattr(window, name) for window in self.windows] for name in names}
        return {"windows": columns, "varies": self.varies}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> WindowVisit:
        """The visit that `to_json` wrote."""
        names = [field.name for field in attrs.fields(Window)]
        rows = zip(*(found["windows"][name] for name in names), strict=True)
        return cls(tuple(Window(*row) for row in rows), found["varies"])


@attrs.frozen
class Measurement:
    """The result of a case's windows. Times and energies are per launch, all its instances together."""

    time_s: float
    time_ci_s: float | None
    energy_j: float | None
    energy_ci_j: float | None
    power_w: float | None
    visits: int
    windows: int
    launches: int
    reached: float
    """The larger relative half-width of time and, where it varies, energy; infinite where it is not known."""
    status: str
    reason: str

    def into(self, row: Row) -> Row:
        """The case's row with these: per launch *and instance*, as the CSV has them."""
        instances = row.instances or 1

        def each(value: float | None) -> float | None:
            return None if value is None else value / instances

        return attrs.evolve(
            row,
            time_s=each(self.time_s),
            time_ci_s=each(self.time_ci_s),
            energy_j=each(self.energy_j),
            energy_ci_j=each(self.energy_ci_j),
            ci_spread_j=each(self.energy_ci_j),
            power_w=self.power_w,
            visits=self.visits,
            windows=self.windows,
            launches=self.launches,
            status=self.status,
            reason=self.reason,
        )


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
    """Visit one prepared case, where it is known as soon as the machine is calm.

    Time alone decides when to stop where the meter has no variance. A launch so long that ten windows do not
    fit into the budget gets as many as fit, at least one, and the row is flagged with their number.

    Args:
        prepared: what launches; its seconds are the device's.
        meter: what reads energy around a window.
        settings: target and budget, and whether to give up early.
        clock: seconds for the budget only, so that tests can replay it.
        counts: what one launch does, all instances together, for meters that calculate.
        waited: seconds so far that this process's threads were kept from running, see `waited_s`.
        pace: tells how much of the machine others take, where that can be asked.
    """
    if pace is not None:
        pace.wait_for_calm(_WAIT * settings.case_budget_s)
    begin = clock()
    launch_s = _warm_up(prepared, settings, clock)
    launches = _launches_of(prepared, launch_s, _window_s(settings, meter))
    taken = _Taken(pace)
    windows: list[Window] = []
    looks = doubts = _FIRST_LOOK
    while True:
        before, waited_before_s = clock(), waited()
        reading = meter.window(lambda: prepared.launch(launches), counts or {}, launches)
        waiting_s = waited() - waited_before_s
        if not math.isfinite(reading.time_s):
            raise ValueError(f"the seconds of a window must be finite, are {reading.time_s}")
        windows.append(Window(launches, reading.time_s, reading.energy_j, waiting_s, reading.reason))
        taken.judge(windows, at_once=len(windows) >= min(looks, doubts))
        undisturbed = sum(not window.disturbed for window in windows)
        after = clock()
        if undisturbed >= looks:
            looks *= 2
            if _Estimate(windows, varies=meter.has_variance).finished(settings):
                break
        if settings.gives_up and len(windows) >= doubts:
            doubts *= 2
            left = settings.case_budget_s / (after - begin)
            width = _Estimate(windows, varies=meter.has_variance).reached() / math.sqrt(left)
            if undisturbed * left < FEWEST_WINDOWS or width > _FAR * settings.target:
                break  # even the whole budget would leave too few windows, or an interval far too wide
        # Another window as long as this one would exceed the budget.
        if after - begin + (after - before) > settings.case_budget_s:
            break
    taken.judge(windows, at_once=True)
    return WindowVisit(tuple(windows), varies=meter.has_variance)


class _Taken:
    """Asks the machine's pace between windows and writes into them what others took."""

    def __init__(self, pace: Pace | None) -> None:
        self._pace = pace
        self._judged, self._last = 0, 0.0

    def judge(self, windows: list[Window], *, at_once: bool) -> None:
        """Judge the windows since the last time; not `at_once`, only when they are long enough for the cost.

        Others took at least what they take now or took at the last time: spells last longer than that.
        """
        new = windows[self._judged :]
        if self._pace is None or not new:
            return
        if not at_once and math.fsum(window.time_s for window in new) < _ASK_EVERY_S:
            return
        now = self._pace.taken()
        share, self._last = max(now, self._last), now
        for index, window in enumerate(new, start=self._judged):
            waited_s = max(window.waited_s, share * window.time_s)
            windows[index] = attrs.evolve(window, waited_s=waited_s)
        self._judged = len(windows)


def measurement(visits: Sequence[WindowVisit], settings: Settings) -> Measurement:
    """What the windows of all visits to a case say together.

    Args:
        visits: at least one, in the order they were made.
        settings: target, and the budget that a row's reason names.
    """
    windows = [window for visit in visits for window in visit.windows]
    estimate = _Estimate(windows, varies=visits[0].varies, between=settings.between / math.sqrt(len(visits)))
    return estimate.measurement(settings, len(visits))


def _window_s(settings: Settings, meter: Meter) -> float:
    return max(settings.window_s, _PERIODS_PER_WINDOW * (meter.period_s or 0.0))


def _warm_up(prepared: Prepared, settings: Settings, clock: Callable[[], float]) -> float:
    """Launch until caches, pages and clocks are warm; returns the seconds of the last launch."""
    begin = clock()
    while True:
        last_s = prepared.launch(1)
        if clock() - begin >= settings.warm_up_s:
            return last_s


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


class _Estimate:
    """What the windows of a case say, those of several visits together, in the order they were taken."""

    def __init__(self, windows: Sequence[Window], *, varies: bool, between: float = 0.0) -> None:
        self._all, self._between = windows, between
        times_s = [window.time_s / window.launches for window in windows]
        self._time = undisturbed_time(times_s, [window.disturbed for window in windows])
        self._used = [window for window, counts in zip(windows, self._time.used, strict=True) if counts]
        self._disturbed = [window for window in self._used if window.disturbed]
        self._varies = varies

    @property
    def number(self) -> int:
        return len(self._used)

    def finished(self, settings: Settings) -> bool:
        """Whether no more windows are needed."""
        few_stretched = self.number >= _FEWEST_TO_STOP and 2 * self._time.stretched < len(self._all)
        return few_stretched and not self._time.doubt and self.reached() <= settings.target

    def _time_ci_s(self) -> float | None:
        """Of the windows' times, and what was taken from the windows that had to be used all the same."""
        if self._time.ci_s is None:
            return None
        taken_s = math.fsum(min(window.waited_s, window.time_s) for window in self._disturbed)
        within_s = self._time.ci_s + taken_s / sum(window.launches for window in self._used)
        return math.hypot(within_s, self._between * self._time.time_s)

    def _energy(self) -> tuple[float | None, float | None]:
        joules = [each.energy_j / each.launches for each in self._used if each.energy_j is not None]
        if len(joules) < self.number:
            return None, None
        if not self._varies:
            return joules[0], None
        mean_j, half_j = mean_interval(joules)
        return mean_j, None if half_j is None else math.hypot(half_j, self._between * mean_j)

    def reached(self) -> float:
        """The larger relative half-width of time and, where it varies, energy."""
        widths = [_relative(self._time.time_s, self._time_ci_s())]
        if self._varies:
            widths.append(_relative(*self._energy()))
        return max(widths)

    def measurement(self, settings: Settings, visits: int) -> Measurement:
        energy_j, energy_ci_j = self._energy()
        reasons = self._flags(settings, visits)
        seconds = math.fsum(window.time_s for window in self._used)
        metered = self._varies and energy_j is not None and seconds > 0
        joules = math.fsum(window.energy_j or 0.0 for window in self._used)
        return Measurement(
            time_s=self._time.time_s,
            time_ci_s=self._time_ci_s(),
            energy_j=energy_j,
            energy_ci_j=energy_ci_j,
            power_w=joules / seconds if metered else None,
            visits=visits,
            windows=self.number,
            launches=sum(window.launches for window in self._used),
            reached=self.reached(),
            status="flagged" if reasons else "ok",
            reason="; ".join(reasons + self._disturbances()),
        )

    def _disturbances(self) -> list[str]:
        """How many windows were disturbed, if there are any: those that count and those that do not."""
        told = []
        if self._disturbed:
            told.append(f"other processes had the cores in {len(self._disturbed)} of {self.number} windows")
        stretched = self._time.stretched
        reported = len(self._all) - self.number - stretched
        causes = [f"other processes had the cores in {reported}"] if reported else []
        causes += [f"{stretched} stretched"] if stretched else []
        if causes:
            told.append(f"{reported + stretched} of {len(self._all)} windows left out: {', '.join(causes)}")
        return told

    def _flags(self, settings: Settings, visits: int) -> list[str]:
        """Reasons to flag the row."""
        reasons = []
        if self.number < FEWEST_WINDOWS:
            where = f"the case budget of {settings.case_budget_s:g} s" if visits == 1 else f"{visits} visits"
            reasons.append(f"{self.number} windows in {where}, {FEWEST_WINDOWS} wanted")
        elif self.reached() > settings.target:
            stayed = f" in {visits} visits" if visits > 1 else ""
            reasons.append(
                f"interval ±{100 * self.reached():.3g}% from {self.number} windows{stayed}, "
                f"target ±{100 * settings.target:g}%"
                + (f"; repeats differ by ±{100 * self._between:.2g}%" if self._between else "")
            )
        if self._time.doubt:
            reasons.append(f"{self._time.doubt}: the undisturbed time may be another")
        if self._varies and self._energy()[0] is None:
            why = next((window.reason for window in self._used if window.reason), "")
            reasons.append("the meter did not read every window" + (f": {why}" if why else ""))
        return reasons


def _relative(mean: float | None, half_width: float | None) -> float:
    if mean is None or half_width is None or mean <= 0:
        return math.inf
    return half_width / mean
