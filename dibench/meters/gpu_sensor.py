"""What measuring asks of a GPU's sensors: a small part of NVML, which real and replayed cards both offer.

What the readings mean (nvml.h, and Yang, Adamek and Armour, "Part-time Power Measurements", SC24):

- `energy_mj`: joules since the driver was loaded, on Volta and later; it updates in ticks of 20 to 500 ms.
- `instant_mw`: power now, updated every 20 to 100 ms as an average over 10 to 100 ms.
- `average_mw`: power averaged over the last second; what many newer cards show as their power.

Any one of these three gives joules. Every other reading may be refused for itself.

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
TIMEOUT, NO_FUNCTION, LOST, RESET_REQUIRED, OPERATING_SYSTEM, IN_USE = 10, 13, 15, 16, 17, 19
NO_DATA, UNKNOWN = 21, 999

_MEASURE_AGAIN = "measure again; end other monitoring programs"
_UPDATE = "update the driver, or nvidia-ml-py"
_MEANINGS: Mapping[int, tuple[str, str]] = {
    1: ("NVML is not initialised", "nvidia-smi must work here"),
    INVALID_ARGUMENT: ("NVML refuses an argument", _UPDATE),
    NOT_SUPPORTED: (
        "this GPU or driver does not offer the reading",
        "update the driver",
    ),
    NO_PERMISSION: (
        "this user may not read it",
        "ask the administrator to allow it, or in a container or virtual machine pass the GPU in whole",
    ),
    5: ("NVML was initialised before", "measure again"),
    6: ("no such GPU", "compare nvidia-smi -L with CUDA_VISIBLE_DEVICES"),
    7: ("NVML finds an answer's size too small", _UPDATE),
    8: ("the GPU lacks external power", "connect its power cables"),
    9: ("no NVIDIA driver is loaded", "nvidia-smi must work here; in a container, pass the GPU in"),
    TIMEOUT: ("NVML did not answer in time", _MEASURE_AGAIN),
    11: ("the kernel has trouble with the GPU's interrupts", "look into dmesg; reboot"),
    12: ("libnvidia-ml.so is not there", "install the driver; in a container, pass the GPU in"),
    NO_FUNCTION: ("the driver or nvidia-ml-py is too old for this reading", "update them"),
    14: ("the GPU's infoROM is corrupted", "nvidia-smi says more; the GPU's maker can mend it"),
    LOST: ("the GPU fell off the bus or is not reachable", "look into dmesg for Xid errors; reboot"),
    RESET_REQUIRED: ("the GPU must be reset", "ask the administrator for nvidia-smi --gpu-reset, or reboot"),
    OPERATING_SYSTEM: (
        "the operating system blocks the GPU's control device",
        "in a container allow /dev/nvidiactl and /dev/nvidia0 (cgroup), else ask the administrator",
    ),
    18: ("driver and NVML library differ in version", "reboot, or load the kernel module of the new driver"),
    IN_USE: ("the GPU is in use by another who reads it", _MEASURE_AGAIN),
    20: ("NVML has too little memory", "free some; measure again"),
    NO_DATA: ("NVML has no data of this reading yet", _MEASURE_AGAIN),
    22: ("a virtual GPU cannot do this with ECC on", "ask the administrator"),
    23: ("NVML has run out of resources", _MEASURE_AGAIN),
    24: ("this GPU does not know the frequency", _UPDATE),
    25: ("driver and nvidia-ml-py mean different versions of an argument", _UPDATE),
    26: ("the driver no longer offers this reading", "update nvidia-ml-py"),
    27: ("the GPU is not ready yet", "measure again"),
    28: ("the GPU was not found", "compare nvidia-smi -L with CUDA_VISIBLE_DEVICES"),
    29: ("the GPU is in a state that does not allow it", "nvidia-smi may say why; reboot"),
    30: ("this GPU knows no such reset", "reboot"),
    UNKNOWN: ("NVML reports an unknown error", "look into dmesg; measure again"),
}
"""All codes of nvml.h (nvmlReturn_t): what they mean here, and the remedy."""

_PASSING = (TIMEOUT, IN_USE, 20, NO_DATA, 23, 27, UNKNOWN)
"""A reading refused with one of these may be answered a moment later."""


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

    @property
    def passing(self) -> bool:
        """Whether the same reading may be answered a moment later."""
        return self.code in _PASSING

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

    def average_mw(self) -> int:
        """Power averaged over the last second, in mW."""

    def memory_mw(self) -> int:
        """Power of the memory averaged over one second, in mW; part of the GPU's."""

    def activity(self) -> Mapping[str, float]:
        """What the chip's units did since the last call, in percent, by name in ACTIVITY; empty at the first.

        Calls should be more than 100 ms apart (nvml.h). Not for two threads at once.
        """

    def temperature_c(self) -> float:
        """Temperature of the chip, in whole degrees."""

    def sm_mhz(self) -> int:
        """Clock of the multiprocessors."""

    def most_sm_mhz(self) -> int:
        """The highest clock of the multiprocessors."""

    def memory_mhz(self) -> int:
        """Clock of the memory."""

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
