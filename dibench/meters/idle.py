"""Waits until a GPU is at rest, and reads what it draws then.

What loaded the GPU a moment ago, another process too, keeps its clocks up for seconds and its power for
longer. So power without load is what had no trend for five seconds with the clock of the multiprocessors
down, for ten where that cannot be read. A clock that is up may still be so from a load, or it rests there, as
it does where it is locked or a screen hangs on the card: if it stayed up for half a minute, it rests there.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from dibench.meters.baseline import Baseline, baseline_since
from dibench.meters.gpu_sensor import Clock
from dibench.meters.sampler import Readings, Sampler

_LOOK_AGAIN_S = 0.25
_IDLE_S, _BLIND_S = 5.0, 10.0  # the clock is down, or it tells nothing
_LEAST_UP_S = 30.0
_LONGEST_S, _LONGEST_UP_S = 20.0, 40.0
_JUST_DOWN_S = 10.0  # power may still fall for so long after the clock
_CLOCK_IS_UP = 0.5  # of the highest clock: a fifth is usual at rest
_SLOW_S = 6.5  # five ticks of a counter that a window can use


@attrs.frozen
class Patience:
    """How long power must have had no trend, and how long that is waited for at least and at most."""

    quiet_s: float
    longest_s: float
    least_s: float = 0.0


@attrs.frozen
class Rest:
    """What a GPU drew at the end of a wait for rest, by each estimator; None where it showed too little."""

    counter: Baseline | None
    power: Baseline | None
    readings: Readings
    waited_s: float

    def of(self, *, by_counter: bool) -> Baseline | None:
        """By the energy counter or by power."""
        return self.counter if by_counter else self.power

    @property
    def settled(self) -> bool:
        """Whether power had no trend."""
        found = self.counter or self.power
        return found is not None and found.settled


def wait_for_rest(
    sampler: Sampler,
    clock: Clock,
    patience: Callable[[Readings, float], Patience],
    *,
    by_counter: bool,
    counter_alone: bool = True,
) -> Rest:
    """Wait until power has had no trend for long enough.

    Args:
        sampler: reads the GPU.
        clock: its own.
        patience: how long is enough, by what was read so far and the time.
        by_counter: whether the energy counter must have shown it, else power.
        counter_alone: whether power cannot take the place of a counter that moves too seldom.
    """
    began_s = clock.now()
    with sampler.watching():
        clock.sleep(patience(sampler.readings(), began_s).quiet_s)
        while True:
            now, readings = clock.now(), sampler.readings()
            enough, waited_s = patience(readings, now), now - began_s
            since_s = max(began_s, now - enough.quiet_s)
            counter, power = (_seen(readings, since_s, began_s, by_counter=each) for each in (True, False))
            rest = Rest(counter, power, readings, waited_s)
            slow = by_counter and counter is None and waited_s >= _SLOW_S and not counter_alone
            there = rest.of(by_counter=by_counter and not slow) is not None
            long_enough = waited_s >= max(enough.quiet_s, enough.least_s)
            if waited_s >= enough.longest_s or (long_enough and there and rest.settled):
                return rest
            clock.sleep(_LOOK_AGAIN_S)


def _seen(readings: Readings, since_s: float, began_s: float, *, by_counter: bool) -> Baseline | None:
    """Power since then; of a slow counter, which has not moved often enough, since the wait began."""
    return baseline_since(readings, since_s, by_counter=by_counter) or baseline_since(
        readings, began_s, by_counter=by_counter
    )


@attrs.frozen
class AfterAnyLoad:
    """The patience of idle power, before which anything may have run."""

    most_mhz: float | None
    """The highest clock of the multiprocessors; None: the clock cannot be read."""

    def __call__(self, readings: Readings, now: float) -> Patience:
        """By the clock."""
        if self.most_mhz is None:
            return Patience(_BLIND_S, _LONGEST_S)
        if self._is_up(readings, now - _IDLE_S):
            return Patience(_BLIND_S, _LONGEST_UP_S, _LEAST_UP_S)
        return Patience(_IDLE_S, _LONGEST_UP_S if self._is_up(readings, now - _JUST_DOWN_S) else _LONGEST_S)

    def _is_up(self, readings: Readings, since_s: float) -> bool:
        clocks = [state.sm_mhz or 0 for state in readings.states if state.at_s >= since_s]
        return self.most_mhz is not None and max(clocks, default=0) > _CLOCK_IS_UP * self.most_mhz


def clock_at_rest(rest: Rest) -> int | None:
    """The last clock of the multiprocessors that was read."""
    clocks = [state.sm_mhz for state in rest.readings.states if state.sm_mhz is not None]
    return clocks[-1] if clocks else None
