"""A real GPU's sensors through NVML (`nvidia-ml-py`, module `pynvml`). Nothing is ever set.

Instant power (nvml.h) is field 186, NVML_FI_DEV_POWER_INSTANT, wherever the driver has it. Without it,
nvmlDeviceGetPowerUsage is instant on GA100 and before Ampere. On other Ampere cards, Ada, Hopper and later it
is the average of a second, as field 185 is everywhere: a reading of its own, never taken for instant. The
sensor sees 25 of each 100 ms on Hopper and GA100, all of it on Turing, Ampere and Ada, half on Volta and
Pascal (Yang, Adamek and Armour, "Part-time Power Measurements", SC24). For later cards nothing is published;
a quarter is assumed.

GPM metrics need Hopper or later. NVIDIA's developers say that they use another unit of the chip than
profilers do (github.com/NVIDIA/DCGM, issue 62), so Nsight or DCGM may run at the same time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

from dibench.errors import UserError
from dibench.meters.gpu_sensor import INVALID_ARGUMENT, NO_FUNCTION, NOT_SUPPORTED, GpuSensor, SensorError

_T = TypeVar("_T")

GAIN_ACCURACY_PCT = 13.0
"""The most that published comparisons with external meters found these sensors off by, from 5% on (Yang,
Adamek and Armour); nobody states it for a single card."""

_INSTANT, _AVERAGE = 185 + 1, 185  # NVML_FI_DEV_POWER_INSTANT, NVML_FI_DEV_POWER_AVERAGE
_GPU, _SM, _MEMORY = 0, 1, 2  # NVML_TEMPERATURE_GPU, NVML_CLOCK_SM, NVML_CLOCK_MEM
_WHOLE, _ITS_MEMORY = 0, 2  # NVML_POWER_SCOPE_GPU, NVML_POWER_SCOPE_MEMORY
_GPM = {"dram_bandwidth_pct": 10, "fp32_pct": 12, "tensor_pct": 5, "occupancy_pct": 3}
"""NVML_GPM_METRIC_DRAM_BW_UTIL, FP32_UTIL, ANY_TENSOR_UTIL, SM_OCCUPANCY."""
_VALUE = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}
_AMPERE = (8, 0)
_DUTY: Mapping[tuple[int, int], float] = {
    (6, 0): 0.5, (6, 1): 0.5, (7, 0): 0.5, (7, 2): 0.5,
    (7, 5): 1.0, (8, 6): 1.0, (8, 7): 1.0, (8, 9): 1.0,
    (8, 0): 0.25, (9, 0): 0.25,
}  # fmt: skip
_DUTY_UNKNOWN = 0.25
_LATEST = (99, 0)  # of a GPU that does not tell its generation: assumed newer than all known


class NvmlGpu:
    """One GPU's sensors."""

    def __init__(self, pynvml: Any, handle: Any, index: int = 0) -> None:
        """The GPU behind an NVML handle, NVML's `index`-th.

        Raises:
            SensorError: NVML cannot even tell which it is.
        """
        self._nvml, self._handle, self.index = pynvml, handle, index
        self.uuid = _text(self._ask("uuid", "nvmlDeviceGetUUID", handle))
        self.name = _text(self._if_told("a GPU", "name", "nvmlDeviceGetName", handle))
        capability = self._if_told(_LATEST, "capability", "nvmlDeviceGetCudaComputeCapability", handle)
        self.capability: tuple[int, int] = (int(capability[0]), int(capability[1]))
        self.duty = _DUTY.get(self.capability, _DUTY_UNKNOWN)
        self._samples: list[Any] = []  # of GPM: the last one and the next; kept while the process lives
        self._sampled = False

    def energy_mj(self) -> int:
        """Volta and later."""
        return int(self._ask("energy_mj", "nvmlDeviceGetTotalEnergyConsumption", self._handle))

    def instant_mw(self) -> int:
        """Field 186, or the older call where that is instant."""
        try:
            return self._field(_INSTANT, "instant_mw")
        except SensorError as error:
            if error.lost or error.passing or self.capability > _AMPERE:
                raise
        return self._power_usage("instant_mw")

    def average_mw(self) -> int:
        """Field 185, or the older call where that is an average."""
        try:
            return self._field(_AVERAGE, "average_mw")
        except SensorError as error:
            if error.lost or error.passing or self.capability <= _AMPERE:
                raise
        return self._power_usage("average_mw")

    def _power_usage(self, reading: str) -> int:
        return int(self._ask(reading, "nvmlDeviceGetPowerUsage", self._handle))

    def memory_mw(self) -> int:
        """Field 185 for the memory; a card that does not meter it answers 0."""
        if (found := self._field(_AVERAGE, "memory_mw", _ITS_MEMORY)) <= 0:
            raise SensorError(NOT_SUPPORTED, "memory_mw")
        return found

    def activity(self) -> Mapping[str, float]:
        """Two GPM samples, and what lies between them."""
        if not self._samples:
            self._samples = self._allocate()
        before, now = self._samples
        begun, self._sampled = self._sampled, False
        self._ask("activity", "nvmlGpmSampleGet", self._handle, now)
        self._samples, self._sampled = [now, before], True
        return self._between(before, now) if begun else {}

    def _allocate(self) -> list[Any]:
        support = self._ask("activity", "nvmlGpmQueryDeviceSupport", self._handle)
        if not support.isSupportedDevice:
            raise SensorError(NOT_SUPPORTED, "activity")
        return [self._ask("activity", "nvmlGpmSampleAlloc") for _ in range(2)]

    def _between(self, before: Any, now: Any) -> Mapping[str, float]:
        asked = self._nvml.c_nvmlGpmMetricsGet_t()
        asked.version, asked.numMetrics = self._nvml.NVML_GPM_METRICS_GET_VERSION, len(_GPM)
        asked.sample1, asked.sample2 = before, now
        for metric, number in zip(asked.metrics, _GPM.values(), strict=False):
            metric.metricId = number
        self._ask("activity", "nvmlGpmMetricsGet", asked)
        found = zip(_GPM, asked.metrics, strict=False)
        return {
            name: float(metric.value)
            for name, metric in found
            if not metric.nvmlReturn and math.isfinite(metric.value)
        }

    def temperature_c(self) -> float:
        """Temperature of the chip, by the older call where the driver still has it."""
        names = ("nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV")
        return float(self._ask_first("temperature_c", names, self._handle, _GPU))

    def sm_mhz(self) -> int:
        """Clock of the multiprocessors now."""
        return int(self._ask("sm_mhz", "nvmlDeviceGetClockInfo", self._handle, _SM))

    def most_sm_mhz(self) -> int:
        """Their highest clock."""
        return int(self._ask("most_sm_mhz", "nvmlDeviceGetMaxClockInfo", self._handle, _SM))

    def memory_mhz(self) -> int:
        """Clock of the memory."""
        return int(self._ask("memory_mhz", "nvmlDeviceGetClockInfo", self._handle, _MEMORY))

    def clock_events(self) -> int:
        """Clock-event reasons, on older drivers under their old name."""
        calls = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
        return int(self._ask_first("clock_events", calls, self._handle))

    def limit_w(self) -> float:
        """The power limit in force; some cards of laptops and desktops have none."""
        return 1e-3 * float(self._ask("limit_w", "nvmlDeviceGetEnforcedPowerLimit", self._handle))

    def processes(self) -> Mapping[int, str]:
        """Compute and graphics processes; a name that cannot be read is empty."""
        found: dict[int, str] = {}
        for kind in ("Compute", "Graphics"):
            for process in self._ask("processes", f"nvmlDeviceGet{kind}RunningProcesses", self._handle):
                found[int(process.pid)] = self._process_name(int(process.pid))
        return found

    def mig(self) -> bool:
        """Whether MIG mode is on; False where there is no such mode, or nobody may ask.

        A process that launches on an instance is known by the instance's UUID, whatever NVML says here.
        """
        return bool(self._if_told((0, 0), "mig", "nvmlDeviceGetMigMode", self._handle)[0])

    def _if_told(self, otherwise: Any, reading: str, name: str, *arguments: Any) -> Any:
        try:
            return self._ask(reading, name, *arguments)
        except SensorError as error:
            if error.lost:
                raise
            return otherwise

    def _process_name(self, pid: int) -> str:
        try:
            name = _text(self._ask("processes", "nvmlSystemGetProcessName", pid))
        except SensorError:
            return ""
        return name.replace("\\", "/").rpartition("/")[2]

    def _field(self, field: int, reading: str, scope: int = _WHOLE) -> int:
        value = self._ask(reading, "nvmlDeviceGetFieldValues", self._handle, [(field, scope)])[0]
        if code := int(value.nvmlReturn):  # an argument refused is a field that the driver does not know
            raise SensorError(NOT_SUPPORTED if code == INVALID_ARGUMENT else code, reading)
        return int(getattr(value.value, _VALUE.get(int(value.valueType), "uiVal")))

    def _ask_first(self, reading: str, names: Sequence[str], *arguments: Any) -> Any:
        """The answer of the first of these calls that binding and driver know."""
        for name in names[:-1]:
            try:
                return self._ask(reading, name, *arguments)
            except SensorError as error:
                if error.code != NO_FUNCTION:
                    raise
        return self._ask(reading, names[-1], *arguments)

    def _ask(self, reading: str, name: str, *arguments: Any) -> Any:
        return _asked(self._nvml, reading, name, *arguments)


