"""One case measured in windows: warm-up, then windows until the interval is small or the budget ends.

**Estimator.** The mean over windows of time (energy) per launch. Windows have equal numbers of launches, so
this is total time over total launches. It is not the median, because joules add up: a network's total is made
of means, P·t estimates a mean, and a median of skewed windows is something else. A median would guard against
other processes that take a core away for milliseconds, but the kernel reports those: it says how long our
threads were ready to run and did not. A window in which that was over 1% of its time is left out. A window is
never left out for its own time or energy, which would bias the mean. If fewer than four windows are
undisturbed, all are used; fewer than ten flag the row.

**Interval.** 95%, Student's t with an effective number of windows, see `dibench.intervals`.

**Stopping.** Looking after every window and stopping at the first small interval would cover the truth only
about 90% of the time. So the interval is looked at after 16, 32, 64, … windows only. With the cautious ρ of
that module it covers at least 93% for ρ from −0.3 to 0.5, stopping rule included (simulated in the tests).
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from dibench import intervals
from dibench.intervals import mean_interval

if TYPE_CHECKING:
    from dibench.backends import Prepared
    from dibench.measure.settings import Settings
    from dibench.meters import Meter, Reading
    from dibench.schema import Row

FEWEST_WINDOWS = 10
MOST_WAITING = 0.01  # of a window's time; half of the default target
_FIRST_LOOK = 16
_PERIODS_PER_WINDOW = 20  # of the meter: quantisation is at most a twentieth of a window
_LARGEST_STEP = 100.0  # launches are never multiplied by more: one odd reading must not cost minutes


@attrs.frozen
class Measurement:
    """The result of a case's windows. Times and energies are per launch, all its instances together."""

    time_s: float
    time_ci_s: float | None
    energy_j: float | None
    energy_ci_j: float | None
    power_w: float | None
    windows: int
    launches: int
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
            visits=1,
            windows=self.windows,
            launches=self.launches,
            status=self.status,
            reason=self.reason,
        )


def measure_case(
    prepared: Prepared,
    meter: Meter,
    settings: Settings,
    clock: Callable[[], float] = time.perf_counter,
    *,
    counts: Mapping[str, int] | None = None,
    waited: Callable[[], float] = lambda: 0.0,
) -> Measurement:
    """Measure one prepared case.

    Time alone decides when to stop where the meter has no variance. A launch so long that ten windows do not
    fit into the budget gets as many as fit, at least one, and the row is flagged with their number.

    Args:
        prepared: what launches; its seconds are the device's.
        meter: what reads energy around a window.
        settings: target and budget.
        clock: seconds for the budget only, so that tests can replay it.
        counts: what one launch does, all instances together, for meters that calculate.
        waited: seconds so far that this process's threads were kept from running, see `waited_s`.
    """
    begin = clock()
    windows = _Windows(prepared, meter, counts or {}, waited)
    launch_s = _warm_up(prepared, settings, clock)
    launches = _launches_of(prepared, launch_s, _window_s(settings, meter))
    looks = _FIRST_LOOK
    while True:
        before = clock()
        windows.take(launches)
        after = clock()
        if windows.undisturbed >= looks:
            looks *= 2
            if windows.reached() <= settings.target:
                break
        # Another window as long as this one would exceed the budget.
        if after - begin + (after - before) > settings.case_budget_s:
            break
    return windows.measurement(settings)


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
    """Seconds that threads of this process were ready to run while others ran; 0 where it is unknown.

    Linux: the second number of /proc/self/task/*/schedstat, in nanoseconds.
    """
    waiting_ns = 0
    for thread in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # a thread that has just ended
            waiting_ns += int(thread.read_text().split()[1])
    return waiting_ns * 1e-9


class _Windows:
    """The windows of one case so far."""

    def __init__(
        self, prepared: Prepared, meter: Meter, counts: Mapping[str, int], waited: Callable[[], float]
    ) -> None:
        self._prepared, self._meter, self._counts, self._waited = prepared, meter, counts, waited
        self._all: list[Reading] = []
        self._undisturbed: list[Reading] = []
        self._launches = 0

    def take(self, launches: int) -> None:
        before_s = self._waited()
        reading = self._meter.window(lambda: self._prepared.launch(launches), self._counts, launches)
        self._all.append(reading)
        if self._waited() - before_s <= MOST_WAITING * reading.time_s:
            self._undisturbed.append(reading)
        self._launches = launches

    @property
    def undisturbed(self) -> int:
        return len(self._undisturbed)

    @property
    def _readings(self) -> list[Reading]:
        return self._undisturbed if self.undisturbed >= intervals.FEWEST else self._all

    @property
    def number(self) -> int:
        return len(self._readings)

    def _time(self) -> tuple[float, float | None]:
        return mean_interval([reading.time_s / self._launches for reading in self._readings])

    def _energy(self) -> tuple[float | None, float | None]:
        joules = [r.energy_j / self._launches for r in self._readings if r.energy_j is not None]
        if len(joules) < self.number:
            return None, None
        if not self._meter.has_variance:
            return joules[0], None
        return mean_interval(joules)

    def reached(self) -> float:
        """The larger relative half-width of time and, where it varies, energy."""
        widths = [_relative(*self._time())]
        if self._meter.has_variance:
            widths.append(_relative(*self._energy()))
        return max(widths)

    def measurement(self, settings: Settings) -> Measurement:
        time_s, time_ci_s = self._time()
        energy_j, energy_ci_j = self._energy()
        reasons = self._flags(settings)
        disturbed = len(self._all) - self.undisturbed
        note = f"{disturbed} of {len(self._all)} windows left out: other processes had the cores"
        metered = self._meter.has_variance and energy_j is not None
        return Measurement(
            time_s=time_s,
            time_ci_s=time_ci_s,
            energy_j=energy_j,
            energy_ci_j=energy_ci_j,
            power_w=energy_j / time_s if metered and energy_j is not None and time_s > 0 else None,
            windows=self.number,
            launches=self.number * self._launches,
            status="flagged" if reasons else "ok",
            reason="; ".join(reasons + ([note] if self.number < len(self._all) else [])),
        )

    def _flags(self, settings: Settings) -> list[str]:
        """Reasons to flag the row."""
        reasons = []
        if self.number < FEWEST_WINDOWS:
            reasons.append(
                f"{self.number} windows in the case budget of {settings.case_budget_s:g} s, "
                f"{FEWEST_WINDOWS} wanted"
            )
        elif self.reached() > settings.target:
            reasons.append(
                f"interval ±{100 * self.reached():.3g}% after {settings.case_budget_s:g} s, "
                f"target ±{100 * settings.target:g}%"
            )
        if self.undisturbed < min(self.number, FEWEST_WINDOWS):
            disturbed = self.number - self.undisturbed
            reasons.append(f"other processes had the cores in {disturbed} of {self.number} windows")
        if self._meter.has_variance and self._energy()[0] is None:
            reasons.append("the meter did not read every window")
        return reasons


def _relative(mean: float | None, half_width: float | None) -> float:
    if mean is None or half_width is None or mean <= 0:
        return math.inf
    return half_width / mean
