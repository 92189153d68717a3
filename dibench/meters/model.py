"""Modelled energy: counted operations times the published energy of one.

This is a calculation, not a measurement. It lets the whole pipeline run on a machine without a sensor, and
its rows say `energy_source=model`. It charges every data type alike, so nothing that a fit finds in it says
anything about the claim that data types differ.

Source: M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, pages 10-14,
figure 1.1.9: 45 nm, 0.9 V. Of its figures these are used:

- fp32 multiply 3.7 pJ + fp32 add 0.9 pJ for every multiply-add done;
- 32 KB cache, 20 pJ for 64 bits, so 10 pJ for every fp32 operand access counted: weight read, input read,
  partial sum read, partial sum or output written (a first-level data cache has 32 to 48 KB today);
- DRAM, 1.3 to 2.6 nJ for 64 bits, the lower end, so 650 pJ for every element of weights, inputs and outputs,
  once per launch: the compulsory traffic of cold operands.

Caches between the two, instruction issue, leakage and time are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from dibench.meters.base import Reading

PJ_PER_MAC = 4.6
PJ_PER_ACCESS = 20.0 / 2
PJ_PER_ELEMENT = 1300.0 / 2
ACCESSES = ("weight_reads", "input_reads", "output_reads", "output_writes")
ELEMENTS = ("weights", "inputs", "outputs")

FACTS: dict[str, Any] = {
    "kind": "calculation, not a measurement: counted operations times published energy per operation",
    "reference": "M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014, "
    "fig. 1.1.9 (45 nm, 0.9 V)",
    "pj_per_mac": PJ_PER_MAC,
    "pj_per_mac_is": "fp32 multiply 3.7 pJ + fp32 add 0.9 pJ",
    "pj_per_access": PJ_PER_ACCESS,
    "pj_per_access_is": "32 KB cache, 20 pJ per 64 bits, half of it per counted fp32 operand access",
    "pj_per_element": PJ_PER_ELEMENT,
    "pj_per_element_is": "DRAM, 1.3 nJ per 64 bits (lower end of 1.3-2.6), half of it per element of "
    "weights, inputs and outputs, once per launch",
}


def energy_per_launch_j(counts: Mapping[str, int]) -> float | None:
    """Joules of one launch, or None where a count is not known.

    >>> counts = dict.fromkeys(ACCESSES + ELEMENTS, 0) | {"macs_executed": 10**12}
    >>> round(energy_per_launch_j(counts), 9)
    4.6
    """
    if any(counts.get(what) is None for what in ("macs_executed", *ACCESSES, *ELEMENTS)):
        return None
    accesses = sum(counts[what] for what in ACCESSES)
    elements = sum(counts[what] for what in ELEMENTS)
    picojoules = counts["macs_executed"] * PJ_PER_MAC + accesses * PJ_PER_ACCESS + elements * PJ_PER_ELEMENT
    return picojoules * 1e-12


@attrs.frozen
class ModelMeter:
    """The calculation as a meter: no variance, no period, the same energy however long a launch takes."""

    source: str = "model"
    has_variance: bool = False
    period_s: float | None = None
    facts: Mapping[str, Any] = attrs.field(factory=lambda: FACTS)

    def window(self, run: Callable[[], float], counts: Mapping[str, int], launches: int) -> Reading:
        """The window's time, and launches times the modelled energy of one."""
        one_j = energy_per_launch_j(counts)
        return Reading(run(), None if one_j is None else launches * one_j)