def _asked(pynvml: Any, reading: str, name: str, *arguments: Any) -> Any:
    """The answer of a function, which the binding may lack as well as the driver."""
    if not hasattr(pynvml, name):
        raise SensorError(NO_FUNCTION, reading)
    try:
        return getattr(pynvml, name)(*arguments)
    except pynvml.NVMLError as error:
        raise SensorError(int(error.value), reading) from None


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def import_pynvml() -> Any:
    """The module.

    Raises:
        UserError: it is not installed, or another package of that name is.
    """
    if find_spec("pynvml") is None:
        raise UserError("--meter", "needs NVML's Python module: pip install nvidia-ml-py", "nvml")
    found = import_module("pynvml")
    if not hasattr(found, "nvmlDeviceGetFieldValues"):
        rule = "needs nvidia-ml-py in place of the old pynvml: pip uninstall pynvml; pip install nvidia-ml-py"
        raise UserError("--meter", rule, "nvml")
    return found


def gpus(pynvml: Any) -> Sequence[NvmlGpu]:
    """All GPUs that NVML shows, in its order, which is not CUDA's; lost ones are left out.

    Raises:
        UserError: NVML refuses, or every GPU does; the message names the remedy.
    """
    found: list[NvmlGpu] = []
    refusal: SensorError | None = None
    try:
        _asked(pynvml, "", "nvmlInit")
        number = _asked(pynvml, "", "nvmlDeviceGetCount")
    except SensorError as error:
        raise error.refused() from None
    for index in range(number):
        try:
            handle = _asked(pynvml, "", "nvmlDeviceGetHandleByIndex", index)
            found.append(NvmlGpu(pynvml, handle, index))
        except SensorError as error:
            refusal = refusal or error
    if refusal is not None and not found:
        raise refusal.refused()
    return found


def find(shown: Sequence[GpuSensor], uuid: str) -> GpuSensor:
    """The GPU that launches, among those that NVML shows: by UUID, never by position.

    Raises:
        UserError: it is not among them, or it is cut into instances (MIG): its sensors then see the others'
            work too.
    """
    if uuid.startswith("MIG-"):
        raise UserError("--meter", _MIG_RULE, uuid)
    for gpu in shown:
        if gpu.uuid == uuid:
            try:
                cut = gpu.mig()
            except SensorError as error:
                raise error.refused() from None
            if cut:
                raise UserError("--meter", _MIG_RULE, uuid)
            return gpu
    known = ", ".join(gpu.uuid for gpu in shown) or "none"
    raise UserError("--meter", f"NVML must show the GPU that launches, and shows {known}", uuid)


_MIG_RULE = (
    "needs a whole GPU: power sensors measure the chip, not a MIG instance. "
    "Take another GPU, or ask the administrator to disable MIG"
)
