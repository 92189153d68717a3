"""How long a plan will take, from documented or better from measured rates; how long its next case."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Mapping

import attrs

from dibench.kernels import Variant, library, registry
from dibench.measure.settings import Settings
from dibench.plan import Case, Plan

RATES = {"fast": 20e9, "fast depthwise": 5e9, "fast fc": 5e9, "none": 2e9, "reuse": 0.5e9}
"""Multiply-adds a second of one core, rounded down from a 2.x GHz server core with AVX2: vectors keep
`fast` busy, memory bounds depthwise and fully-connected layers, and reuse kernels execute every access
(small boxes reach half of this, large ones three times as much)."""

CASE_S = 0.1
"""Seconds that a case takes beside warm-up and windows: operands, trial launches, one row."""

WINDOWS = 20
"""Windows of a case, mostly 16 and sometimes 32 before the interval is small enough."""

VISIT_S = 4.5
"""Seconds of a visit to a metered GPU, including settling, preparing and a share of the baselines."""

_ANCHOR_S = 2e-3
_NOT_IN_VISITS = ("model", "none", "zeus")
"""Meters with which a GPU is measured in short windows, as a CPU is."""
_GPU_RATE = 1e12
"""Multiply-adds a second that the reuse kernels of a large GPU reach at least."""
_FEWEST_LAUNCHES = 3  # however slow: warm-up, trial, one window


def rate_of(variant: Variant, op: str, rates: Mapping[str, float] | None = None) -> float:
    """Multiply-adds a second of a variant on one core; `rates` are measured ones by variant name."""
    if rates and variant.name in rates:
        return rates[variant.name]
    if variant.fast:
        return RATES.get(f"fast {op}", RATES["fast"])
    return RATES["none" if variant.stationarity == "none" else "reuse"]


def visits_s(cases: Iterable[Case]) -> float:
    """Seconds that the visits of a metered GPU will take, whatever the cases are."""
    return VISIT_S * sum(case.visits for case in cases)


def expected_s(
    cases: Iterable[Case],
    registry: Mapping[str, Variant],
    settings: Settings,
    *,
    threads: int = 1,
    rates: Mapping[str, float] | None = None,
) -> float:
    """Seconds that measuring the cases in windows will take.

    The sum over cases of CASE_S + warm-up + WINDOWS windows, a window being the least one of the settings
    or one launch of M·instances / (rate·threads) seconds, whichever is longer; a case ends with its budget.

    Args:
        cases: of a plan.
        registry: kernel variants by name.
        settings: of measuring; their window, warm-up and budget count.
        threads: cores that a launch uses.
        rates: measured multiply-adds a second of one core by variant name, where known.
    """
    seconds = 0.0
    for case in cases:
        if case.anchor:
            launch = _ANCHOR_S
        else:
            rate = rate_of(registry[case.variant], case.layer.op, rates) * threads
            launch = case.layer.macs * case.instances / rate
        windows = settings.warm_up_s + WINDOWS * max(settings.window_s, launch)
        seconds += CASE_S + max(_FEWEST_LAUNCHES * launch, min(settings.case_budget_s, windows))
    return seconds


@attrs.frozen
class Expected:
    """How long a plan will take on this machine."""

    seconds: float
    cores: int = 0
    """That run the kernels; 0 where a GPU does."""
    visits: int = 0
    """To a metered GPU; 0 where windows are measured."""
    unmetered_s: float = 0.0
    """Without a meter, where there are visits."""


def expected(plan: Plan, registry: Mapping[str, Variant], settings: Settings, meter: str) -> Expected:
    """How long a plan of layers will take with that meter, from documented rates."""
    cores = len(os.sched_getaffinity(0))
    if plan.backend == "cpu" or library.ONEDNN.name in registry:
        return Expected(expected_s(plan.cases, registry, settings, threads=cores), cores)
    # A GPU is so much faster than a core that overhead and windows make up the time.
    rates = dict.fromkeys(registry, _GPU_RATE)
    unmetered_s = expected_s(plan.cases, registry, settings, rates=rates)
    if meter in _NOT_IN_VISITS:
        return Expected(unmetered_s)
    visits = sum(case.visits for case in plan.cases)
    return Expected(visits_s(plan.cases), visits=visits, unmetered_s=unmetered_s)


class NextCase:
    """How long the next case will take, learned from those before; it errs on the long side."""

    def __init__(self, settings: Settings, *, in_visits: bool = False, cores: int = 0) -> None:
        """Begin with what is known of any machine.

        Args:
            settings: of measuring.
            in_visits: whether a GPU is metered.
            cores: that run our kernels; 0 where something else does, of which no rate is known beforehand.
        """
        self._cores = cores
        visit = settings.visit
        first = visit.settle_s + visit.visit_s if in_visits else settings.case_budget_s
        self._walls = deque([first], maxlen=20)
        self._s_per_mac: dict[tuple[str, str], float] = {}

    def learn(self, case: Case, wall_s: float, time_s: float | None) -> None:
        """Learn from a case that took `wall_s` in all, and `time_s` a launch where that is known."""
        self._walls.append(wall_s)
        if time_s:
            key, rate = (case.layer.op, case.variant), time_s / case.layer.macs
            self._s_per_mac[key] = max(rate, self._s_per_mac.get(key, 0.0))

    def seconds(self, case: Case) -> float:
        """The longest of the last twenty cases, or a warm-up and a window of one launch each."""
        rate = self._s_per_mac.get((case.layer.op, case.variant), self._documented(case))
        return max(*self._walls, 2 * rate * case.layer.macs * case.instances, 0.0)

    def _documented(self, case: Case) -> float:
        """Seconds of a multiply-add by the documented rates, where they are of this machine's kind."""
        if not self._cores or case.anchor or case.variant not in registry("cpu"):
            return 0.0
        return 1 / (self._cores * rate_of(registry("cpu")[case.variant], case.layer.op))
