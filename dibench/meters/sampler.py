"""Reads a GPU's sensors in the background while launches run, without holding them up.

A thread reads counter and power every 5 ms; temperature, clocks, clock events and the memory's power
every 100 ms; and the activity of the chip's units every 500 ms. It calls only NVML, so it takes no lock that
launching needs. The cost of reading is measured (`Sampler.cost`) and stands in the facts.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import attrs
import numpy as np

from dibench.background import in_background
from dibench.meters.gpu_sensor import Clock, GpuSensor, SensorError
from dibench.meters.ticks import Floats

READ_S = 5e-3
_STATE_EVERY = 20  # readings
_ACTIVITY_EVERY = 100
_MEMORY_AVERAGE_S = 1.0


class RealClock:
    """The monotonic clock of this machine, and threads for work at regular times."""

    def now(self) -> float:
        """Seconds since some instant."""
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    @contextlib.contextmanager
    def every(self, period_s: float, do: Callable[[], None]) -> Iterator[None]:
        """Do something every `period_s` in a thread until the context ends; late calls are skipped."""
        failures: list[Exception] = []

        def work(stop: threading.Event) -> None:
            due = time.perf_counter()
            try:
                while not stop.is_set():
                    do()
                    due = max(due + period_s, time.perf_counter())
                    stop.wait(due - time.perf_counter())
            except Exception as failure:  # raised when the context ends
                failures.append(failure)

        with in_background("sampler", work):
            yield
        if failures:
            raise failures[0]


@attrs.frozen
class State:
    """A GPU's state at one time."""

    at_s: float
    temperature_c: float | None = None
    sm_mhz: int | None = None
    memory_mhz: int | None = None
    clock_events: int | None = None


STATES = ("temperature_c", "sm_mhz", "memory_mhz", "clock_events")
"""The readings of a state. Joules do not need them, and each may be refused for itself."""


@attrs.frozen
class Mean:
    """Averages that the card itself reported, by column of the table."""

    begin_s: float
    end_s: float
    values: Mapping[str, float]


@attrs.frozen
class Readings:
    """All that a sampler read."""

    energy_at_s: Floats
    energy_mj: Floats
    power_at_s: Floats
    power_w: Floats
    states: tuple[State, ...]
    means: tuple[Mean, ...]
    errors: tuple[tuple[float, SensorError], ...]
    """Readings that failed, and when."""

    def counters(self, begin_s: float, end_s: float) -> dict[str, float]:
        """Means, by column, of the averages that lie wholly within a window."""
        sums: dict[str, tuple[float, float]] = {}
        for mean in self.means:
            if begin_s <= mean.begin_s and mean.end_s <= end_s:
                seconds = mean.end_s - mean.begin_s
                for name, value in mean.values.items():
                    total, weight = sums.get(name, (0.0, 0.0))
                    sums[name] = total + seconds * value, weight + seconds
        return {name: total / weight for name, (total, weight) in sums.items() if weight > 0}


class Sampler:
    """Readings of one GPU, taken in the background."""

    # Wide because each reading may be there or not.
    def __init__(
        self,
        sensor: GpuSensor,
        clock: Clock,
        *,
        counter: bool,
        power: str = "instant_mw",
        states: Collection[str] = STATES,
        memory: bool = False,
        activity: bool = False,
        read_s: float = READ_S,
    ) -> None:
        """A sampler that does not read yet.

        Args:
            sensor: what is read.
            clock: gives readings their time.
            counter: whether there is an energy counter to read.
            power: the reading of power, `instant_mw` or `average_mw`; empty where there is none.
            states: of STATES those that are there to read.
            memory: whether the memory's power is to be read.
            activity: whether the activity of the chip's units is to be read.
            read_s: seconds between readings of counter and power.
        """
        self._sensor, self._clock, self._counter, self._read_s = sensor, clock, counter, read_s
        self._power, self._state_readings = getattr(sensor, power) if power else None, states
        self._memory, self._activity = memory, activity
        self._cost_s, self._rounds = 0.0, 0
        self._clear()

    def _clear(self) -> None:
        self._energies: list[tuple[float, int]] = []
        self._powers: list[tuple[float, int]] = []
        self._states: list[State] = []
        self._means: list[Mean] = []
        self._looked_at_s: float | None = None
        self._errors: list[tuple[float, SensorError]] = []

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Read until the context ends; forgets earlier readings."""
        self._clear()
        with self._clock.every(self._read_s, self._read):
            yield

    def _read(self) -> None:
        begin = self._clock.now()
        try:
            if self._counter:
                energy_mj = self._sensor.energy_mj()
                self._energies.append((self._clock.now(), energy_mj))
            if self._power is not None:
                power_mw = self._power()
                self._powers.append((self._clock.now(), power_mw))
            if self._rounds % _STATE_EVERY == 0:
                self._states.append(self._state())
            self._read_means()
        except SensorError as error:
            self._errors.append((self._clock.now(), error))
        self._rounds += 1
        self._cost_s += self._clock.now() - begin

    def _read_means(self) -> None:
        if self._memory and self._rounds % _STATE_EVERY == 0:
            self._read_mean(self._memory_power)
        if self._activity and self._rounds % _ACTIVITY_EVERY == 0:
            self._read_mean(self._since_last_look)

    def _read_mean(self, read: Callable[[], Mean | None]) -> None:
        """Read what joules do not need; a failure leaves cells empty and flags no row."""
        try:
            if mean := read():
                self._means.append(mean)
        except SensorError as error:
            if error.lost:
                raise

    def _memory_power(self) -> Mean:
        watts, now = 1e-3 * self._sensor.memory_mw(), self._clock.now()
        return Mean(now - _MEMORY_AVERAGE_S, now, {"memory_power_w": watts})

    def _since_last_look(self) -> Mean | None:
        before, self._looked_at_s = self._looked_at_s, None
        found, now = self._sensor.activity(), self._clock.now()
        self._looked_at_s = now
        return None if before is None else Mean(before, now, found)

    def _state(self) -> State:
        return State(self._clock.now(), **{name: self._state_reading(name) for name in self._state_readings})

    def _state_reading(self, name: str) -> Any:
        """What joules do not need: a failure leaves this cell empty and flags no row."""
        try:
            return getattr(self._sensor, name)()
        except SensorError as error:
            if error.lost:
                raise
            return None

    def readings(self) -> Readings:
        """All readings so far; may be called while the sampler reads."""
        energies, powers = list(self._energies), list(self._powers)
        return Readings(
            energy_at_s=np.array([at for at, _ in energies]),
            energy_mj=np.array([mj for _, mj in energies], dtype=np.float64),
            power_at_s=np.array([at for at, _ in powers]),
            power_w=np.array([mw * 1e-3 for _, mw in powers]),
            states=tuple(self._states),
            means=tuple(self._means),
            errors=tuple(self._errors),
        )

    @property
    def cost(self) -> float:
        """The measured share of one CPU core that reading takes."""
        return self._cost_s / (self._rounds * self._read_s) if self._rounds else 0.0
