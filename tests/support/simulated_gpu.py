"""A replayed GPU: sensors, clocks and temperature as documented, on a clock of its own. Test data only.

`energy_source=simulated`; `auto` never chooses it. What a launch truly costs is known, `Load.joules`, and the
sensors show it as real ones do (figures of design section 3): ticks, averaging over a part of the period,
start-up of the clocks, leakage that grows with temperature, ripple, a power cap, failures on demand. Seeded:
the same seed replays the same readings.

Power of a running load, in watts:

    P(t) = power · profile(t) · f(t)^2.5 · (1 + 0.002·(T(t) − 60 °C)) · (1 + b) · (1 + ripple(t)) + others

T follows P with one time constant; f is 1 but for the first 3 s after a change of load; b, what differs
between visits, is drawn anew at each change of load; ripple is an AR(1) process of 100 ms steps. The energy
counter sees another ripple than power: what one shows by chance, the other does not confirm.

A `Card` also says how its sensors are unkind: updates that jitter, lag, are shown late or caught up with
later, power that is averaged for seconds or told in watts, calls that take long. They combine.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from replay import (
    HOPPER,
    POWER_EXPONENT,
    REFERENCE_C,
    Card,
    Fault,
    Load,
    Process,
    ReplayedClock,
)

from dibench.meters.gpu_sensor import ACTIVITY, LOST, NOT_SUPPORTED, SensorError

Floats = npt.NDArray[np.float64]

_STEP_S = 5e-3  # of the trace; sensors interpolate within it
_RIPPLE_S = 0.1
_SETTLED_S = 3.0
_MEMORY_S = 0.5  # of the clock's control: a pause of milliseconds between two loads is none to it
_MEMORY_POWER_S = 1.0
_CAP = 0x4
_KEPT_S = 6.0  # of the trace: more than the longest average and lag


class _Sensor:
    """Updates: what each one shows is the power over the `averaging_s` that ended `lag_s` before it."""

    def __init__(
        self,
        card: Card,
        rng: np.random.Generator,
        *,
        phase_s: float,
        period_s: float,
        averaging_s: float,
        lag_s: float = 0.0,
    ) -> None:
        self._card, self._rng, self.period_s = card, rng, period_s
        self._averaging_s, self._lag_s = averaging_s, lag_s
        self._next_s = phase_s
        self._due = np.array([phase_s])
        self._last_s = 0.0
        self.times: Floats = np.array([-period_s])
        self.watts: Floats = np.array([0.0])
        self.summed: Floats = np.array([0.0])

    def extend(self, end: float, joules: Callable[[Any], Floats]) -> None:
        jitter_s = self._card.jitter_s
        while self._due[-1] <= end + 2 * jitter_s:
            more = self._next_s + self.period_s * np.arange(1, 65)
            self._next_s = float(more[-1])
            jitter = self._rng.uniform(-jitter_s, jitter_s, len(more)) if jitter_s else 0.0
            self._due = np.sort(np.append(self._due, more + jitter))
        number = int(np.searchsorted(self._due, end, side="right"))
        if number == 0:
            return
        times, self._due = self._due[:number], self._due[number:]
        at = times - self._lag_s
        watts = (joules(at) - joules(at - self._averaging_s)) / self._averaging_s
        shown = times + (self._rng.uniform(0.0, self._card.late_s, number) if self._card.late_s else 0.0)
        self.times = np.maximum.accumulate(np.append(self.times, shown))
        self.watts = np.append(self.watts, watts)
        each = watts * np.diff(np.append(self._last_s, times))
        self._last_s = float(times[-1])
        self.summed = np.append(self.summed, self.summed[-1] + np.cumsum(each))

    def index(self, t: Any) -> Any:
        """The update that a reading at t shows."""
        return self.times.searchsorted(t, side="right") - 1

    def counted(self, t: Any) -> Any:
        """Joules that a counter shows at t."""
        index = self.index(t)
        if self._card.catches_up == 1:
            return self.summed[index]
        caught_up = index - index % self._card.catches_up
        joules = self.summed[caught_up]
        return joules + (self.summed[index] - joules) * np.where(index == caught_up, 1.0, 0.5)


class _Ripple:
    """An AR(1) process of 100 ms steps, standardised."""

    def __init__(self, rho: float, rng: np.random.Generator) -> None:
        self._rho, self._rng = rho, rng
        self._value, self._left_s = float(rng.standard_normal()), _RIPPLE_S

    def over(self, widths: Floats) -> Floats:
        """Its values over steps of the trace."""
        ends = np.cumsum(widths) - self._left_s
        blocks = np.maximum(np.ceil((ends - 1e-9) / _RIPPLE_S).astype(int), 0)
        number = int(blocks[-1])
        draws = self._rng.standard_normal(number) * math.sqrt(1 - self._rho * self._rho)
        values = np.empty(number + 1)
        values[0] = self._value
        for i in range(number):
            values[i + 1] = self._rho * values[i] + draws[i]
        self._value = float(values[-1])
        self._left_s = number * _RIPPLE_S - float(ends[-1])
        return np.asarray(values[blocks])


class _Trace:
    """Joules so far as one of the two sensors could see them."""

    def __init__(self, ripple: _Ripple, idle_w: float) -> None:
        self._ripple = ripple
        self.t: Floats = np.array([-_KEPT_S, 0.0])
        self.joules: Floats = np.array([-_KEPT_S * idle_w, 0.0])

    def extend(self, edges: Floats, watts: Floats, ripple: float) -> None:
        widths = np.diff(edges)
        joules = self.joules[-1] + np.cumsum(watts * (1 + ripple * self._ripple.over(widths)) * widths)
        kept = int(np.searchsorted(self.t, edges[0] - _KEPT_S))
        self.t = np.append(self.t[kept:], edges[1:])
        self.joules = np.append(self.joules[kept:], joules)

    def at(self, t: Any) -> Floats:
        return np.asarray(np.interp(t, self.t, self.joules))


class SimulatedGpu:
    """One replayed GPU: `launch` lets time pass on its clock, the other methods are its sensors."""

    def __init__(
        self,
        clock: ReplayedClock,
        card: Card = HOPPER,
        *,
        seed: int = 0,
        uuid: str = "GPU-simulated-0",
        faults: Sequence[Fault] = (),
        processes: Sequence[Process] = (),
        counter_steps: Sequence[tuple[float, int]] = (),
        mig: bool = False,
        start_c: float | None = None,
    ) -> None:
        """A GPU that idles.

        Args:
            clock: whose time it lives in.
            card: how it behaves.
            seed: of ripple, of what differs between visits, and the phase of its ticks.
            uuid: its identity.
            faults: readings that fail.
            processes: who else is on it and when.
            counter_steps: (time, mJ) added to the counter from then on; negative is a reset.
            mig: whether it is cut into instances.
            start_c: temperature at the beginning; that of idling without it.
        """
        self.card, self.uuid, self.name, self._clock = card, uuid, card.name, clock
        self.duty = card.averaging_s / card.power_s
        self._faults, self._processes, self._steps, self._mig = faults, processes, counter_steps, mig
        self._rng = np.random.default_rng(seed)
        self._load, self._since, self._kick, self._between = Load(card.idle_w), 0.0, 0.0, 0.0
        self._resting = card.idle_w
        self._loads: list[tuple[float, Load]] = [(-_MEMORY_POWER_S, self._load)]
        self._looked_at: float | None = None
        self._counted = _Trace(_Ripple(card.rho, self._rng), card.idle_w)
        self._drawn = _Trace(_Ripple(card.rho, np.random.default_rng([seed, 3])), card.idle_w)
        self._c = card.ambient_c + card.c_per_w * card.idle_w if start_c is None else start_c
        self._temperatures: list[tuple[float, float]] = [(0.0, self._c)]
        unkind = self._unkind = np.random.default_rng([seed, 1])
        phase, counter_s = self._rng.random(), card.counter_s or 1.0
        power = {"phase_s": phase * card.power_s, "period_s": card.power_s}
        self._power = _Sensor(card, unkind, **power, averaging_s=card.averaging_s, lag_s=card.power_lag_s)
        self._average = _Sensor(card, unkind, **power, averaging_s=1.0)
        self._counter = _Sensor(
            card,
            unkind,
            phase_s=self._rng.random() * counter_s,
            period_s=counter_s,
            averaging_s=card.counter_averaging_s or self.duty * counter_s,
            lag_s=card.counter_lag_s,
        )
        for sensor in (self._power, self._average):
            sensor.watts[0] = card.idle_w  # until the first update
        clock.attach(self)

    # -- what runs --------------------------------------------------------------------------------------

    def open_context(self) -> None:
        """A CUDA context: the GPU rests at its active-idle power from now on."""
        self._resting = self.card.active_idle_w
        self._switch(Load(self._resting))

    def launch(self, load: Load, n: int) -> float:
        """Run n launches; seconds by the device's clock. Leaves the GPU resting."""
        self._check_lost()
        self._switch(load)
        begin = self._clock.now()
        work_s = n * load.launch_s * load.slowdown(self.card)
        # Under an oscillating clock the work takes longer or shorter: solve ∫ f dt = work.
        edges = np.append(np.arange(0.0, min(work_s, _SETTLED_S) * 1.2, _STEP_S), work_s * 1.2 + 1.0)
        middles = (edges[1:] + edges[:-1]) / 2
        done = np.append(0.0, np.cumsum(self._frequency(begin + middles) * np.diff(edges)))
        seconds = float(np.interp(work_s, done, edges))
        self._clock.sleep(seconds)
        self._check_lost()
        return seconds

    def rest(self) -> None:
        """Nothing runs any more."""
        self._switch(Load(self._resting))

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """The filler runs while time passes."""
        self._switch(Load(self.card.filler_w))
        yield
        self.rest()

    def _switch(self, load: Load) -> None:
        if load == self._load:
            return
        now = self._clock.now()
        recently = self._counted.at([now - _MEMORY_S, now])
        before = float(recently[1] - recently[0]) / _MEMORY_S
        self._load, self._since = load, now
        self._loads.append((now, load))
        works = load.power_w > self._resting
        self._kick = self.card.overshoot * abs(load.power_w - before) / load.power_w if works else 0.0
        self._between = self.card.between * self._rng.standard_normal() if works else 0.0

    def _frequency(self, t: Floats) -> Floats:
        """The clock over its settled value."""
        age = np.maximum(t - self._since, 0.0)
        swing = self._kick * np.exp(-age / 0.8) * np.cos(2 * np.pi * age / 0.7)
        return np.asarray(1.0 - np.where(age < _SETTLED_S, swing, 0.0))

    # -- what it draws ----------------------------------------------------------------------------------

    def extend(self, end: float) -> None:
        """Let the current load run until `end`; the clock calls this."""
        begin = float(self._counted.t[-1])
        if end <= begin + 1e-12:
            return
        steps = max(1, math.ceil((end - begin) / _STEP_S))
        edges = np.linspace(begin, end, steps + 1)
        middles = (edges[1:] + edges[:-1]) / 2
        card, power_w = self.card, min(self._load.power_w, self.card.limit_w)
        # T' = (ambient + R·P(T) − T)/τ with P linear in T: one exponential.
        gain = card.c_per_w * power_w
        pull = 1 - gain * card.leakage_per_c
        final = (card.ambient_c + gain * (1 - card.leakage_per_c * REFERENCE_C)) / pull
        celsius = final + (self._c - final) * np.exp(-pull * (middles - begin) / card.thermal_s)
        watts = power_w * self._profile(edges) * self._frequency(middles) ** POWER_EXPONENT
        watts *= 1 + card.leakage_per_c * (celsius - REFERENCE_C)
        watts *= 1 + self._between
        for process in self._processes:
            watts += process.power_w * ((middles >= process.begin_s) & (middles < process.end_s))
        self._c = float(final + (self._c - final) * math.exp(-pull * (end - begin) / card.thermal_s))
        self._temperatures.append((end, self._c))
        for trace in (self._counted, self._drawn):
            trace.extend(edges, watts, card.ripple)
        for sensor in (self._power, self._average):
            sensor.extend(end, self._drawn.at)
        self._counter.extend(end, self._counted.at)

    def _profile(self, edges: Floats) -> Floats:
        """Mean over each step of the launches' power over their mean."""
        load = self._load
        if load.contrast == 0.0:
            return np.ones(len(edges) - 1)
        launch_s = load.launch_s * load.slowdown(self.card)
        phase = ((edges - self._since) / launch_s) % 1.0
        # Integral of a square wave of mean 0 over a launch: a triangle.
        area = load.contrast * launch_s * np.minimum(phase, 1.0 - phase)
        return np.asarray(1.0 + np.diff(area) / np.diff(edges))

    # -- what its sensors show --------------------------------------------------------------------------

    def energies_mj(self, t: Floats) -> npt.NDArray[np.int64]:
        """The counter as readings at times t would have shown it."""
        shown = 1e6 + self._counter.counted(t) * 1e3 * self.card.counter_gain
        for at, step in self._steps:
            shown = shown + step * (t >= at)
        step_mj = 1e3 * self.card.step_j
        return np.asarray(np.floor(np.maximum(shown, 0) / step_mj) * step_mj, np.int64)

    def instants_mw(self, t: Floats) -> npt.NDArray[np.int64]:
        """Instant power as readings at times t would have shown it."""
        return self._told(self._power.watts[self._power.index(t)])

    def _told(self, watts: Any) -> npt.NDArray[np.int64]:
        step_w = self.card.step_w
        return np.asarray(np.rint(1e3 * step_w * np.rint(watts / step_w)), np.int64)

    def energy_mj(self) -> int:
        """The counter now."""
        now = self._check("energy_mj")
        if self.card.counter_s is None:
            raise SensorError(NOT_SUPPORTED, "energy_mj")
        return int(self.energies_mj(np.array([now]))[0])

    def instant_mw(self) -> int:
        """Instant power now."""
        return int(self.instants_mw(np.array([self._check("instant_mw")]))[0])

    def average_mw(self) -> int:
        """The average over one second."""
        now = self._check("average_mw")
        return int(self._told(self._average.watts[self._average.index(now)]))

    def memory_mw(self) -> int:
        """The memory's share of the average over one second."""
        self._check("memory_mw")
        if (full_w := self.card.memory_w) is None:
            raise SensorError(NOT_SUPPORTED, "memory_mw")
        now = self._clock.now()
        return round(
            1e3 * full_w * (1 + 0.02 * self._mean("dram_bandwidth_pct", now - _MEMORY_POWER_S, now)) / 3
        )

    def activity(self) -> Mapping[str, float]:
        """Since the last call."""
        self._check("activity")
        if not self.card.gpm:
            raise SensorError(NOT_SUPPORTED, "activity")
        before, now = self._looked_at, self._clock.now()
        self._looked_at = now
        if before is None or now <= before:
            return {}
        return {name: self._mean(name, before, now) for name in ACTIVITY}

    def _mean(self, name: str, begin: float, end: float) -> float:
        """Of what the loads between two times do."""
        total, until = 0.0, end
        for at, load in reversed(self._loads):
            if at < until:
                total += (until - max(begin, at)) * float(getattr(load, name))
                until = at
            if at <= begin:
                break
        return total / (end - begin)

    def temperature_c(self) -> float:
        """Whole degrees, as NVML has them."""
        self._check("temperature_c")
        times, values = zip(*self._temperatures[-50:], strict=True)
        return float(round(float(np.interp(self._clock.now(), times, values))))

    def sm_mhz(self) -> int:
        """Down while nothing runs and there is no context."""
        self._check("sm_mhz")
        if self._load.power_w == self._resting < self.card.active_idle_w:
            return self.card.idle_mhz
        f = float(self._frequency(np.array([self._clock.now()]))[0]) / self._load.slowdown(self.card)
        return round(self.card.clock_mhz * f)

    def most_sm_mhz(self) -> int:
        """Of the multiprocessors."""
        self._check("most_sm_mhz")
        return self.card.clock_mhz

    def memory_mhz(self) -> int:
        """Always the same."""
        self._check("memory_mhz")
        return self.card.memory_mhz

    def clock_events(self) -> int:
        """The power cap, where it holds the load down."""
        self._check("clock_events")
        return _CAP if self._load.power_w > self.card.limit_w else 0

    def limit_w(self) -> float:
        """The power limit."""
        self._check("limit_w")
        return self.card.limit_w

    def processes(self) -> Mapping[int, str]:
        """Who else is on it."""
        self._check("processes")
        now = self._clock.now()
        return {other.pid: other.name for other in self._processes if other.begin_s <= now < other.end_s}

    def mig(self) -> bool:
        """Whether it is cut into instances."""
        self._check("mig")
        return self._mig

    def _check(self, reading: str) -> float:
        """Let the call take its time; returns when, within it, the reading is of."""
        begin, card = self._clock.now(), self.card
        if took_s := 0.06 if self._unkind.random() < card.slow_calls else card.call_s:
            self._clock.spend(took_s)
        now = begin + took_s * self._unkind.random()
        for fault in self._faults:
            if fault.begin_s <= now < fault.end_s and fault.reading in ("", reading):
                raise SensorError(fault.code, reading)
        return float(now)

    @property
    def lost(self) -> bool:
        """Whether it fell off the bus."""
        now = self._clock.now()
        return any(fault.code == LOST and fault.begin_s <= now for fault in self._faults)

    def _check_lost(self) -> None:
        if self.lost:
            raise SensorError(LOST, "launch")
