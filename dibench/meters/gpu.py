"""A GPU's meter: `nvml_counter`, `nvml_power`, and `simulated` for tests.

Unlike other meters it is not read at the edges of a window: launches run on while a sampler reads, and
`dibench.measure.metering` finds the power between observed updates. This module finds what has to be known
first: which readings there are, the idle baselines, the update periods of counter and power, and whether the
metered GPU is the one that launches.

Any one of energy counter, instant power and the average of a second gives joules. Where the best one is
refused, or stands still under load, `auto` takes the next and says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import attrs
import numpy as np

from dibench.errors import UserError
from dibench.meters import nvml
from dibench.meters.base import Meter
from dibench.meters.baseline import Baseline, baseline_since
from dibench.meters.gpu_sensor import NO_DATA, Clock, GpuSensor, SensorError
from dibench.meters.sampler import READ_S, STATES, Readings, RealClock, Sampler
from dibench.meters.ticks import Floats, counter_curve, lag_s, power_curve, update_period_s

Busy = Callable[[], AbstractContextManager[None]]

SOURCES = ("nvml_counter", "nvml_power", "simulated")

ESTIMATORS = {
    "energy_mj": "energy counter",
    "instant_mw": "instant power",
    "average_mw": "power averaged over one second",
}
"""The readings that give joules, best first."""

_POWERS = ("instant_mw", "average_mw")

_OTHERS = {
    "limit_w": "power limit",
    "temperature_c": "temperature",
    "sm_mhz": "clock of the multiprocessors",
    "most_sm_mhz": "their highest clock",
    "memory_mhz": "clock of the memory",
    "clock_events": "clock events",
    "processes": "process list",
}
"""Readings that joules do not need; each may be refused for itself."""

_NAMES = ESTIMATORS | _OTHERS

_TRIES, _BETWEEN_TRIES_S = 5, 0.1  # of a reading that is refused with what may pass
_AVERAGE_S = 1.0
_IDLE_S, _LONGEST_IDLE_S = 5.0, 20.0
_IDLE_BLIND_S = 10.0  # where the clock cannot be read
_ACTIVE_IDLE_S, _LONGEST_ACTIVE_IDLE_S = 2.0, 6.0
_TICKS_AT_REST = 6.5  # of a slow counter
_LOOK_AGAIN_S = 0.25
_CLOCK_IS_UP = 0.5  # of the highest clock; at idle it is a fifth
_AFTER_LOAD_S = 0.5  # power falls within the sensor's averaging, clocks stay up for seconds
_LEAST_RISE_W, _LEAST_RISE = 5.0, 0.05
_FAST_READ_S = 1e-3
_LONGEST_WATCH_S, _LONGEST_SLOW_WATCH_S = 6.0, 13.5  # twelve periods of 0.5 s, six of 2 s
_LEAST_WATCH_S, _WATCH_S = 3.75, 0.75  # a lag of half of it shows in it, a longer one in more
_BEFORE_LOAD_S, _RISEN_S = 0.1, 0.5
_ASSUMED_PERIOD_S = 0.1
_MOST_BLUR = 0.5  # of a counter's period
_GAIN = (
    "the sensor is not calibrated: comparisons with external meters found gains off by 5% to 13%, the same "
    "factor in all rows of one card; no interval contains it"
)


class GpuMeter:
    """One GPU's sensors, ready to meter once `measure_idle` and `start` have run."""

    has_variance = True

    def __init__(self, sensor: GpuSensor, clock: Clock, source: str, *, beside: Meter | None = None) -> None:
        """A meter of that GPU.

        Args:
            sensor: of the GPU.
            clock: gives readings their time.
            source: `nvml_counter` or `nvml_power` where that is asked for; `auto` takes what there is, the
                counter first, and so does `simulated`.
            beside: a second meter that reads the same windows.

        Raises:
            UserError: what is asked for may not be read, or nothing that gives joules may.
        """
        self.sensor, self.clock, self.beside = sensor, clock, beside
        self.counter_period_s: float | None = None
        self.power_period_s: float | None = None
        self._read_s = 0.0
        self._lags_s: dict[str, float | None] = {}
        self.idle: Baseline | None = None
        self.no_idle, self._idle_by = "it was not measured", ""
        self.active_idle = Baseline(0.0, 0.0)
        self.opened_s = clock.now()
        self._asked = source
        self._refused: dict[str, SensorError | str] = {}
        self._has_counter = self._offers("energy_mj")
        self._power = next(filter(self._offers, _POWERS), "")
        self.by_counter = self._has_counter and source != "nvml_power"
        """Whether the counter is the estimator of the rows, and power the second one."""
        if not (self.by_counter or self._power) or (source == "nvml_counter" and not self._has_counter):
            raise self._no_joules()
        others = {name: self._first(name) for name in _OTHERS}
        self._there = {name for name, value in others.items() if value is not None}
        self.limit_w: float = math.inf if others["limit_w"] is None else others["limit_w"]
        self._most_sm_mhz: float = others["most_sm_mhz"] or math.inf
        self._has_memory, self._has_activity = self._offers("memory_mw"), self._offers("activity")
        self.sampler = self._new_sampler()

    @classmethod
    def open(cls, source: str, uuid: str, *, beside: Meter | None = None) -> GpuMeter:
        """The meter of the GPU with that UUID.

        Raises:
            UserError: NVML, the driver or the GPU refuses; the message names the remedy.
        """
        sensor = nvml.find(nvml.gpus(nvml.import_pynvml()), uuid)
        return cls(sensor, RealClock(), source, beside=beside)

    def _new_sampler(self) -> Sampler:
        return Sampler(
            self.sensor,
            self.clock,
            counter=self._has_counter,
            power=self._power,
            states=[name for name in STATES if name in self._there],
            memory=self._has_memory,
            activity=self._has_activity,
        )

    def _offers(self, reading: str) -> bool:
        return self._first(reading) is not None

    def _first(self, reading: str) -> Any:
        """A first value; None where the card refuses the reading. What may pass is asked for again."""
        for left in reversed(range(_TRIES)):
            try:
                value = getattr(self.sensor, reading)()
                if value == 0 and reading in _POWERS:  # no GPU draws nothing
                    raise SensorError(NO_DATA, reading)
                self._refused.pop(reading, None)
                return value
            except SensorError as error:
                if error.lost:
                    raise error.refused() from None
                self._refused[reading] = error
                if not error.passing:
                    break
            if left:
                self.clock.sleep(_BETWEEN_TRIES_S)
        return None

    def _no_joules(self) -> UserError:
        """Why what is asked for cannot be read, and what can."""
        if self._asked == "nvml_counter":
            instead = "; --meter nvml_power works here" if self._power else ""
            return UserError("NVML energy counter", f"{self._refused['energy_mj']}{instead}")
        tried = list(ESTIMATORS)[self._asked == "nvml_power" :]
        instead = "; --meter nvml_counter works here" if self._has_counter else ""
        reasons: dict[str, list[str]] = {}
        for reading in tried:
            reasons.setdefault(str(self._refused[reading]), []).append(ESTIMATORS[reading])
        return UserError("NVML " + "; ".join(map(_and, reasons.values())), "; ".join(reasons) + instead)

    @property
    def source(self) -> str:
        """The `energy_source` of the rows."""
        if self._asked == "auto":
            return "nvml_counter" if self.by_counter else "nvml_power"
        return self._asked

    @property
    def estimator(self) -> str:
        """The reading that joules of the rows come from, in words."""
        return ESTIMATORS["energy_mj" if self.by_counter else self._power]

    @property
    def instead_of(self) -> str:
        """Why the rows do not come from a better reading; empty where they do, or where it was asked for."""
        names = list(ESTIMATORS)
        better = names[
            self._asked == "nvml_power" : names.index("energy_mj" if self.by_counter else self._power)
        ]
        return "; ".join(f"{ESTIMATORS[name]}: {self._refused[name]}" for name in better)

    @property
    def refused(self) -> Mapping[str, str]:
        """Readings that this card or driver refuses, in words, and why."""
        return {what: str(self._refused[name]) for name, what in _NAMES.items() if name in self._refused}

    @property
    def power_duty(self) -> float:
        """The share of each update period of power that the sensor really sees."""
        return 1.0 if self._power == "average_mw" else self.sensor.duty

    @property
    def averaging_s(self) -> float:
        """Seconds that a reading of power still shows what ran before; 0 where they are few."""
        return _AVERAGE_S if self._power == "average_mw" else 0.0

    @property
    def period_s(self) -> float | None:
        """Update period of the estimator of the rows."""
        return self.counter_period_s if self.by_counter else self.power_period_s

    def measure_idle(self) -> None:
        """Measure idle power; call this before there is a CUDA context.

        What loaded the GPU a moment ago, another process too, keeps its clocks up for seconds and its power
        for longer. So idle power is what had no trend for five seconds with the multiprocessors' clock down,
        for ten where that cannot be read. If that does not come in twenty seconds, idle stays unknown.

        Raises:
            UserError: nothing could be read.
        """
        sees_clock = {"sm_mhz", "most_sm_mhz"} <= self._there

        def up_mhz(begin_s: float) -> int:
            """The highest clock since then, if it is up."""
            clocks = [state.sm_mhz or 0 for state in self.sampler.readings().states if state.at_s >= begin_s]
            highest = max(clocks, default=0)
            return highest if highest > _CLOCK_IS_UP * self._most_sm_mhz else 0

        found, clock_mhz = self._at_rest(_IDLE_S if sees_clock else _IDLE_BLIND_S, _LONGEST_IDLE_S, up_mhz)
        self._idle_by = self.estimator
        if found.settled and not clock_mhz:
            self.idle, self.no_idle = found, ""
        elif clock_mhz:
            self.no_idle = f"the GPU's clock stayed at {clock_mhz} MHz for {_LONGEST_IDLE_S:g} s"
        else:
            self.no_idle = f"the GPU's power did not come to rest in {_LONGEST_IDLE_S:g} s"

    def take_idle(self, facts: Mapping[str, Any]) -> None:
        """Idle power as another meter of this GPU found it, by its facts, before something loaded the GPU."""
        self.idle = Baseline(**facts["idle"]) if facts["idle"] else None
        self.no_idle, self._idle_by = str(facts.get("idle_unknown", "")), str(facts.get("idle_by", ""))

    def start(self, busy: Busy) -> None:
        """See power rise under load: how fast, in what periods; then measure active idle power after it.

        Args:
            busy: keeps the GPU busy while its context lasts.

        Raises:
            UserError: power does not rise, so another GPU launches; or no reading changes.
        """
        busy_w = self._watch(busy)
        before = self.estimator
        while self.period_s is None and self._falls(f"it stood still for {_LONGEST_WATCH_S:g} s under load"):
            if self._idle_by == before:
                self.idle, self.no_idle = None, f"it was read by {before}, which stood still"
            before, busy_w = self.estimator, self._watch(busy)
        self._leave_blurred_ticks()
        if self.period_s is None:
            raise self._still(_LONGEST_WATCH_S)
        self.active_idle = self._after_load()
        self._check_rise(busy_w)

    def _watch(self, busy: Busy) -> float:
        """Find the update periods and lags as load begins; returns power under it by the rows' estimator.

        It ends when both are known. A counter that moves, but slowly, is waited for longer.
        """
        watch = Sampler(
            self.sensor,
            self.clock,
            counter=self._has_counter,
            power=self._power,
            states=(),
            read_s=_FAST_READ_S,
        )
        with watch.watching():
            self.clock.sleep(_BEFORE_LOAD_S)
            with busy():
                began_s, longest_s = self.clock.now(), _LONGEST_WATCH_S
                self.clock.sleep(_LEAST_WATCH_S)
                while not self._learn(found := watch.readings(), began_s):
                    if self.counter_period_s is None and len(found.energy_mj) and np.ptp(found.energy_mj):
                        longest_s = _LONGEST_SLOW_WATCH_S
                    if self.clock.now() - began_s >= longest_s:
                        break
                    self.clock.sleep(_WATCH_S)
        middle_s = (began_s + self.clock.now()) / 2
        late = found.energy_at_s >= middle_s
        counted = counter_curve(found.energy_at_s[late], found.energy_mj[late])
        if self.by_counter and len(counted.t) > 1:
            return float(np.ptp(counted.joules) / np.ptp(counted.t))
        late = found.power_at_s >= middle_s
        if not late.any():
            raise _unreadable(found.errors)
        return float(found.power_w[late].mean())

    def _learn(self, found: Readings, began_s: float) -> bool:
        """Periods and lags from what was read since load began; whether all are known."""
        steady = found.power_at_s >= began_s + _RISEN_S
        if len(found.energy_at_s) > 1:
            self._read_s = float(np.median(np.diff(found.energy_at_s)))
        self.power_period_s = update_period_s(found.power_at_s[steady], found.power_w[steady])
        self.counter_period_s = update_period_s(found.energy_at_s, found.energy_mj)
        known = [self.counter_period_s] if self._has_counter else []
        if self._power:
            known.append(self.power_period_s)
            if self.power_period_s is None and len(found.power_w) and np.ptp(found.power_w) > 0:
                self.power_period_s = _ASSUMED_PERIOD_S  # it rose, and stands still since
        if self.power_period_s:  # an average is told more often than it is anew
            self.power_period_s = max(self.power_period_s, self.averaging_s)
            after = found.power_at_s >= began_s
            curve = power_curve(found.power_at_s[after], found.power_w[after], self.power_period_s)
            self._lags_s["power"] = lag_s(curve, began_s)
            known.append(self._lags_s["power"])
        if self.counter_period_s:
            after = found.energy_at_s >= began_s
            curve = counter_curve(found.energy_at_s[after], found.energy_mj[after])
            self._lags_s["counter"] = lag_s(curve, began_s)
            known.append(self._lags_s["counter"])
        return None not in known

    @property
    def lag_s(self) -> float:
        """Seconds that readings still show what ran before, beyond an update: those of the slowest sensor.

        A sensor that never showed the load's power while it was watched is taken for as slow as that.
        """
        periods = {"power": self.power_period_s, "counter": self.counter_period_s}
        slowest = self.averaging_s
        for sensor, seconds in self._lags_s.items():
            if period_s := periods[sensor]:
                slowest = max(slowest, (_LONGEST_WATCH_S / 2 if seconds is None else seconds) - period_s)
        return slowest

    def _leave_blurred_ticks(self) -> None:
        """Take power where a call takes so long that the instants of ticks are hardly known."""
        if not (self.by_counter and self._power == "instant_mw" and self.power_period_s):
            return
        period_s = self.counter_period_s or 0.0
        if self._asked != "nvml_counter" and self._read_s > _MOST_BLUR * period_s:
            self.by_counter = False
            self._refused["energy_mj"] = f"it can only be read every {1e3 * self._read_s:.0f} ms"

    def _still(self, seconds: float) -> UserError:
        rule = f"its sensor must move, did not within {seconds:g} s: use --meter model or none"
        return UserError("--meter", rule, self.source)

    def _falls(self, still: str) -> bool:
        """Take a further reading in place of one that stands still; False where there is none."""
        if self.by_counter:
            if self._asked == "nvml_counter" or not self._power:
                return False
            self.by_counter, self._refused["energy_mj"] = False, still
            return True
        if self._power != "instant_mw" or not self._offers("average_mw"):
            return False
        self._power, self._refused["instant_mw"] = "average_mw", still
        self.sampler = self._new_sampler()
        return True

    def _check_rise(self, busy_w: float) -> None:
        idle_w = self.active_idle.power_w
        if busy_w - idle_w < max(_LEAST_RISE_W, _LEAST_RISE * idle_w):
            rule = (
                f"the GPU metered must be the one that launches: power stayed at {busy_w:.0f} W under load, "
                f"{idle_w:.0f} W without"
            )
            raise UserError("--meter", rule, self.sensor.uuid)

    def measure_active_idle(self, busy: Busy) -> Baseline:
        """Power with a context, clocks up and no work, as the GPU draws it just after load."""
        with busy():
            self.clock.sleep(1.0)
        return self._after_load()

    def _after_load(self) -> Baseline:
        self.clock.sleep(_AFTER_LOAD_S + self.lag_s)
        longest_s = max(_LONGEST_ACTIVE_IDLE_S, _TICKS_AT_REST * (self.period_s or 0.0))
        return self._at_rest(_ACTIVE_IDLE_S + self.lag_s, longest_s + self.lag_s)[0]

    def _at_rest(
        self, seconds: float, longest_s: float, up_mhz: Callable[[float], int] = lambda _: 0
    ) -> tuple[Baseline, int]:
        """Power of the last `seconds` once it has no trend and `up_mhz` of them is 0, or at `longest_s`."""
        began_s = self.clock.now()
        with self.sampler.watching():
            self.clock.sleep(seconds)
            while True:
                now, readings = self.clock.now(), self.sampler.readings()
                found = baseline_since(readings, now - seconds, by_counter=self.by_counter)
                if found is None:  # a slow counter has not moved often enough
                    found = baseline_since(readings, began_s, by_counter=self.by_counter)
                clock_mhz = up_mhz(now - seconds)
                still = self.by_counter and now - began_s >= _IDLE_S and _stands_still(readings.energy_mj)
                if still and self._falls(f"it stood still for {now - began_s:.0f} s at idle"):
                    continue
                if (found is not None and found.settled and not clock_mhz) or now - began_s >= longest_s:
                    break
                self.clock.sleep(_LOOK_AGAIN_S)
        if found is None:
            raise self._still(longest_s) if still else _unreadable(readings.errors)
        return found, clock_mhz

    @property
    def extras(self) -> tuple[str, ...]:
        """What this card reports beyond what joules need."""
        found = (("power of the memory", self._has_memory), ("GPM metrics", self._has_activity))
        return tuple(name for name, there in found if there)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the manifest records."""
        return {
            "kind": "sensor: NVML" if self.source != "simulated" else "replayed sensor: test data",
            "gpu": self.sensor.name,
            "uuid": self.sensor.uuid,
            "estimator": self.estimator,
            **({"instead_of": self.instead_of} if self.instead_of else {}),
            "not_readable": dict(self.refused),
            "counter_period_s": self.counter_period_s,
            "power_period_s": self.power_period_s,
            "lag_s": dict(self._lags_s),
            "share_of_period_seen": self.sensor.duty if self.by_counter else self.power_duty,
            "power_limit_w": self.limit_w if math.isfinite(self.limit_w) else None,
            "idle_power_w": None if self.idle is None else self.idle.power_w,
            "idle": None if self.idle is None else attrs.asdict(self.idle),
            **({"idle_unknown": self.no_idle} if self.no_idle else {"idle_by": self._idle_by}),
            "active_idle_power_w": self.active_idle.power_w,
            "active_idle_settled": self.active_idle.settled,
            "further_readings": list(self.extras),
            "reading": f"every {1e3 * READ_S:g} ms in a thread, {100 * self.sampler.cost:.2g}% of a CPU core",
            "gain": _GAIN,
            **({} if self.beside is None else {"beside": dict(self.beside.facts)}),
        }


def _and(words: list[str]) -> str:
    """Words joined as one says them."""
    return ", ".join(words[:-1]) + (" and " if words[1:] else "") + words[-1]


def _stands_still(energy_mj: Floats) -> bool:
    """Whether a counter shows nothing of what even an idle GPU draws."""
    return len(energy_mj) > 1 and not np.ptp(energy_mj)


def _unreadable(errors: tuple[tuple[float, SensorError], ...]) -> UserError:
    return errors[0][1].refused() if errors else UserError("--meter", "the GPU's power could not be read")
