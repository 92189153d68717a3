"""Which readings a GPU offers: each may be refused for itself, and what may pass is asked for again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dibench.errors import UserError
from dibench.meters.gpu_sensor import NO_DATA, Clock, GpuSensor, SensorError

ESTIMATORS = {
    "energy_mj": "energy counter",
    "instant_mw": "instant power",
    "average_mw": "power averaged over one second",
}
"""The readings that give joules, best first."""

POWERS = ("instant_mw", "average_mw")

OTHERS = {
    "limit_w": "power limit",
    "temperature_c": "temperature",
    "sm_mhz": "clock of the multiprocessors",
    "most_sm_mhz": "their highest clock",
    "memory_mhz": "clock of the memory",
    "clock_events": "clock events",
    "processes": "process list",
}
"""Readings that joules do not need."""

_NAMES = ESTIMATORS | OTHERS
_TRIES, _BETWEEN_TRIES_S = 5, 0.1  # of a reading that is refused with what may pass


class Offered:
    """What one GPU offers, and why not the rest."""

    def __init__(self, sensor: GpuSensor, clock: Clock) -> None:
        self._sensor, self._clock = sensor, clock
        self._why_not: dict[str, SensorError | str] = {}

    def has(self, reading: str) -> bool:
        """Whether it can be read now."""
        return self.first(reading) is not None

    def first(self, reading: str) -> Any:
        """A first value; None where the card refuses the reading.

        Raises:
            UserError: the GPU is lost.
        """
        for left in reversed(range(_TRIES)):
            try:
                value = getattr(self._sensor, reading)()
                if value == 0 and reading in POWERS:  # no GPU draws nothing
                    raise SensorError(NO_DATA, reading)
                self._why_not.pop(reading, None)
                return value
            except SensorError as error:
                if error.lost:
                    raise error.refused() from None
                self._why_not[reading] = error
                if not error.passing:
                    break
            if left:
                self._clock.sleep(_BETWEEN_TRIES_S)
        return None

    def leave(self, reading: str, why: str) -> None:
        """Do not use a reading that is there."""
        self._why_not[reading] = why

    @property
    def not_readable(self) -> Mapping[str, str]:
        """Readings that are refused, in words, and why."""
        return {what: str(self._why_not[name]) for name, what in _NAMES.items() if name in self._why_not}

    def instead_of(self, reading: str, best: str) -> str:
        """Why joules come from this reading and none from `best` on; empty where it is the best."""
        names = list(ESTIMATORS)
        better = names[names.index(best) : names.index(reading)]
        return "; ".join(f"{ESTIMATORS[name]}: {self._why_not[name]}" for name in better)

    def no_joules(self, asked: str) -> UserError:
        """Why what is asked for cannot be read, and what can."""
        if asked == "nvml_counter":
            instead = "" if set(POWERS) <= set(self._why_not) else "; --meter nvml_power works here"
            return UserError("NVML energy counter", f"{self._why_not['energy_mj']}{instead}")
        counter = "energy_mj" not in self._why_not
        tried = POWERS if asked == "nvml_power" else tuple(ESTIMATORS)
        reasons: dict[str, list[str]] = {}
        for reading in tried:
            reasons.setdefault(str(self._why_not[reading]), []).append(ESTIMATORS[reading])
        instead = "; --meter nvml_counter works here" if counter else ""
        return UserError("NVML " + "; ".join(map(_and, reasons.values())), "; ".join(reasons) + instead)


def _and(words: list[str]) -> str:
    """Words joined as one says them."""
    return ", ".join(words[:-1]) + (" and " if words[1:] else "") + words[-1]
