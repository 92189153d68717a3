"""How models and sensitivity fits are named on screen, page and in claims."""

from __future__ import annotations

MODEL_NAMES = {
    "macs": "MACs",
    "time": "time",
    "ai": "AI",
    "di_weighted": "DI weighted",
    "di_disjoint": "DI disjoint",
    "di_split": "DI split",
    "di_occupancy": "DI + occupancy",
    "di_capacity": "DI + capacity",
    "effective": "accesses",
}
"""The models of the ladder, in its order."""

BESIDE_NAMES = {
    "occupancy": "occupancy",
    "capacity": "capacity",
    "occupancy and capacity": "both",
    "time": "constant power",
}
"""Further terms beside AI and DI."""

SENSITIVITY_NAMES = {
    "without_launch": "without e_launch",
    "one_e0": "one e₀ for all operators",
    "without_launch_and_one_e0": "without either",
    "gross": "gross energy",
    "gross_with_power": "gross with power in place of e_launch",
}
"""The fits that show what α depends on."""


def gain_text(accuracy: float | None) -> str:
    """What may be off in all joules of a sensor alike, which no repeat shows, and where that is included.

    >>> print(gain_text(0.005).partition(";")[0])
    The sensor's gain is declared good to ±0.5% and was not measured by dibench
    """
    if accuracy is None:
        declared = "No accuracy is declared for the sensor's gain; intervals of joules do not include it"
    else:
        declared = (
            f"The sensor's gain is declared good to ±{100 * accuracy:g}% and was not measured by dibench; "
            "intervals of joules include it"
        )
    return f"{declared}, α and ratios do not depend on it."
