"""pynvml's calls, answered by replayed GPUs: what `dibench.meters.nvml` asks goes the whole way."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType, SimpleNamespace
from typing import Any, TypeVar

from simulated_gpu import SimulatedGpu

from dibench.meters.gpu_sensor import LOST, NOT_SUPPORTED, SensorError

_T = TypeVar("_T")


class NVMLError(Exception):
    """pynvml.py: NVMLError(code) is an object of the code's own class, which takes no code itself."""

    value: int

    def __new__(cls, value: int) -> NVMLError:
        made = Exception.__new__(CLASSES.get(value, cls) if cls is NVMLError else cls)
        made.value = value
        return made

    def __str__(self) -> str:
        return _TEXTS.get(self.value, f"NVML Error with code {self.value}")


_TEXTS = {
    1: "Uninitialized",
    2: "Invalid Argument",
    3: "Not Supported",
    4: "Insufficient Permissions",
    6: "Not Found",
    9: "Driver Not Loaded",
    10: "Timeout",
    12: "NVML Shared Library Not Found",
    13: "Function Not Found",
    15: "GPU is lost",
    16: "GPU requires restart",
    17: "The operating system has blocked the request.",
    18: "RM has detected an NVML/RM version mismatch.",
    999: "Unknown Error",
}


def _class_of(code: int, name: str) -> type[NVMLError]:
    return type(f"NVMLError_{name}", (NVMLError,), {"__new__": lambda cls, *_: NVMLError.__new__(cls, code)})


CLASSES: dict[int, type[NVMLError]] = {
    code: _class_of(code, name)
    for code, name in {
        3: "NotSupported",
        4: "NoPermission",
        10: "Timeout",
        13: "FunctionNotFound",
        15: "GpuIsLost",
        999: "Unknown",
    }.items()
}


class _MetricsGet:
    """c_nvmlGpmMetricsGet_t."""

    def __init__(self) -> None:
        self.version, self.numMetrics = 0, 0
        self.sample1: dict[str, Any] = {}
        self.sample2: dict[str, Any] = {}
        self.metrics = [SimpleNamespace(metricId=0, nvmlReturn=0, value=0.0) for _ in range(8)]


