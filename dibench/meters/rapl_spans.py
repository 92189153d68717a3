"""RAPL around somebody else's code: the counters of all zones followed from edge to edge.

Each edge reads a counter that is up to one update old. The two errors do not cancel where the machine draws
something else before the span than at its end. So the interval holds one update at each edge at the mean
power of the span, which also covers an edge at twice that power.

A counter wraps after some 65 to 262 kJ, at the load of a server after minutes. So while a span is open, the
counters are read every few seconds, and what passed between two readings adds up.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import attrs

from dibench.errors import UserError
from dibench.meters.gpu_sensor import Clock
from dibench.meters.rapl import RaplMeter, Zone
from dibench.meters.spans import FEWEST_UPDATES, Metered, WhileOpen, metered, too_short
from dibench.numbers import short

_READ_S = 5.0  # no zone draws its range in that time


@attrs.frozen
class _Mark:
    """All counters at one edge."""

    at_s: float
    shown_uj: Sequence[int | None]
    joules: Sequence[float]
    """Of each zone since the meter was opened."""
    mishaps: int
    """How many there had been."""
    why_not: str
    """Why a counter could not be read."""


class RaplSpans:
    """Package and DRAM energy of spans."""

    source = "rapl"

    def __init__(self, meter: RaplMeter, clock: Clock) -> None:
        """Spans of a meter that is open."""
        self._zones, self._period_s, self._clock = meter.zones, meter.period_s, clock
        self._lock = threading.Lock()
        self._seen: dict[Zone, tuple[float, int]] = {}
        self._joules = dict.fromkeys(self._zones, 0.0)
        self._mishaps: list[str] = []
        self._background = WhileOpen(clock, _READ_S, self._read)

    def begin(self) -> _Mark:
        """The counters as they stand."""
        self._background.enter()
        mark = self._read()
        return attrs.evolve(mark, at_s=self._clock.now())

    def end(self, mark: _Mark) -> Metered:
        """The joules since, of each counter once."""
        now_s = self._clock.now()
        end = attrs.evolve(self._read(), at_s=now_s)
        self._background.leave()
        seconds, period_s = end.at_s - mark.at_s, self._period_s
        mishaps = [mark.why_not, *self._mishaps[mark.mishaps : end.mishaps], end.why_not]
        if why := "; ".join(dict.fromkeys(filter(None, mishaps))):
            return Metered(seconds, reason=why)
        if seconds < FEWEST_UPDATES * period_s:
            return too_short(seconds, f"the processor's counters update every {short(period_s, 's')}")
        # Zones that show the same numbers at both edges are one counter, as in `RaplMeter.window`.
        edges = zip(mark.shown_uj, end.shown_uj, strict=True)
        once = dict(zip(edges, range(len(self._zones)), strict=True)).values()
        each = {self._zones[z].name: end.joules[z] - mark.joules[z] for z in once}
        if still := [name for name, joules in each.items() if joules <= 0]:
            return Metered(seconds, reason=f"{', '.join(still)} did not change in {short(seconds, 's')}")
        energy_j = sum(each.values())
        return metered(seconds, energy_j, 2 * period_s * energy_j / seconds)

    def close(self) -> None:
        """End reading in the background."""
        self._background.close()

    def _read(self) -> _Mark:
        """Add what passed since the last reading.

        What is wrong with that counts against the spans that were open meanwhile; a counter that cannot be
        read now, also against one that begins.
        """
        with self._lock:
            errors: list[str] = []
            for zone in self._zones:
                try:
                    self._follow(zone, zone.read_uj(), self._clock.now())
                except UserError as error:
                    errors.append(str(error))
            self._mishaps += errors
            shown = [self._seen[zone][1] if zone in self._seen else None for zone in self._zones]
            joules, why_not = list(self._joules.values()), "; ".join(errors)
            return _Mark(self._clock.now(), shown, joules, len(self._mishaps), why_not)

    def _follow(self, zone: Zone, now_uj: int, now_s: float) -> None:
        before_s, before_uj = self._seen.get(zone, (now_s, now_uj))
        if zone in self._seen and now_uj == before_uj:
            return  # the next update counts from when this one came
        self._seen[zone] = now_s, now_uj
        if now_uj == before_uj:
            return
        joules = zone.joules(before_uj, now_uj, now_s - before_s + 2 * self._period_s)
        if isinstance(joules, str):
            self._mishaps.append(joules)
        else:
            self._joules[zone] += joules
