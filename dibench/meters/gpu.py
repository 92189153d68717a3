"""A GPU's meter: `nvml_counter`, `nvml_power`, and `simulated` for tests.

Unlike other meters it is not read at the edges of a window: launches run on while a sampler reads, and
`dibench.measure.metering` finds the power between observed updates. This module finds what has to be known
first: which reading gives joules, of those that are `offered`; what the GPU draws without load (`idle`), what
its sensors show as load begins (`load_step`), and whether the metered GPU is the one that launches.

Any one of energy counter, instant power and the average of a second gives joules. Where the best one is
refused, or stands still under load, `auto` takes the next and says why; and instant power in place of a
counter whose ticks a window could not use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np

from dibench.errors import UserError
from dibench.meters import nvml
from dibench.meters.base import Meter
from dibench.meters.baseline import Baseline
from dibench.meters.gpu_sensor import Clock, GpuSensor
from dibench.meters.idle import AfterAnyLoad, Patience, Rest, clock_at_rest, wait_for_rest
from dibench.meters.load_step import LONGEST_WATCH_S, READ_FAST_S, Busy, LoadStep, watch
from dibench.meters.offered import ESTIMATORS, OTHERS, POWERS, Offered
from dibench.meters.sampler import READ_S, STATES, Readings, RealClock, Sampler

SOURCES = ("nvml_counter", "nvml_power", "simulated")

_AVERAGE_S = 1.0
_ACTIVE_IDLE_S, _LONGEST_ACTIVE_IDLE_S = 2.0, 6.0
_TICKS_AT_REST = 6.5  # of a slow counter
_AFTER_LOAD_S = 0.5  # power falls within the sensor's averaging, clocks stay up for seconds
_LEAST_RISE_W, _LEAST_RISE = 5.0, 0.05
_LEAST_READ = 0.5  # of a wait, before a counter is said to stand still
_MOST_BLUR = 0.5  # of a counter's period
_GAIN = (
    "the sensor is not calibrated: comparisons with external meters found gains off by 5% to 13%, the same "
    "factor in all rows of one card; no interval of a row contains it, those of fitted joules contain 13%"
)


class GpuMeter:
    """One GPU's sensors, ready to meter once `measure_idle` and `start` have run."""

    has_variance = True
    gain_accuracy_pct = nvml.GAIN_ACCURACY_PCT

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
        self._lags_s: Mapping[str, float | None] = {}
        self._idle: dict[str, Baseline] = {}
        self._no_idle = "it was not measured"
        self._idle_mhz: int | None = None
        self.active_idle = Baseline(0.0, 0.0)
        self.opened_s = clock.now()
        self._asked = source
        offered = self._offered = Offered(sensor, clock)
        self._has_counter = offered.has("energy_mj")
        self._power = next(filter(offered.has, POWERS), "")
        self.by_counter = self._has_counter and source != "nvml_power"
        """Whether the counter is the estimator of the rows, and power the second one."""
        if not (self.by_counter or self._power) or (source == "nvml_counter" and not self._has_counter):
            raise offered.no_joules(source)
        others = {name: offered.first(name) for name in OTHERS}
        self._there = {name for name, value in others.items() if value is not None}
        self.limit_w: float = math.inf if others["limit_w"] is None else others["limit_w"]
        self._most_sm_mhz: float | None = others["most_sm_mhz"] if others["sm_mhz"] is not None else None
        self._has_memory, self._has_activity = offered.has("memory_mw"), offered.has("activity")
        self.sampler = self._new_sampler(states=True)

    @classmethod
    def open(cls, source: str, uuid: str, *, beside: Meter | None = None) -> GpuMeter:
        """The meter of the GPU with that UUID.

        Raises:
            UserError: NVML, the driver or the GPU refuses; the message names the remedy.
        """
        sensor = nvml.find(nvml.gpus(nvml.import_pynvml()), uuid)
        return cls(sensor, RealClock(), source, beside=beside)

    def _new_sampler(self, *, states: bool, read_s: float = READ_S) -> Sampler:
        return Sampler(
            self.sensor,
            self.clock,
            counter=self._has_counter,
            power=self._power,
            states=[name for name in STATES if name in self._there] if states else (),
            memory=states and self._has_memory,
            activity=states and self._has_activity,
            read_s=read_s,
        )

    @property
    def source(self) -> str:
        """The `energy_source` of the rows."""
        if self._asked == "auto":
            return "nvml_counter" if self.by_counter else "nvml_power"
        return self._asked

    @property
    def estimator(self) -> str:
        """The reading that joules of the rows come from, in words."""
        return ESTIMATORS[self._reading]

    @property
    def _reading(self) -> str:
        return "energy_mj" if self.by_counter else self._power

    @property
    def instead_of(self) -> str:
        """Why the rows do not come from a better reading; empty where they do, or where it was asked for."""
        best = "instant_mw" if self._asked == "nvml_power" else "energy_mj"
        return self._offered.instead_of(self._reading, best)

    @property
    def refused(self) -> Mapping[str, str]:
        """Readings that this card or driver refuses, in words, and why."""
        return self._offered.not_readable

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

    @property
    def idle(self) -> Baseline | None:
        """Power without a context, by the estimator of the rows; None where it is not known."""
        return self._idle.get(self._reading)

    @property
    def no_idle(self) -> str:
        """Why idle power is not known; empty where it is."""
        if self.idle is not None:
            return ""
        if not self._idle:
            return self._no_idle
        return f"it was read by {ESTIMATORS[next(iter(self._idle))]}, the rows are by {self.estimator}"

    def measure_idle(self) -> None:
        """Measure idle power; call this before there is a CUDA context.

        It is kept by counter and by power, since load may show that rows have to be by the other one.

        Raises:
            UserError: nothing could be read.
        """
        rest = self._rest(
            lambda: wait_for_rest(
                self.sampler,
                self.clock,
                AfterAnyLoad(self._most_sm_mhz),
                by_counter=self.by_counter,
                counter_alone=self._counter_alone,
            )
        )
        self._idle_mhz = clock_at_rest(rest)
        found = {"energy_mj": rest.counter, self._power: rest.power}
        if rest.settled:
            self._idle = {reading: one for reading, one in found.items() if one is not None}
        else:
            self._no_idle = f"the GPU's power did not come to rest in {rest.waited_s:.0f} s"

    def take_idle(self, facts: Mapping[str, Any]) -> None:
        """Idle power as another meter of this GPU found it, by its facts, before something loaded the GPU."""
        self._idle = {reading: Baseline(**fields) for reading, fields in facts["idle"].items()}
        self._no_idle, self._idle_mhz = str(facts.get("idle_unknown", "")), facts.get("idle_clock_mhz")

    def _rest(self, wait: Callable[[], Rest]) -> Rest:
        """What a wait for rest found; a counter that hardly moves gives way to power."""
        rest = wait()
        while rest.of(by_counter=self.by_counter) is None:
            moves = np.count_nonzero(np.diff(rest.readings.energy_mj))
            how = f"moved {moves} times in" if moves else "stood still for"
            at_s = rest.readings.energy_at_s
            read_s = float(np.ptp(at_s)) if len(at_s) else 0.0
            failed = self.by_counter and read_s < _LEAST_READ * rest.waited_s
            if failed or not self._falls(f"it {how} {rest.waited_s:.0f} s at idle"):
                raise _unreadable(rest.readings) if rest.readings.errors else self._still(rest.waited_s)
            if rest.of(by_counter=self.by_counter) is None:
                rest = wait()
        return rest

    @property
    def _counter_alone(self) -> bool:
        """Whether nothing can take the place of a counter that moves too seldom for a window."""
        return self._asked == "nvml_counter" or self._power != "instant_mw"

    def start(self, busy: Busy) -> None:
        """See power rise under load: how fast, in what periods; then measure active idle power after it.

        Args:
            busy: keeps the GPU busy while its context lasts.

        Raises:
            UserError: power does not rise, so another GPU launches; or no reading changes.
        """
        step = self._watch(busy)
        while self.period_s is None and self._falls(f"it stood still for {LONGEST_WATCH_S:g} s under load"):
            step = self._watch(busy)
        if self.period_s is None:
            raise self._still(LONGEST_WATCH_S)
        busy_w = step.drawn_w(by_counter=self.by_counter)
        if busy_w is None:
            raise _unreadable(step.readings)
        self.active_idle = self._after_load()
        self._check_rise(busy_w)

    def _watch(self, busy: Busy) -> LoadStep:
        """Learn periods and lags as load begins, and whether a window can use the counter's ticks."""
        step = watch(
            self._new_sampler(states=False, read_s=READ_FAST_S),
            self.clock,
            busy,
            counter=self._has_counter,
            power=bool(self._power),
            averaging_s=self.averaging_s,
            alone=self._counter_alone,
        )
        self.counter_period_s, self.power_period_s = step.counter_period_s, step.power_period_s
        self._lags_s = step.lags_s
        if self.by_counter and not self._counter_alone and self.power_period_s:
            self._leave_poor_ticks(step)
        return step

    def _leave_poor_ticks(self, step: LoadStep) -> None:
        """Take power where ticks come too seldom for a window, or their instants are hardly known."""
        if step.counter_moved and step.counter_period_s is None:
            why = "its ticks are a second or more apart"
        elif step.counter_period_s and step.read_s > _MOST_BLUR * step.counter_period_s:
            why = f"it can only be read every {1e3 * step.read_s:.0f} ms"
        else:
            return
        self.by_counter = False
        self._offered.leave("energy_mj", why)

    @property
    def lag_s(self) -> float:
        """Seconds that readings still show what ran before, beyond an update: those of the slowest sensor.

        A sensor that never showed the load's power while it was watched is taken for as slow as that.
        """
        periods = {"power": self.power_period_s, "counter": self.counter_period_s}
        slowest = self.averaging_s
        for sensor, seconds in self._lags_s.items():
            if period_s := periods[sensor]:
                slowest = max(slowest, (LONGEST_WATCH_S / 2 if seconds is None else seconds) - period_s)
        return slowest

    def _still(self, seconds: float) -> UserError:
        rule = f"its sensor must move, did not within {seconds:g} s"
        return UserError("--meter", rule, self.source)

    def _falls(self, still: str) -> bool:
        """Take a further reading in place of one that stands still; False where there is none."""
        if self.by_counter:
            if self._asked == "nvml_counter" or not self._power:
                return False
            self.by_counter = False
            self._offered.leave("energy_mj", still)
            return True
        if self._power != "instant_mw" or not self._offered.has("average_mw"):
            return False
        self._power = "average_mw"
        self._offered.leave("instant_mw", still)
        self.sampler = self._new_sampler(states=True)
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
        enough = Patience(_ACTIVE_IDLE_S + self.lag_s, longest_s + self.lag_s)
        rest = self._rest(
            lambda: wait_for_rest(self.sampler, self.clock, lambda *_: enough, by_counter=self.by_counter)
        )
        found = rest.of(by_counter=self.by_counter)
        assert found is not None
        return found

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
            "idle": {reading: attrs.asdict(one) for reading, one in self._idle.items()},
            **({"idle_unknown": self.no_idle} if self.no_idle else {}),
            "idle_clock_mhz": self._idle_mhz,
            "active_idle_power_w": self.active_idle.power_w,
            "active_idle_settled": self.active_idle.settled,
            "further_readings": list(self.extras),
            "reading": f"every {1e3 * READ_S:g} ms in a thread, {100 * self.sampler.cost:.2g}% of a CPU core",
            "gain": _GAIN,
            **({} if self.beside is None else {"beside": dict(self.beside.facts)}),
        }


def _unreadable(found: Readings) -> UserError:
    errors = found.errors
    return errors[0][1].refused() if errors else UserError("--meter", "the GPU's power could not be read")
