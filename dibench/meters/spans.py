"""What a meter reads around somebody else's code: a span begins and ends when that code says so.

Windows of our own are long, equal and repeated. A span is what it is: perhaps shorter than the sensor's
updates, perhaps hours, inside or across another one. So its joules come with the interval that the sensor's
updates leave at both edges, or with the reason why there are none. Joules are those of the whole device while
the span lasted, whoever spent them.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable
from typing import Any, Protocol

import attrs

from dibench.meters.gpu_sensor import Clock
from dibench.numbers import percent, short

FEWEST_UPDATES = 2
"""A span shorter than so many updates of its sensor has no joules."""
_ROUGH = 0.1  # of the energy: a wider interval is told
_AIM = 0.05


@attrs.frozen
class Metered:
    """One span: its seconds, and its joules with the half-width of their interval."""

    time_s: float
    energy_j: float | None = None
    energy_ci_j: float | None = None
    reason: str = ""
    """Why there are no joules, or why they are known only roughly."""


class SpanMeter(Protocol):
    """Reads spans, which may overlap, from any thread."""

    @property
    def source(self) -> str:
        """One of `dibench.schema.ENERGY_SOURCES`."""

    def begin(self) -> Any:
        """A span begins; what is returned goes to `end`."""

    def end(self, mark: Any) -> Metered:
        """It ends."""

    def close(self) -> None:
        """Nothing is read any more."""


class NoSpans:
    """Seconds only, and why there are no joules."""

    source = "none"

    def __init__(self, why: str, clock: Clock) -> None:
        self._why, self._clock = why, clock

    def begin(self) -> float:
        """The time."""
        return self._clock.now()

    def end(self, mark: float) -> Metered:
        """The seconds since."""
        return Metered(self._clock.now() - mark, reason=self._why)

    def close(self) -> None:
        """Nothing was open."""


class WhileOpen:
    """Does something every so often while at least one span is open."""

    def __init__(self, clock: Clock, period_s: float, do: Callable[[], object]) -> None:
        self._clock, self._period_s, self._read = clock, period_s, do
        self._lock, self._open = threading.Lock(), 0
        self._running = contextlib.ExitStack()

    def enter(self) -> None:
        """One more span is open."""
        with self._lock:
            self._open += 1
            if self._open == 1:
                self._running.enter_context(self._clock.every(self._period_s, self._do))

    def _do(self) -> None:
        self._read()

    def leave(self) -> bool:
        """One less; returns whether it was the last."""
        with self._lock:
            self._open -= 1
            if not self._open:
                self._running.close()
            return not self._open

    def close(self) -> None:
        """End it, whatever is open."""
        with self._lock:
            self._running.close()


def metered(time_s: float, energy_j: float, ci_j: float) -> Metered:
    """A span with joules; where they are known only roughly, it says so and what would help."""
    if ci_j <= _ROUGH * energy_j:
        return Metered(time_s, energy_j, ci_j)
    repeats = math.ceil(ci_j / (_AIM * energy_j))
    reason = (
        f"{short(time_s, 's')} is short for this sensor: joules are known to ±{percent(ci_j / energy_j)}, "
        f"of {repeats} repeats in one block to ±{percent(_AIM, 0)}"
    )
    return Metered(time_s, energy_j, ci_j, reason)


def too_short(time_s: float, updates: str) -> Metered:
    """A span in which the sensor did not update often enough to say anything."""
    return Metered(time_s, reason=f"{short(time_s, 's')} is too short: {updates}; repeat it in one block")
