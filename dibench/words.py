"""How models and estimates are worded on screen, page and in claims."""

from __future__ import annotations

import math
from typing import Protocol

MODEL_NAMES = {
    "macs": "MACs",
    "time": "time",
    "ai": "AI",
    "di_weighted": "DI weighted",
    "di_disjoint": "DI disjoint",
    "di_split": "DI split",
    "effective": "accesses",
}
"""The models of the ladder, in its order."""

SENSITIVITY_NAMES = {
    "without_launch": "without e_launch",
    "one_e0": "one e₀ for all operators",
    "without_launch_and_one_e0": "without either",
    "gross": "gross energy",
    "gross_with_power": "gross with power in place of e_launch",
}
"""The fits that show what α depends on."""

SOURCE_MEANINGS = {
    "nvml_counter": "measured by the GPU's energy counter (NVML)",
    "nvml_power": "measured by the GPU's power sensor, integrated (NVML)",
    "simulated": "SIMULATED: a replayed GPU, test data and no evidence",
    "rapl": "measured by the processor's counters (RAPL)",
    "zeus": "measured by Zeus",
    "model": "MODELLED (counted accesses × published energy per access), not measured: no evidence",
    "none": "not measured; time only",
}
"""What is said of the `energy_source` of rows."""

UNDETERMINED = "not determined"


class Bounded(Protocol):
    """A value with the ends of its 95% interval; None for what the rows do not tell."""

    @property
    def value(self) -> float | None: ...  # noqa: D102
    @property
    def ci_low(self) -> float | None: ...  # noqa: D102
    @property
    def ci_high(self) -> float | None: ...  # noqa: D102


def interval(estimate: Bounded) -> str:
    """A value with its 95% interval; words, and no value, where it is not bounded on both sides.

    If one end is missing, the estimate itself could be anything beyond the other.

    >>> from dibench.study.findings.estimate import Estimate
    >>> interval(Estimate(0.314, 0.27, 0.36))
    '0.31 (0.27 to 0.36)'
    >>> interval(Estimate(0.314, 0.2, None)), interval(Estimate(0.314, None, None))
    ('above 0.20', 'not determined')
    >>> interval(Estimate(-0.5, -0.5, -0.499))
    '−0.5000 (−0.5000 to −0.4990)'
    >>> interval(Estimate(0.0, 0.0, 2.5e-5))
    '0.000000 (0.000000 to 0.000025)'
    """
    value, low, high = estimate.value, estimate.ci_low, estimate.ci_high
    if value is None or low is None is high:
        return UNDETERMINED
    if low is None:
        assert high is not None
        return f"below {_number(high, 2)}"
    if high is None:
        return f"above {_number(low, 2)}"
    width = high - low
    if 0 < width < 1e-5:
        return f"{value:.2g} ({low:.2g} to {high:.2g})"
    digits = 2 if width >= 0.02 else 4 if width <= 0 else 1 - math.floor(math.log10(width))  # tell ends apart
    return f"{_number(value, digits)} ({_number(low, digits)} to {_number(high, digits)})"


def percent_apart(difference: float) -> str:
    """A difference of two relative errors, with its sign.

    >>> percent_apart(0.139), percent_apart(-0.021), percent_apart(-0.0001)
    ('+13.9%', '−2.1%', '0.0%')
    """
    text = f"{difference:+.1%}"
    return "0.0%" if float(text.rstrip("%")) == 0 else text.replace("-", "−")


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")
