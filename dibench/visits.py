"""A visit: one stay at a case on a metered GPU, launches running on while a sampler reads.

1. **Settling.** The case's own launches for at least a second, then until ten samples of 100 ms say that
   power has settled (`dibench.ticks.settled` tells what they can and cannot support), at most three seconds.
   Before it the GPU must have been busy (the backend's filler), or clocks take their three seconds.
2. **Window.** Three seconds of launches in ten batches without a pause, more where a launch lasts longer.
   Joules of a launch = power between the sensor's updates times time per launch by the device's events.
3. **What else was true**: temperature, clocks, what held them down, who else was on the GPU, and whether the
   second estimator agrees.

The number of visits is the caller's, fixed beforehand; `cells` makes the row of a case from all of them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dibench import budget, ticks
from dibench.backends import DeviceFaultError
from dibench.budget import Pool, Visit
from dibench.errors import UserError
from dibench.intervals import Part, t_975, variance_of_mean
from dibench.meters.gpu_sensor import SensorError, event_names
from dibench.ticks import Power

if TYPE_CHECKING:
    from dibench.backends import Prepared
    from dibench.meters.gpu import Busy, GpuMeter
    from dibench.meters.sampler import Readings, State

MOST_GAP = 0.005
"""Of a window that the device spent between batches."""

_BATCHES = 10
_CALIBRATION_S = 0.02
_LEAST_UPDATES = (
    6.5  # periods in a window: five updates whatever the phase, and half the first one's averaging
)


@attrs.frozen
class VisitSettings:
    """How long a visit lasts. They stand in the manifest."""

    visit_s: float = 3.0
    settle_s: float = 1.0
    longest_settle_s: float = 3.0
    baseline_every_s: float = 300.0
    """Active idle power is measured again after so long; a change beyond its intervals flags what follows."""


@attrs.frozen
class Stay:
    """What one visit found. Joules and seconds are per launch, all instances together."""

    time_s: float
    time: Part | None
    """Relative variance of `time_s`."""
    energy: Visit | None
    alternative: Visit | None
    power_w: float | None
    steps_w: tuple[float, ...]
    """Power of each update in the window."""
    launches: int
    states: tuple[State, ...]
    reasons: tuple[str, ...]


class Metering:
    """All visits of a sweep on one GPU: pooled variances, baselines, who was on the GPU from the start."""

    def __init__(
        self, meter: GpuMeter, busy: Busy, settings: VisitSettings | None = None, pool: Pool | None = None
    ) -> None:
        """Metering with a meter that has started; the context that launches exists."""
        self._meter, self._busy = meter, busy
        self._settings = settings or VisitSettings()
        self.pool = pool or Pool()
        self._processes = self._seen()
        self._baseline_at = meter.clock.now()
        self._foreign = ""

    def visit(self, prepared: Prepared, group: Hashable) -> Stay:
        """One stay at a case.

        Args:
            prepared: what launches.
            group: equal for repeats of one case and for all sentinels.

        Raises:
            DeviceFaultError: the GPU is lost.
        """
        self._renew_baseline()
        sampler, clock, reasons = self._meter.sampler, self._meter.clock, list[str]()
        with sampler.watching():
            launch_s = self._settle(prepared, reasons)
            begin_s = clock.now()
            batch, batches = self._batches(launch_s)
            seconds = [prepared.launch(batch) for _ in range(batches)]
            end_s = clock.now()
        readings = sampler.readings()
        launches = batch * batches
        busy_s = math.fsum(seconds)
        gap = 1 - busy_s / (end_s - begin_s)
        if gap > MOST_GAP:
            reasons.append(f"the GPU did not launch in {100 * gap:.2g}% of the window")
        part = variance_of_mean([s / batch for s in seconds])
        time_s = busy_s / launches
        time = None if part is None else attrs.evolve(part, variance=part.variance / time_s**2)
        found = self._powers(readings, begin_s, end_s, time_s)
        stay = self._stay(found, readings, (begin_s, end_s), time_s, time, launches, reasons)
        if stay.energy is not None:
            self.pool.add(group, stay.energy)
        return stay

    # -- launching --------------------------------------------------------------------------------------

    def _settle(self, prepared: Prepared, reasons: list[str]) -> float:
        """Launch until power has settled; seconds of a launch."""
        clock, settings = self._meter.clock, self._settings
        began = clock.now()
        batch, seconds = 1, prepared.launch(1)
        while seconds < _CALIBRATION_S:
            batch = math.ceil(batch * min(100.0, 1.5 * _CALIBRATION_S / max(seconds, 1e-9)))
            seconds = prepared.launch(batch)
        launch_s = seconds / batch
        step = max(1, math.ceil(2 * ticks.SETTLING_SAMPLE_S / launch_s))
        while True:
            passed = clock.now() - began
            if passed >= settings.settle_s and self._has_settled(began):
                return launch_s
            if passed >= settings.longest_settle_s:
                reasons.append(f"power had not settled after {passed:.1f} s")
                return launch_s
            launch_s = prepared.launch(step) / step

    def _has_settled(self, began: float) -> bool:
        found = self._meter.sampler.readings()
        averaged = found.power_at_s >= began + ticks.SETTLING_SAMPLE_S  # earlier ones show what ran before
        samples = ticks.sampled(found.power_at_s[averaged], found.power_w[averaged], ticks.SETTLING_SAMPLE_S)
        return ticks.settled(samples) or len(samples) == 0

    def _batches(self, launch_s: float) -> tuple[int, int]:
        """Launches in a batch, and batches in the window."""
        window_s = max(self._settings.visit_s, _LEAST_UPDATES * (self._meter.period_s or 0.0))
        batch = max(1, math.ceil(window_s / _BATCHES / launch_s))
        return batch, max(1, math.ceil(window_s / (batch * launch_s)))

    # -- reading ----------------------------------------------------------------------------------------

    def _powers(
        self, readings: Readings, begin_s: float, end_s: float, launch_s: float
    ) -> tuple[Power | str, Power | str]:
        """By the estimator of the rows, and by the other."""
        meter, duty = self._meter, self._meter.sensor.duty
        counter: Power | str = "no energy counter"
        if meter.counter_period_s is not None:
            counter = ticks.counter_power(
                readings.energy_at_s,
                readings.energy_mj,
                begin_s,
                end_s,
                launch_s=launch_s,
                averaging_s=duty * meter.counter_period_s,
                most_w=2 * meter.limit_w,
            )
        power: Power | str = "instant power does not move"
        if meter.power_period_s is not None:
            power = ticks.instant_power(
                readings.power_at_s,
                readings.power_w,
                begin_s,
                end_s,
                period_s=meter.power_period_s,
                launch_s=launch_s,
                averaging_s=duty * meter.power_period_s,
            )
        return (counter, power) if meter.by_counter else (power, counter)

    def _stay(
        self,
        found: tuple[Power | str, Power | str],
        readings: Readings,
        window: tuple[float, float],
        time_s: float,
        time: Part | None,
        launches: int,
        reasons: list[str],
    ) -> Stay:
        states = tuple(state for state in readings.states if window[0] <= state.at_s <= window[1])
        celsius = (states[0].temperature_c + states[-1].temperature_c) / 2 if states else math.nan
        first, second = (self._energy(power, time_s, time, celsius) for power in found)
        reasons += self._doubts(found[0]) + self._failures(readings) + self._others()
        if first and second:
            counter, power = (first, second) if self._meter.by_counter else (second, first)
            reasons += filter(None, [budget.disagreement(counter, power)])
        main = found[0]
        return Stay(
            time_s=time_s,
            time=time,
            energy=first,
            alternative=second,
            power_w=None if isinstance(main, str) else main.power_w,
            steps_w=() if isinstance(main, str) else main.steps_w,
            launches=launches,
            states=states,
            reasons=tuple(reasons),
        )

    def _energy(self, power: Power | str, time_s: float, time: Part | None, celsius: float) -> Visit | None:
        if isinstance(power, str) or (spread := power.spread) is None:
            return None
        if math.isnan(celsius):  # temperature could not be read: nothing is corrected for
            celsius = self._meter.reference_c
        variance = spread.variance + (0.0 if time is None else time.variance)
        return Visit(power.power_w * time_s, Part(variance, spread.df), power.edge**2, celsius)

    def _doubts(self, power: Power | str) -> list[str]:
        if isinstance(power, str):
            return [power]
        doubts = []
        if change := ticks.drifting(power):
            doubts.append(f"power changed by {100 * change:.2g}% within the window")
        if power.in_step > ticks.MOST_IN_STEP:
            doubts.append(
                f"launches are in step with the sensor: {100 * power.in_step:.0f}% of what power varies by "
                "within a launch may stand in its mean"
            )
        return doubts

    def _failures(self, readings: Readings) -> list[str]:
        if not readings.errors:
            return []
        for _, error in readings.errors:
            if error.lost:
                raise DeviceFaultError(f"NVML: {error}")
        number = len(readings.errors)
        return [f"NVML, {number} of {number + len(readings.power_w)} readings: {readings.errors[0][1]}"]

    # -- what others do ---------------------------------------------------------------------------------

    def _others(self) -> list[str]:
        """Changes of foreign load since the start, by the process list and by active idle power."""
        before, now = self._processes, self._seen()
        foreign = [self._foreign] if self._foreign else []
        if before is None or now is None:
            return foreign
        came = [f"process {pid} ({name}) came to this GPU" for pid, name in now.items() if pid not in before]
        went = [f"process {pid} ({name}) left this GPU" for pid, name in before.items() if pid not in now]
        return came + went + foreign

    def _seen(self) -> Mapping[int, str] | None:
        """Who has a context on this GPU; None where that may not be known."""
        try:
            return self._meter.sensor.processes()
        except SensorError:
            return None

    def _renew_baseline(self) -> None:
        """Measure active idle power again when it is time; a change is somebody's load."""
        meter = self._meter
        if meter.clock.now() - self._baseline_at < self._settings.baseline_every_s:
            return
        before = meter.active_idle
        self._baseline_at = meter.clock.now()
        try:
            now = meter.measure_active_idle(self._busy)
        except UserError as error:
            self._foreign = f"active idle power was not measured again: {error}"
            return
        changed = abs(now.power_w - before.power_w)
        beyond = changed > 3 * math.hypot(before.ci_w, now.ci_w) and changed > 0.03 * before.power_w
        self._foreign = (
            f"active idle power changed from {before.power_w:.0f} to {now.power_w:.0f} W" if beyond else ""
        )
        meter.active_idle = attrs.evolve(now, ci_w=math.hypot(now.ci_w, changed / 2))

    # -- the row ----------------------------------------------------------------------------------------

    def cells(self, stays: Sequence[Stay], instances: int) -> dict[str, Any]:
        """The row of a case from its visits: per launch and instance, as the CSV has them."""
        n = len(stays)
        time_s = math.fsum(stay.time_s for stay in stays) / n
        reasons = list(dict.fromkeys(reason for stay in stays for reason in stay.reasons))
        states = [state for stay in stays for state in stay.states]
        powers = [stay.power_w for stay in stays if stay.power_w is not None]
        return {
            "time_s": time_s / instances,
            "time_ci_s": _time_ci_s(stays, time_s, instances),
            **self._energy_cells(stays, time_s, instances),
            "power_w": math.fsum(powers) / len(powers) if powers else None,
            "idle_power_w": None if self._meter.idle is None else self._meter.idle.power_w,
            "active_idle_power_w": self._meter.active_idle.power_w,
            "energy_source": self._meter.source,
            "meter_period_s": self._meter.period_s,
            "visits": n,
            "windows": sum(len(stay.steps_w) for stay in stays),
            "launches": sum(stay.launches for stay in stays),
            **_state_cells(states),
            "status": "flagged" if reasons else "ok",
            "reason": "; ".join(reasons),
        }

    def _energy_cells(self, stays: Sequence[Stay], time_s: float, instances: int) -> dict[str, float]:
        """Gross, above both baselines, by the second estimator, and the budget; empty where not read."""
        cells: dict[str, float] = {}
        meter = self._meter
        seconds = [stay.alternative for stay in stays if stay.alternative is not None]
        if len(seconds) == len(stays):
            cells["energy_alt_j"] = budget.combine(seconds, self.pool, meter.reference_c).energy_j
        firsts = [stay.energy for stay in stays if stay.energy is not None]
        if len(firsts) == len(stays):
            energy = budget.combine(firsts, self.pool, meter.reference_c)
            above, baseline_j = meter.active_idle.above(energy.energy_j, time_s)
            cells |= {
                "energy_j": energy.energy_j,
                "energy_ci_j": energy.ci_j,
                "ci_tick_j": energy.ci_tick_j,
                "ci_spread_j": energy.ci_spread_j,
                "ci_drift_j": energy.ci_drift_j,
                "ci_baseline_j": baseline_j,
                "energy_above_active_idle_j": above,
            }
            if meter.idle is not None:
                cells["energy_above_idle_j"] = meter.idle.above(energy.energy_j, time_s)[0]
        return {name: joules / instances for name, joules in cells.items()}


def _time_ci_s(stays: Sequence[Stay], time_s: float, instances: int) -> float | None:
    parts = [stay.time for stay in stays if stay.time is not None]
    if len(parts) < len(stays):
        return None
    variance = math.fsum(part.variance for part in parts) / len(parts) ** 2
    return t_975(min(part.df for part in parts)) * math.sqrt(variance) * time_s / instances


def _state_cells(states: Sequence[State]) -> dict[str, Any]:
    if not states:
        return {}
    events = 0
    for state in states:
        events |= state.events
    return {
        "temp_start_c": states[0].temperature_c,
        "temp_end_c": states[-1].temperature_c,
        "sm_clock_mhz": float(np.mean([state.sm_mhz for state in states])),
        "mem_clock_mhz": float(np.mean([state.memory_mhz for state in states])),
        "clock_events": event_names(events),
    }
