"""What a GPU's sensors show as load begins: how often they update, how late they are, and what it draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import attrs
import numpy as np

from dibench.meters.gpu_sensor import Clock
from dibench.meters.sampler import Readings, Sampler
from dibench.meters.ticks import counter_curve, lag_s, power_curve, update_period_s

Busy = Callable[[], AbstractContextManager[None]]

READ_FAST_S = 1e-3
LONGEST_WATCH_S = 6.0  # twelve periods of 0.5 s
_LONGEST_SLOW_WATCH_S = 13.5  # six of 2 s
_LEAST_WATCH_S, _WATCH_S = 3.75, 0.75  # a lag of half of it shows in it, a longer one in more
_BEFORE_LOAD_S, _RISEN_S = 0.1, 0.5
_ASSUMED_PERIOD_S = 0.1


@attrs.frozen
class LoadStep:
    """What is known some seconds after load began."""

    counter_period_s: float | None
    power_period_s: float | None
    lags_s: Mapping[str, float | None]
    """Of `counter` and `power`; None: it had not shown the load's power when it was last looked at."""
    read_s: float
    """Distance of readings, typically."""
    counter_moved: bool
    counter_w: float | None
    """Power of the load in the second half of the time; None where it was not seen."""
    power_w: float | None
    readings: Readings
    complete: bool
    """Whether nothing is left to learn."""

    def drawn_w(self, *, by_counter: bool) -> float | None:
        """Power of the load."""
        return self.counter_w if by_counter and self.counter_w is not None else self.power_w


def watch(
    sampler: Sampler, clock: Clock, busy: Busy, *, counter: bool, power: bool, averaging_s: float, alone: bool
) -> LoadStep:
    """Watch load begin until periods and lags are known, six seconds at most.

    Args:
        sampler: reads fast.
        clock: its own.
        busy: keeps the GPU busy while its context lasts.
        counter: whether there is an energy counter.
        power: whether there is a reading of power.
        averaging_s: seconds that this reading is averaged over; 0 where they are few.
        alone: whether a counter that moves slowly is waited for longer, as nothing can take its place.
    """
    with sampler.watching():
        clock.sleep(_BEFORE_LOAD_S)
        with busy():
            began_s = clock.now()
            clock.sleep(_LEAST_WATCH_S)
            while True:
                now = clock.now()
                step = _learned(sampler.readings(), began_s, now, counter, power, averaging_s)
                slow = step.counter_moved and step.counter_period_s is None
                waits = slow and (alone or step.power_period_s is None)
                longest_s = _LONGEST_SLOW_WATCH_S if waits else LONGEST_WATCH_S
                if step.complete or now - began_s >= longest_s:
                    return step
                clock.sleep(_WATCH_S)


# Wide because each sensor may be there or not.
def _learned(
    found: Readings, began_s: float, now: float, counter: bool, power: bool, averaging_s: float
) -> LoadStep:
    """Periods, lags and watts from what was read since load began."""
    steady = found.power_at_s >= began_s + _RISEN_S
    seen_s = update_period_s(found.power_at_s[steady], found.power_w[steady])
    power_period_s = seen_s
    if power and seen_s is None and len(found.power_w) and np.ptp(found.power_w) > 0:
        power_period_s = _ASSUMED_PERIOD_S  # it rose, and stands still since
    counter_period_s = update_period_s(found.energy_at_s, found.energy_mj)
    lags_s: dict[str, float | None] = {}
    if power_period_s:
        power_period_s = max(power_period_s, averaging_s)  # an average is told more often than it is anew
        after = found.power_at_s >= began_s
        lags_s["power"] = lag_s(
            power_curve(found.power_at_s[after], found.power_w[after], power_period_s), began_s
        )
    if counter_period_s:
        after = found.energy_at_s >= began_s
        lags_s["counter"] = lag_s(counter_curve(found.energy_at_s[after], found.energy_mj[after]), began_s)
    middle_s = (began_s + now) / 2
    late = found.energy_at_s >= middle_s
    counted = counter_curve(found.energy_at_s[late], found.energy_mj[late])
    late = found.power_at_s >= middle_s
    to_know = [*([counter_period_s] if counter else []), *([seen_s] if power else []), *lags_s.values()]
    return LoadStep(
        counter_period_s=counter_period_s,
        power_period_s=power_period_s,
        lags_s=lags_s,
        read_s=float(np.median(np.diff(found.energy_at_s))) if len(found.energy_at_s) > 1 else 0.0,
        counter_moved=len(found.energy_mj) > 0 and bool(np.ptp(found.energy_mj)),
        counter_w=float(np.ptp(counted.joules) / np.ptp(counted.t)) if len(counted.t) > 1 else None,
        power_w=float(found.power_w[late].mean()) if late.any() else None,
        readings=found,
        complete=None not in to_know,
    )
