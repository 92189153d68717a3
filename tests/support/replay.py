"""What a replayed GPU is made of: kinds of card, loads of known joules, failures on demand, a clock."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Protocol

import attrs

REFERENCE_C = 60.0
POWER_EXPONENT = 2.5
"""Power ~ f·V², and voltage follows the clock."""


@attrs.frozen
class Card:
    """A kind of GPU: its sensors and how its power behaves."""

    name: str = "Replayed Hopper"
    counter_s: float | None = 0.1
    """Seconds between ticks of the energy counter; None before Volta."""
    power_s: float = 0.1
    averaging_s: float = 0.025
    """Seconds before each update (tick) that the sensor really sees."""
    idle_w: float = 80.0
    active_idle_w: float = 120.0
    filler_w: float = 480.0
    limit_w: float = 700.0
    counter_gain: float = 1.0
    """What the energy counter shows over the truth; instant power shows the truth."""
    counter_averaging_s: float | None = None
    """Seconds that its power is averaged over; None: the share of its period that the sensor sees."""
    counter_lag_s: float = 0.0
    """The counter shows what was so long ago; `power_lag_s` likewise."""
    power_lag_s: float = 0.0
    jitter_s: float = 0.0
    """Updates happen up to so much early or late."""
    late_s: float = 0.0
    """Updates are shown up to so much later than they happened."""
    catches_up: int = 1
    """Every so many ticks the counter shows all energy; between them half of what came since."""
    call_s: float = 0.0
    """What a call of NVML takes."""
    slow_calls: float = 0.0
    """Share of calls that take 60 ms."""
    step_w: float = 1e-3
    """Smallest step of power."""
    step_j: float = 1e-3
    """Smallest step of the counter."""
    ripple: float = 0.01
    """Standard deviation of 100 ms of power, relative."""
    rho: float = 0.3
    between: float = 0.003
    """Standard deviation of what differs from one visit to the next, relative."""
    leakage_per_c: float = 0.002
    overshoot: float = 0.05
    """Amplitude of the clock's oscillation after load starts from nothing, relative."""
    ambient_c: float = 30.0
    c_per_w: float = 0.06
    thermal_s: float = 25.0
    clock_mhz: int = 1980
    idle_mhz: int = 345
    memory_mhz: int = 2619
    memory_w: float | None = 100.0
    """What its memory draws at full bandwidth, a third of it at rest; None where that is not metered."""
    gpm: bool = True
    """Whether it tells what its units do."""


HOPPER = Card()
UNKIND = attrs.evolve(
    HOPPER,
    counter_gain=1.03,
    counter_lag_s=0.3,
    jitter_s=0.01,
    late_s=0.02,
    call_s=3e-3,
    slow_calls=0.02,
    step_w=1.0,
)
"""As sensors on real machines may be, all at once."""
AMPERE = Card(
    name="Replayed Ampere",
    averaging_s=0.1,
    limit_w=400.0,
    filler_w=280.0,
    idle_w=50.0,
    active_idle_w=75.0,
    memory_w=None,
    gpm=False,
)
DESKTOP = attrs.evolve(AMPERE, name="Replayed desktop card", counter_s=0.5)
VOLTA = attrs.evolve(
    AMPERE, name="Replayed Volta", power_s=0.02, averaging_s=0.01, counter_s=0.02, limit_w=300.0
)
PASCAL = attrs.evolve(VOLTA, name="Replayed Pascal", counter_s=None)


@attrs.frozen
class Load:
    """What runs: launches of one kernel back to back."""

    power_w: float
    """At 60 °C and full clock."""
    launch_s: float = 1e-3
    contrast: float = 0.0
    """The first half of a launch draws 1 + contrast times the mean, the second half 1 − contrast times."""
    dram_bandwidth_pct: float = 0.0
    fp32_pct: float = 0.0
    tensor_pct: float = 0.0
    occupancy_pct: float = 0.0

    def slowdown(self, card: Card) -> float:
        """How much longer a launch takes under the card's power limit; 1 below it."""
        return float(max(1.0, (self.power_w / card.limit_w) ** (1 / POWER_EXPONENT)))

    def joules(self, card: Card) -> float:
        """The truth: joules of one launch at 60 °C, clocks settled."""
        return min(self.power_w, card.limit_w) * self.launch_s * self.slowdown(card)


@attrs.frozen
class Fault:
    """Readings fail with an NVML code for a time; with LOST for good, and launches too."""

    code: int
    begin_s: float = 0.0
    end_s: float = math.inf
    reading: str = ""
    """Which one, such as `energy_mj`; empty: all."""


@attrs.frozen
class Process:
    """Somebody else's context on the GPU, and what it draws."""

    pid: int
    name: str
    power_w: float = 0.0
    begin_s: float = 0.0
    end_s: float = math.inf


class Lives(Protocol):
    """Something for which time passes."""

    def extend(self, end: float) -> None:
        """Go on as now until `end`."""


class ReplayedClock:
    """Time that passes only when a launch, a sleep or a replayed wait says so."""

    def __init__(self) -> None:
        self._now = 0.0
        self._gpus: list[Lives] = []
        self._timers: dict[object, tuple[float, float, Callable[[], None]]] = {}
        self._doing, self._spent = False, 0.0

    def now(self) -> float:
        """Seconds since the replay began."""
        return self._now + self._spent

    def spend(self, seconds: float) -> None:
        """Let a call take time: that of what is done every so often, beside which launches run on, or all."""
        if self._doing:
            self._spent += seconds
        else:
            self.sleep(seconds)

    def sleep(self, seconds: float) -> None:
        """Let time pass on all GPUs; what was asked to be done every so often is done meanwhile."""
        end = self._now + seconds
        for gpu in self._gpus:
            gpu.extend(end)
        while self._timers:
            key = min(self._timers, key=lambda timer: self._timers[timer][0])
            due, period_s, do = self._timers[key]
            if due > end:
                break
            self._now = max(self._now, due)
            self._doing = True
            try:
                do()
            finally:
                self._timers[key] = max(due + period_s, self.now()), period_s, do
                self._doing, self._spent = False, 0.0
        self._now = end

    @contextlib.contextmanager
    def every(self, period_s: float, do: Callable[[], None]) -> Iterator[None]:
        """Do something every `period_s` of replayed time until the context ends."""
        key = object()
        self._timers[key] = self._now, period_s, do
        try:
            yield
        finally:
            del self._timers[key]

    def attach(self, gpu: Lives) -> None:
        """Let this GPU's time pass too."""
        self._gpus.append(gpu)