class FakeNvml:
    """A module's worth of functions."""

    NVMLError = NVMLError
    NVML_GPM_METRICS_GET_VERSION = 1
    c_nvmlGpmMetricsGet_t = _MetricsGet

    def __init__(
        self,
        gpus: Sequence[SimulatedGpu],
        *,
        capability: tuple[int, int] = (9, 0),
        fields: int = 0,
        init_error: int = 0,
        lacking: Collection[int] = (),
        limit: bool = True,
        refuses: Mapping[str, int] = MappingProxyType({}),
        absent: Collection[str] = (),
    ) -> None:
        """What this GPU and driver have.

        Args:
            gpus: what is shown.
            capability: of all of them.
            fields: the code with which the driver refuses every field; 0 where it knows them.
            init_error: the code with which NVML refuses to begin.
            lacking: GPM metrics that this card refuses.
            limit: whether the card names a power limit.
            refuses: codes by name of the function, or `field 186` and the like; 13 is a driver without it.
            absent: functions that this release of the binding has not.
        """
        self._refuses, self._absent = refuses, absent
        self._lacking, self._limit = lacking, limit
        self._gpus, self._capability, self._fields, self._init_error = gpus, capability, fields, init_error

    def __getattribute__(self, name: str) -> Any:
        """A function, unless it is refused or absent."""
        found = object.__getattribute__(self, name)
        if not name.startswith("nvml"):
            return found
        if name in self._absent:
            raise AttributeError(name)
        if (code := self._refuses.get(name)) is None:
            return found

        def refused(*arguments: Any) -> Any:
            raise NVMLError(code)

        return refused

    def nvmlInit(self) -> None:
        if self._init_error:
            raise NVMLError(self._init_error)

    def nvmlDeviceGetCount(self) -> int:
        return len(self._gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> SimulatedGpu:
        if self._gpus[index].lost:
            raise NVMLError(LOST)
        return self._gpus[index]

    def nvmlDeviceGetUUID(self, gpu: SimulatedGpu) -> bytes:
        return gpu.uuid.encode()  # older versions of pynvml answer in bytes

    def nvmlDeviceGetName(self, gpu: SimulatedGpu) -> str:
        return gpu.name

    def nvmlDeviceGetCudaComputeCapability(self, gpu: SimulatedGpu) -> tuple[int, int]:
        return self._capability

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: SimulatedGpu) -> int:
        return _answer(gpu.energy_mj)

    def nvmlDeviceGetPowerUsage(self, gpu: SimulatedGpu) -> int:
        """Nvml.h: the average of a second on Ampere (except GA100) and newer, instant before."""
        return _answer(gpu.average_mw if self._capability > (8, 0) else gpu.instant_mw)

    def nvmlDeviceGetFieldValues(self, gpu: SimulatedGpu, fields: list[tuple[int, int]]) -> list[Any]:
        if self._fields:
            return [SimpleNamespace(nvmlReturn=self._fields, valueType=0, value=None) for _ in fields]
        shown = {(186, 0): gpu.instant_mw, (185, 0): gpu.average_mw, (185, 2): gpu.memory_mw}
        return [self._field(field, shown[field]) for field in fields]

    def _field(self, field: tuple[int, int], read: Callable[[], int]) -> Any:
        """As the driver answers: a refused field has no type and holds what lay there."""
        scope = f", scope {field[1]}" if field[1] else ""
        code = self._refuses.get(f"field {field[0]}{scope}", 0)
        if not code:
            try:
                return SimpleNamespace(
                    nvmlReturn=0, valueType=1, value=SimpleNamespace(uiVal=read(), dVal=1e-300)
                )
            except SensorError as error:
                code = error.code
        return SimpleNamespace(nvmlReturn=code, valueType=0, value=SimpleNamespace(dVal=1e-300))

    def nvmlGpmQueryDeviceSupport(self, gpu: SimulatedGpu) -> SimpleNamespace:
        return SimpleNamespace(isSupportedDevice=int(gpu.card.gpm))

    def nvmlGpmSampleAlloc(self) -> dict[str, Any]:
        return {}

    def nvmlGpmSampleGet(self, gpu: SimulatedGpu, sample: dict[str, Any]) -> dict[str, Any]:
        """A sample holds what happened since the one before: enough for neighbours, all that is asked."""
        self._number = getattr(self, "_number", 0) + 1
        sample.clear()
        sample |= {"number": self._number, "since": _answer(gpu.activity)}
        return sample

    def nvmlGpmMetricsGet(self, asked: _MetricsGet) -> _MetricsGet:
        """Percent, as nvml.h has them; a metric that the card lacks says so; of no time, no number."""
        assert asked.version == 1 and asked.sample2["number"] == asked.sample1["number"] + 1
        names = {10: "dram_bandwidth_pct", 12: "fp32_pct", 5: "tensor_pct", 3: "occupancy_pct"}
        for metric in asked.metrics[: asked.numMetrics]:
            metric.nvmlReturn = NOT_SUPPORTED if metric.metricId in self._lacking else 0
            metric.value = asked.sample2["since"].get(names[metric.metricId], math.nan)
        return asked

    def nvmlDeviceGetTemperature(self, gpu: SimulatedGpu, sensor: int) -> int:
        return int(_answer(gpu.temperature_c))

    def nvmlDeviceGetClockInfo(self, gpu: SimulatedGpu, kind: int) -> int:
        return _answer({1: gpu.sm_mhz, 2: gpu.memory_mhz}[kind])

    def nvmlDeviceGetMaxClockInfo(self, gpu: SimulatedGpu, kind: int) -> int:
        assert kind == 1
        return _answer(gpu.most_sm_mhz)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: SimulatedGpu) -> int:
        return _answer(gpu.clock_events)

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu: SimulatedGpu) -> int:
        if not self._limit:
            raise NVMLError(NOT_SUPPORTED)
        return round(1e3 * _answer(gpu.limit_w))

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: SimulatedGpu) -> list[Any]:
        return [SimpleNamespace(pid=pid) for pid in _answer(gpu.processes)]

    def nvmlDeviceGetGraphicsRunningProcesses(self, gpu: SimulatedGpu) -> list[Any]:
        return []

    def nvmlSystemGetProcessName(self, pid: int) -> bytes:
        for gpu in self._gpus:
            if pid in gpu.processes():
                return f"/usr/bin/{gpu.processes()[pid]}".encode()
        raise NVMLError(6)

    def nvmlDeviceGetMigMode(self, gpu: SimulatedGpu) -> list[int]:
        return [int(_answer(gpu.mig)), 0]


def _answer(read: Callable[[], _T]) -> _T:
    try:
        return read()
    except SensorError as error:
        raise NVMLError(error.code) from None
