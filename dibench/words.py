"""How models, sensitivity fits and energy sources are named on screen, page and in claims."""

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
