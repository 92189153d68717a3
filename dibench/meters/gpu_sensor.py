"""What measuring asks of a GPU's sensors: a small part of NVML, which real and replayed cards both offer.

What the readings mean (nvml.h, and Yang, Adamek and Armour, "Part-time Power Measurements", SC24):

- `energy_mj`: joules since the driver was loaded, on Volta and later; it updates in ticks of 20 to 500 ms.
- `instant_mw`: power now, updated every 20 to 100 ms as an average over 10 to 100 ms.
- `memory_mw`: the memory's part of it, averaged over the last second. It is not documented which cards have
  it; H100 does.
- `activity`: NVML's GPM metrics on Hopper and later: what the chip's units did between two readings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from dibench.errors import UserError

INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION = 2, 3, 4
TIMEOUT, NO_FUNCTION, LOST, RESET_REQUIRED = 10, 13, 15, 16

_MEANINGS: Mapping[int, tuple[str, str]] = {
    1: ("NVML is not initialised", "nvidia-smi must work here"),
    INVALID_ARGUMENT: ("NVML refuses an argument", "update the driver, or nvidia-ml-py"),
    NOT_SUPPORTED: (
        "this GPU or driver does not offer the reading",
        "update the driver, or use --meter nvml_power, model or none",
    ),
    NO_PERMISSION: (
        "this user may not read it",
        "ask the administrator to allow it, or in a container or virtual machine pass the GPU in whole",
    ),
    6: ("no such GPU", "compare nvidia-smi -L with CUDA_VISIBLE_DEVICES"),
    8: ("the GPU lacks external power", "connect its power cables"),
    9: ("no NVIDIA driver is loaded", "nvidia-smi must work here; in a container, pass the GPU in"),
    TIMEOUT: ("NVML did not answer in time", "measure again; end other monitoring programs"),
    12: ("libnvidia-ml.so is not there", "install the driver; in a container, pass the GPU in"),
    NO_FUNCTION: ("the driver is too old for this reading", "update the driver"),
    LOST: ("the GPU fell off the bus or is not reachable", "look into dmesg for Xid errors; reboot"),
    RESET_REQUIRED: ("the GPU must be reset", "ask the administrator for nvidia-smi --gpu-reset, or reboot"),
    18: ("driver and NVML library differ in version", "reboot, or load the kernel module of the new driver"),
    999: ("NVML reports an unknown error", "look into dmesg; measure again"),
}


class SensorError(Exception):
    """A reading failed with an NVML code."""

    def __init__(self, code: int, reading: str = "") -> None:
        self.code = code
        self.reading = reading
        super().__init__(explain(code))

    @property
    def lost(self) -> bool:
        """Whether the GPU is lost to this process."""
        return self.code in (LOST, RESET_REQUIRED)

    def refused(self) -> UserError:
        """The error to raise where measuring cannot begin."""
        return UserError(f"NVML {self.reading}".rstrip(), str(self))


def explain(code: int) -> str:
    """The meaning of an NVML code, and its remedy.

    >>> explain(9)
    'no NVIDIA driver is loaded: nvidia-smi must work here; in a container, pass the GPU in (NVML error 9)'
    """
    meaning, remedy = _MEANINGS.get(code, ("NVML refuses", "nvidia-smi may say why"))
    return f"{meaning}: {remedy} (NVML error {code})"


class GpuSensor(Protocol):
    """One GPU's sensors. Every method raises SensorError with NVML's code where it cannot answer."""

    @property
    def uuid(self) -> str:
        """`GPU-…`, the same in CUDA and NVML."""

    @property
    def name(self) -> str:
        """The model."""

    @property
    def duty(self) -> float:
        """The share of each update period that the power sensor really sees."""

    def energy_mj(self) -> int:
        """Joules since the driver was loaded, in mJ."""

    def instant_mw(self) -> int:
        """Instant power in mW."""

    def memory_mw(self) -> int:
        """Power of the memory averaged over one second, in mW; part of the GPU's."""

    def activity(self) -> Mapping[str, float]:
        """What the chip's units did since the last call, in percent, by name in ACTIVITY; empty at the first.

        Calls should be more than 100 ms apart (nvml.h). Not for two threads at once.
        """

    def temperature_c(self) -> float:
        """Temperature of the chip, in whole degrees."""

    def clocks_mhz(self) -> tuple[int, int]:
        """Clock of the multiprocessors, clock of the memory."""

    def clock_events(self) -> int:
        """NVML's bits of what holds the clock down now."""

    def limit_w(self) -> float:
        """The power limit in force; infinite where the card has none."""

    def processes(self) -> Mapping[int, str]:
        """The processes with a context on this GPU, name by process id."""

    def mig(self) -> bool:
        """Whether the GPU is cut into instances (MIG)."""


class Clock(Protocol):
    """Seconds, and work done at regular times while something else runs: a thread, or replayed time."""

    def now(self) -> float:
        """Seconds since some instant."""

    def sleep(self, seconds: float) -> None:
        """Wait."""

    def every(self, period_s: float, do: Callable[[], None]) -> AbstractContextManager[None]:
        """Do something every `period_s` until the context ends."""


ACTIVITY = ("dram_bandwidth_pct", "fp32_pct", "tensor_pct", "occupancy_pct")
"""The GPM metrics that rows have as columns: bytes moved over the most that memory could; time in which the
multiprocessors' FP32 units and tensor cores worked; warps present over the most there could be."""

CLOCK_EVENTS: Mapping[int, str] = {
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
"""NVML's clock-event reasons by bit; the last two of older drivers (clocksThrottleReasons) only."""

_IDLE = 0x1  # the GPU is idle; nothing holds the clock down


def event_names(bits: int) -> str:
    """The clock-event reasons in a row's cell; one that has no name yet by its bit.

    >>> event_names(0x4 | 0x20 | 0x1), event_names(0x2000)
    ('sw_power_cap;sw_thermal_slowdown', '0x2000')
    """
    set_bits = [1 << position for position in range(bits.bit_length()) if bits >> position & 1]
    return ";".join(CLOCK_EVENTS.get(bit, f"{bit:#x}") for bit in set_bits if bit != _IDLE)
