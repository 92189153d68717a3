"""A GPU's sensor around somebody else's code: what its energy counter, or its power, showed in between.

Nobody knows what that code launches, so nothing is launched here to get to know the sensor: how far apart its
updates are is seen in the span itself, read every 20 ms in the background. Each edge reads what the last
update showed, so the interval holds the longest distance between updates at each edge, at the mean power of
the span. Where the sensor sees a part of each period only (25 of 100 ms on Hopper), what it missed may differ
from what it saw as one update differs from the others.

A sensor that also lags, as some do by 0.3 s and more, shows what was before the span instead of its end. That
is not seen here, and matters less the longer the span is.
"""

from __future__ import annotations

import math
import threading

import attrs

from dibench import intervals
from dibench.meters import nvml
from dibench.meters.gpu_sensor import Clock, GpuSensor, SensorError
from dibench.meters.offered import ESTIMATORS, POWERS, Offered
from dibench.meters.sampler import RealClock
from dibench.meters.spans import FEWEST_UPDATES, Metered, WhileOpen, metered, too_short
from dibench.numbers import short

_READ_S = 0.02
_TRIES = 3
_AVERAGE_S = 1.0  # of the reading that is no instant power
_LONGEST_GAP_S = 1.0  # between readings that are to tell power
_MOST = 2.0  # times the power limit: more is no energy


@attrs.define(eq=False)
class _Span:
    """An open span: what has been seen in it, in as much memory whether it lasts seconds or days."""

    begin_s: float
    joules: float
    """So far at its begin: the counter's, or power integrated."""
    updated_s: float
    why_not: str = ""
    updates: int = 0
    longest_s: float = 0.0
    """Between updates, and between them and the edges."""
    steps: int = 0
    mean_j: float = 0.0
    squares: float = 0.0
    """Sum of squared differences from the mean (Welford 1962)."""

    def update(self, at_s: float, step_j: float) -> None:
        """The sensor shows something new; the first step began before the span."""
        self.updates += 1
        self.longest_s = max(self.longest_s, at_s - self.updated_s)
        self.updated_s = at_s
        if self.updates > 1:
            self.steps += 1
            off = step_j - self.mean_j
            self.mean_j += off / self.steps
            self.squares += off * (step_j - self.mean_j)


class GpuSpans:
    """One GPU's energy in spans."""

    def __init__(self, sensor: GpuSensor, clock: Clock, asked: str = "auto") -> None:
        """Spans of that GPU.

        Args:
            sensor: of the GPU.
            clock: gives readings their time.
            asked: `nvml_counter`, `nvml_power`, or `auto`: the counter where there is one, else power.

        Raises:
            UserError: what is asked for may not be read; the message names the remedy.
        """
        offered = Offered(sensor, clock)
        has_counter, powers = offered.has("energy_mj"), list(filter(offered.has, POWERS))
        self._by_counter = has_counter and asked != "nvml_power"
        if not (self._by_counter or powers) or (asked == "nvml_counter" and not has_counter):
            raise offered.no_joules(asked)
        self._name = "energy_mj" if self._by_counter else powers[0]
        self._sensor, self._clock = sensor, clock
        self._most_w = _MOST * float(offered.first("limit_w") or math.inf)
        self._lock = threading.Lock()
        self._open: list[_Span] = []
        self._seen_s, self._shown, self._joules, self._updated_s = -math.inf, 0.0, 0.0, 0.0
        self._background = WhileOpen(clock, _READ_S, self._watch)

    @classmethod
    def open(cls, uuid: str, asked: str) -> GpuSpans:
        """Spans of the GPU with that UUID.

        Raises:
            UserError: NVML, the driver or the GPU refuses; the message names the remedy.
        """
        return cls(nvml.find(nvml.gpus(nvml.import_pynvml()), uuid), RealClock(), asked)

    @property
    def source(self) -> str:
        """`nvml_counter` or `nvml_power`."""
        return "nvml_counter" if self._by_counter else "nvml_power"

    def begin(self) -> _Span:
        """What the sensor shows now."""
        self._background.enter()
        why_not = self._edge()
        with self._lock:
            now_s = self._clock.now()
            span = _Span(now_s, self._joules, now_s, why_not)
            self._open.append(span)
            return span

    def end(self, mark: _Span) -> Metered:
        """The joules since."""
        now_s = self._clock.now()
        why_not = self._edge()
        with self._lock:
            self._open.remove(mark)
            energy_j = self._joules - mark.joules
        self._background.leave()
        seconds = now_s - mark.begin_s
        if why := mark.why_not or why_not:
            return Metered(seconds, reason=why)
        if mark.updates < FEWEST_UPDATES:
            moved = "updated once" if mark.updates else "not updated"
            return too_short(seconds, f"{self._what} was {moved} in it")
        if not 0 < energy_j <= self._most_w * seconds:
            return Metered(seconds, reason=f"{self._what} showed {energy_j:.4g} J in {short(seconds, 's')}")
        longest_s = max(mark.longest_s, now_s - mark.updated_s)
        if self._name == "average_mw":
            longest_s = max(longest_s, _AVERAGE_S)
        edges_j = 2 * longest_s * energy_j / seconds
        return metered(seconds, energy_j, math.hypot(edges_j, self._unseen_j(mark)))

    def close(self) -> None:
        """End reading in the background."""
        self._background.close()

    @property
    def _what(self) -> str:
        return f"the GPU's {ESTIMATORS[self._name]}"

    def _unseen_j(self, span: _Span) -> float:
        """What the part of each period that the sensor does not see may hold."""
        n = span.steps
        if self._sensor.duty >= 1 or self._name == "average_mw" or n < 2:
            return 0.0
        return intervals.t_975(n - 1) * math.sqrt(n * span.squares / (n - 1))

    def _edge(self) -> str:
        """Read, and again if that fails; the reason if it fails for good."""
        why = ""
        for _ in range(_TRIES):
            try:
                self._read()
                return ""
            except SensorError as error:
                why = f"NVML: {error}"
        return why

    def _watch(self) -> None:
        try:
            self._read()
        except SensorError:
            return  # a gap, which is told if it lasts

    def _read(self) -> None:
        raw, now_s = getattr(self._sensor, self._name)(), self._clock.now()
        with self._lock:
            if now_s > self._seen_s:  # else another thread's reading is newer
                self._take(raw * 1e-3, now_s)

    def _take(self, shown: float, now_s: float) -> None:
        """A reading: joules of the counter, or watts, which count from the reading before."""
        before_s, before = self._seen_s, self._shown
        self._seen_s, self._shown = now_s, shown
        if math.isinf(before_s):
            self._joules, self._updated_s = shown if self._by_counter else 0.0, now_s
            return
        if self._by_counter:
            self._joules = shown
            if shown < before:
                self._spoil(f"{self._what} went back from {before:.0f} to {shown:.0f} J: a reset?")
        else:
            self._joules += (shown + before) / 2 * (now_s - before_s)
            if now_s - before_s > _LONGEST_GAP_S:
                self._spoil(f"{self._what} could not be read for {short(now_s - before_s, 's')}")
        if shown != before:
            step_j = shown - before if self._by_counter else before * (now_s - self._updated_s)
            self._updated_s = now_s
            for span in self._open:
                span.update(now_s, step_j)

    def _spoil(self, why: str) -> None:
        for span in self._open:
            span.why_not = span.why_not or why
