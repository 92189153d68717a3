"""A GPU's meter: `nvml_counter`, `nvml_power`, and `simulated` for tests.

Unlike other meters it is not read at the edges of a window: launches run on while a sampler reads, and
`dibench.measure.metering` finds the power between observed updates. This module finds what has to be known
first: the idle baselines, the update periods of counter and power, and whether the metered GPU is the one
that launches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from dibench.errors import UserError
from dibench.intervals import mean_interval
from dibench.meters import nvml
from dibench.meters.base import Meter
from dibench.meters.baseline import Baseline
from dibench.meters.gpu_sensor import NOT_SUPPORTED, Clock, GpuSensor, SensorError
from dibench.meters.sampler import READ_S, RealClock, Sampler
from dibench.meters.ticks import sampled, settled, update_period_s

Busy = Callable[[], AbstractContextManager[None]]

SOURCES = ("nvml_counter", "nvml_power", "simulated")

_BASELINE_S = 2.0
_MOST_BASELINES = 5  # until idle power is at rest: ten seconds
_AFTER_LOAD_S = 0.5  # power falls within the sensor's averaging, clocks stay up for seconds
_LEAST_RISE_W, _LEAST_RISE = 5.0, 0.05
_FAST_READ_S = 1e-3
_LONGEST_WATCH_S = 6.0  # twelve periods of the slowest counter known
_WATCH_S = 1.5
_SAMPLE_S = 0.1
_GAIN = (
    "the sensor is not calibrated: comparisons with external meters found gains off by 5% to 13%, the same "
    "factor in all rows of one card; no interval contains it"
)


class GpuMeter:
    """One GPU's sensors, ready to meter once `measure_idle` and `start` have run."""

    has_variance = True

    def __init__(self, sensor: GpuSensor, clock: Clock, source: str, *, beside: Meter | None = None) -> None:
        """A meter of that GPU; `beside` is a second meter that reads the same windows.

        Raises:
            UserError: the GPU has no energy counter and one is asked for, or nothing may be read.
        """
        self.sensor, self.clock, self.source, self.beside = sensor, clock, source, beside
        self.counter_period_s: float | None = None
        self.power_period_s: float | None = None
        self.idle: Baseline | None = None
        self.idle_settled = False
        self.active_idle = Baseline(0.0, 0.0)
        self.opened_s = clock.now()
        try:
            self._has_counter = self._reads_counter()
            sensor.instant_mw()
            self.limit_w = sensor.limit_w()
        except SensorError as error:
            raise error.refused() from None
        self._has_memory, self._has_activity = _offers(sensor.memory_mw), _offers(sensor.activity)
        self.sampler = Sampler(
            sensor,
            clock,
            counter=self._has_counter,
            memory=self._has_memory,
            activity=self._has_activity,
        )

    @classmethod
    def open(cls, source: str, uuid: str, *, beside: Meter | None = None) -> GpuMeter:
        """The meter of the GPU with that UUID.

        Raises:
            UserError: NVML, the driver or the GPU refuses; the message names the remedy.
        """
        sensor = nvml.find(nvml.gpus(nvml.import_pynvml()), uuid)
        return cls(sensor, RealClock(), source, beside=beside)

    def _reads_counter(self) -> bool:
        """Whether there is a counter to read; it may be missing where it is the second estimator."""
        try:
            self.sensor.energy_mj()
        except SensorError as error:
            if error.code != NOT_SUPPORTED or self.source == "nvml_counter":
                raise
            return False
        return True

    @property
    def by_counter(self) -> bool:
        """Whether the counter is the estimator of the rows, and instant power the second one."""
        return self._has_counter and self.source != "nvml_power"

    @property
    def period_s(self) -> float | None:
        """Update period of the estimator of the rows."""
        return self.counter_period_s if self.by_counter else self.power_period_s

    def measure_idle(self) -> None:
        """Measure idle power; call this before there is a CUDA context.

        A GPU that was asleep until NVML asked, or was busy a moment ago, needs seconds to come to rest, so
        idle power is measured again until it has settled.

        Raises:
            UserError: nothing could be read.
        """
        for _ in range(_MOST_BASELINES):
            self.idle, self.idle_settled = self._baseline()
            if self.idle_settled:
                break

    def start(self, busy: Busy) -> None:
        """Measure active idle power, find the update periods, see power rise under load.

        Args:
            busy: keeps the GPU busy while its context lasts.

        Raises:
            UserError: power does not rise, so another GPU launches; or no reading changes.
        """
        self.active_idle = self.measure_active_idle(busy)
        watch = Sampler(self.sensor, self.clock, counter=self._has_counter, read_s=_FAST_READ_S)
        with busy():
            self.clock.sleep(1.0)
            with watch.watching():
                for _ in range(round(_LONGEST_WATCH_S / _WATCH_S)):
                    self.clock.sleep(_WATCH_S)
                    found = watch.readings()
                    self.power_period_s = update_period_s(found.power_at_s, found.power_w)
                    self.counter_period_s = update_period_s(found.energy_at_s, found.energy_mj)
                    if self.power_period_s and (self.counter_period_s or not self._has_counter):
                        break
        if len(found.power_w) == 0:
            raise _unreadable(found.errors)
        self._check_rise(float(found.power_w[len(found.power_w) // 2 :].mean()))
        if self.period_s is None:
            rule = f"its sensor must move, did not within {_LONGEST_WATCH_S:g} s: use --meter model or none"
            raise UserError("--meter", rule, self.source)

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
        self.clock.sleep(_AFTER_LOAD_S)
        return self._baseline()[0]

    def _baseline(self) -> tuple[Baseline, bool]:
        """Power while nothing runs, and whether it was at rest."""
        with self.sampler.watching():
            self.clock.sleep(_BASELINE_S)
        found = self.sampler.readings()
        if len(found.power_w) < 2:
            raise _unreadable(found.errors)
        samples = sampled(found.power_at_s, found.power_w, _SAMPLE_S)
        mean_w, ci_w = mean_interval(samples.tolist())
        degrees = [state.temperature_c for state in found.states]
        celsius = math.fsum(degrees) / len(degrees) if degrees else None
        return Baseline(mean_w, ci_w or 0.0, celsius), settled(samples)

    @property
    def extras(self) -> tuple[str, ...]:
        """What this card reports beyond what joules need."""
        found = (("power of the memory", self._has_memory), ("GPM metrics", self._has_activity))
        return tuple(name for name, there in found if there)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the manifest records."""
        idle = None if self.idle is None else self.idle.power_w
        return {
            "kind": "sensor: NVML" if self.source != "simulated" else "replayed sensor: test data",
            "gpu": self.sensor.name,
            "uuid": self.sensor.uuid,
            "estimator": "energy counter" if self.by_counter else "instant power",
            "counter_period_s": self.counter_period_s,
            "power_period_s": self.power_period_s,
            "share_of_period_seen": self.sensor.duty,
            "power_limit_w": self.limit_w if math.isfinite(self.limit_w) else None,
            "idle_power_w": idle,
            "idle_settled": self.idle_settled,
            "active_idle_power_w": self.active_idle.power_w,
            "further_readings": list(self.extras),
            "reading": f"every {1e3 * READ_S:g} ms in a thread, {100 * self.sampler.cost:.2g}% of a CPU core",
            "gain": _GAIN,
            **({} if self.beside is None else {"beside": dict(self.beside.facts)}),
        }


def _offers(read: Callable[[], object]) -> bool:
    """Whether the card answers a reading."""
    try:
        read()
    except SensorError:
        return False
    return True


def _unreadable(errors: tuple[tuple[float, SensorError], ...]) -> UserError:
    return errors[0][1].refused() if errors else UserError("--meter", "the GPU's power could not be read")
