"""Visits to cases on a metered GPU: launches run on while a sampler reads.

1. **Settling.** The window's own batches run for at least a second, then until ten samples of 100 ms show
   that power has settled (`ticks.settled` says what they can show) and a batch took the host no longer than
   the GPU: what it needs, such as its CUDA graphs, is then captured. At most three seconds. The GPU must have
   been busy before (the backend's filler), or its clocks take three seconds to settle.
2. **Window.** Three seconds of launches run in ten batches without a pause, more if a launch is long.
   Joules of a launch = power between the sensor's updates × time per launch by the device's events.
3. **Conditions.** Temperature, clocks and what held them down, other processes on the GPU, and whether the
   second estimator agrees.

The caller fixes the number of visits beforehand; `visit` makes a row from all visits of a case.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dibench.backends import DeviceFaultError, lap_of
from dibench.errors import UserError
from dibench.intervals import VariancePart, variance_of_mean
from dibench.measure.budget import VisitJoules
from dibench.measure.settings import VisitSettings
from dibench.measure.visit import Condition, Visit
from dibench.meters import ticks
from dibench.meters.gpu_sensor import SensorError, event_names
from dibench.meters.ticks import Power

if TYPE_CHECKING:
    from dibench.backends import Prepared
    from dibench.meters.gpu import GpuMeter
    from dibench.meters.load_step import Busy
    from dibench.meters.sampler import Readings, State

MOST_GAP = 0.005
"""Largest share of a window that the device may spend between batches."""

_IDLE_PER_C = 0.008
"""How much active idle power may grow per degree without foreign load: leakage under load, 0.2% of
some 500 W, over some 120 W."""

_UNSETTLED_EVERY_S = 30.0
_BATCHES, _BATCH_S = 9.8, 0.306  # so many fill a window, or more of this length: clocks swing by 2%
_TRIAL_S = 0.02
_LEAST_UPDATES = 6.5  # periods in a window: five updates at any phase, and half the averaging of the first


class Metering:
    """Makes visits on one GPU; knows its baselines and which processes were there from the start."""

    def __init__(self, meter: GpuMeter, busy: Busy, settings: VisitSettings | None = None) -> None:
        """Begin with a meter that has started, after the context that launches was made."""
        self._meter, self._busy = meter, busy
        self._settings = settings or VisitSettings()
        self._processes = self._seen()
        self._baseline_at = meter.clock.now()
        self._lap_at = meter.opened_s
        self._foreign = ""

    def visit(self, prepared: Prepared) -> Visit:
        """Visit a case once.

        Raises:
            DeviceFaultError: the GPU is lost.
        """
        self._renew_baseline()
        meter, reasons = self._meter, list[str]()
        sampler, clock = meter.sampler, meter.clock
        began_s = clock.now()
        with sampler.watching():
            batch, launch_s = self._settle(prepared, reasons)
            begin_s = clock.now()
            batches = max(2, math.ceil(self._window_s / (batch * launch_s)))
            seconds, beside = self._launch(prepared, batch, batches)
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
        states = tuple(state for state in readings.states if begin_s <= state.at_s <= end_s)
        first, second = self._energies(found, states, time_s, time)
        reasons += self._doubts(found[0]) + self._failures(readings) + self._others()
        if not meter.active_idle.settled:
            reasons.append(f"active idle power was not at rest at {meter.active_idle.power_w:.0f} W")
        main = found[0]
        return Visit(
            time_s=time_s,
            time=time,
            energy=first,
            alternative=second,
            power_w=None if isinstance(main, str) else main.power_w,
            steps_w=() if isinstance(main, str) else tuple(main.steps_w),
            launches=launches,
            condition=_condition(states),
            idle=meter.idle,
            active_idle=meter.active_idle,
            counters=readings.counters(begin_s, end_s) | beside,
            inside_s=end_s - began_s,
            reasons=tuple(reasons),
            by_counter=meter.by_counter,
            notes=() if meter.idle else (f"energy above idle is not known: {meter.no_idle}",),
        )

    @property
    def longest_visit_s(self) -> float:
        """What a visit takes where power settles late."""
        return self._settings.longest_settle_s + self._meter.lag_s + self._window_s + _BATCH_S

    def lap_s(self) -> float:
        """Seconds since the last call; the first time, since the meter was opened."""
        before, self._lap_at = self._lap_at, self._meter.clock.now()
        return self._lap_at - before

    def _settle(self, prepared: Prepared, reasons: list[str]) -> tuple[int, float]:
        """Launch the window's batch until power has settled and nothing is captured any more.

        Returns:
            Launches of a batch, seconds of a launch.
        """
        clock, settings, lag_s = self._meter.clock, self._settings, self._meter.lag_s
        began = clock.now()
        number, seconds = 1, prepared.launch(1)
        while seconds < _TRIAL_S:
            number = math.ceil(number * min(100.0, 1.5 * _TRIAL_S / max(seconds, 1e-9)))
            seconds = prepared.launch(number)
        batch = max(1, math.ceil(min(self._window_s / _BATCHES, _BATCH_S) / (seconds / number)))
        if (lap := lap_of(prepared)) <= batch:
            batch = math.ceil(batch / lap) * lap
        while True:
            before = clock.now()
            seconds = prepared.launch(batch)
            now = clock.now()
            captured = seconds < (1 - MOST_GAP) * (now - before)
            settled = now - began >= settings.settle_s + lag_s and self._has_settled(began)
            if settled and not captured:
                return batch, seconds / batch
            if now - began >= settings.longest_settle_s + lag_s:
                if not settled:
                    reasons.append(f"power had not settled after {now - began:.1f} s")
                return batch, seconds / batch

    def _has_settled(self, began: float) -> bool:
        found = self._meter.sampler.readings()
        shown_s = began + self._meter.lag_s + ticks.SETTLING_SAMPLE_S
        averaged = found.power_at_s >= shown_s  # earlier updates show what ran before
        samples = ticks.sampled(found.power_at_s[averaged], found.power_w[averaged], ticks.SETTLING_SAMPLE_S)
        return ticks.settled(samples) or len(samples) == 0

    @property
    def _window_s(self) -> float:
        """The least seconds of a window."""
        meter = self._meter
        averaging_s = 0.0 if meter.by_counter else meter.averaging_s
        return max(self._settings.visit_s, _LEAST_UPDATES * (meter.period_s or 0.0) + averaging_s)

    def _launch(self, prepared: Prepared, batch: int, batches: int) -> tuple[list[float], dict[str, float]]:
        """Seconds of each batch, and the mean power as the second meter read it, where there is one."""
        seconds: list[float] = []

        def run() -> float:
            seconds.extend(prepared.launch(batch) for _ in range(batches))
            return math.fsum(seconds)

        if (other := self._meter.beside) is None:
            run()
            return seconds, {}
        reading = other.window(run, {}, batch * batches)
        if reading.energy_j is None:
            return seconds, {}
        return seconds, {f"{other.source}_power_w": reading.energy_j / reading.time_s}

    def _powers(
        self, readings: Readings, begin_s: float, end_s: float, launch_s: float
    ) -> tuple[Power | str, Power | str]:
        """Power by the estimator of the rows, and by the other."""
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
        power: Power | str = "power does not move"
        if meter.power_period_s is not None:
            power = ticks.instant_power(
                readings.power_at_s,
                readings.power_w,
                begin_s,
                end_s,
                period_s=meter.power_period_s,
                launch_s=launch_s,
                averaging_s=meter.power_duty * meter.power_period_s,
            )
        return (counter, power) if meter.by_counter else (power, counter)

    def _energies(
        self,
        found: tuple[Power | str, Power | str],
        states: Sequence[State],
        time_s: float,
        time: VariancePart | None,
    ) -> list[VisitJoules | None]:
        """Joules of a launch by both estimators."""
        celsius = _middle([state.temperature_c for state in states])
        return [self._energy(power, time_s, time, celsius) for power in found]

    def _energy(
        self, power: Power | str, time_s: float, time: VariancePart | None, celsius: float | None
    ) -> VisitJoules | None:
        if isinstance(power, str):
            return None
        variance = power.spread.variance + (0.0 if time is None else time.variance)
        return VisitJoules(
            power.power_w * time_s, VariancePart(variance, power.spread.df), power.tick, celsius
        )

    def _doubts(self, power: Power | str) -> list[str]:
        if isinstance(power, str):
            return [power]
        doubts = []
        if power.change:
            doubts.append(f"power changed by {100 * power.change:.2g}% within the window")
        if power.half_width > ticks.MOST_WIDE:
            doubts.append(
                f"the sensor's updates follow no line: they tell power to {100 * power.half_width:.2g}%"
            )
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
        all_of_them = number + max(len(readings.power_w), len(readings.energy_mj))
        return [f"NVML, {number} of {all_of_them} readings: {readings.errors[0][1]}"]

    def _others(self) -> list[str]:
        """Changes of foreign load since the start, seen in the process list and in active idle power."""
        before, now = self._processes, self._seen()
        foreign = [self._foreign] if self._foreign else []
        if before is None or now is None:
            return foreign
        came = [f"process {pid} ({name}) came to this GPU" for pid, name in now.items() if pid not in before]
        went = [f"process {pid} ({name}) left this GPU" for pid, name in before.items() if pid not in now]
        return came + went + foreign

    def _seen(self) -> Mapping[int, str] | None:
        """Processes with a context on this GPU; None where they cannot be read."""
        try:
            return self._meter.sensor.processes()
        except SensorError:
            return None

    def _renew_baseline(self) -> None:
        """Measure active idle power again when it is due; a change means foreign load."""
        meter = self._meter
        before, every_s = meter.active_idle, self._settings.baseline_every_s
        if not before.settled:
            every_s = min(every_s, _UNSETTLED_EVERY_S)
        if meter.clock.now() - self._baseline_at < every_s:
            return
        self._baseline_at = meter.clock.now()
        try:
            now = meter.measure_active_idle(self._busy)
        except UserError as error:
            self._foreign = f"active idle power was not measured again: {error}"
            return
        changed = abs(now.power_w - before.power_w)
        warmer_c = abs(now.celsius - before.celsius) if now.celsius and before.celsius else 0.0
        allowed = max(3 * math.hypot(before.ci_w, now.ci_w), 0.03 * before.power_w)
        beyond = changed > allowed + _IDLE_PER_C * warmer_c * before.power_w
        self._foreign = (
            f"active idle power changed from {before.power_w:.0f} to {now.power_w:.0f} W" if beyond else ""
        )
        meter.active_idle = attrs.evolve(now, ci_w=math.hypot(now.ci_w, changed / 2)) if beyond else now


def _condition(states: Sequence[State]) -> Condition:
    """What could be read of it."""

    def told(name: str) -> list[Any]:
        values = (getattr(state, name) for state in states)
        return [value for value in values if value is not None]

    degrees, sm_mhz, memory_mhz = told("temperature_c"), told("sm_mhz"), told("memory_mhz")
    events = functools.reduce(operator.or_, told("clock_events"), 0)
    return Condition(
        temp_start_c=degrees[0] if degrees else None,
        temp_end_c=degrees[-1] if degrees else None,
        sm_clock_mhz=float(np.mean(sm_mhz)) if sm_mhz else None,
        mem_clock_mhz=float(np.mean(memory_mhz)) if memory_mhz else None,
        clock_events=tuple(filter(None, event_names(events).split(";"))),
    )


def _middle(degrees: Sequence[float | None]) -> float | None:
    """Mean of the first and the last temperature that were read."""
    told = [celsius for celsius in degrees if celsius is not None]
    return (told[0] + told[-1]) / 2 if told else None
