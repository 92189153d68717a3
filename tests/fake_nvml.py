"""pynvml's calls, answered by replayed GPUs: what `dibench.meters.nvml` asks goes the whole way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

from dibench.meters.gpu_sensor import NOT_SUPPORTED, SensorError
from dibench.meters.simulated import SimulatedGpu

_T = TypeVar("_T")


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        self.value = value
        super().__init__(value)


class FakeNvml:
    """A module's worth of functions; `capability` and `fields` say how old GPU and driver are."""

    NVMLError = NVMLError

    def __init__(
        self,
        gpus: Sequence[SimulatedGpu],
        *,
        capability: tuple[int, int] = (9, 0),
        fields: bool = True,
        init_error: int = 0,
    ) -> None:
        self._gpus, self._capability, self._fields, self._init_error = gpus, capability, fields, init_error
        self.samples = 0

    def nvmlInit(self) -> None:
        if self._init_error:
            raise NVMLError(self._init_error)

    def nvmlDeviceGetCount(self) -> int:
        return len(self._gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> SimulatedGpu:
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

    NVML_GPM_METRICS_GET_VERSION = 1

    def nvmlGpmQueryDeviceSupport(self, gpu: SimulatedGpu) -> Any:
        return SimpleNamespace(isSupportedDevice=int(gpu.card.memory_share is not None))

    def nvmlGpmSampleAlloc(self) -> Any:
        self.samples += 1
        return SimpleNamespace(gpu=None, at=None)

    def nvmlGpmSampleGet(self, gpu: SimulatedGpu, sample: Any) -> Any:
        sample.gpu, sample.at = gpu, _answer(gpu.snapshot)
        return sample

    def nvmlGpmSampleFree(self, sample: Any) -> None:
        self.samples -= 1

    def c_nvmlGpmMetricsGet_t(self) -> Any:
        metrics = [SimpleNamespace(metricId=0, nvmlReturn=0, value=0.0) for _ in range(8)]
        return SimpleNamespace(version=0, numMetrics=0, sample1=None, sample2=None, metrics=metrics)

    def nvmlGpmMetricsGet(self, request: Any) -> Any:
        """Metric 12, FP32, is replayed; the others are refused one by one, as GPM does."""
        begin, end = request.sample1, request.sample2
        shown = _answer(lambda: begin.gpu.activity(begin.at, end.at))
        for metric in request.metrics[: request.numMetrics]:
            metric.nvmlReturn = 0 if metric.metricId == 12 else NOT_SUPPORTED
            metric.value = shown["fp32_pct"]
        return request

    def nvmlDeviceGetFieldValues(self, gpu: SimulatedGpu, fields: list[Any]) -> list[Any]:
        if not self._fields:
            return [SimpleNamespace(nvmlReturn=NOT_SUPPORTED, valueType=0, value=None) for _ in fields]
        shown = {186: gpu.instant_mw, 185: gpu.average_mw, (186, 2): gpu.memory_mw}
        return [
            SimpleNamespace(
                nvmlReturn=0, valueType=1, value=SimpleNamespace(uiVal=_answer(shown[field]), dVal=1e-300)
            )
            for field in fields
        ]

    def nvmlDeviceGetTemperature(self, gpu: SimulatedGpu, sensor: int) -> int:
        return int(_answer(gpu.temperature_c))

    def nvmlDeviceGetClockInfo(self, gpu: SimulatedGpu, kind: int) -> int:
        return _answer(gpu.clocks_mhz)[{1: 0, 2: 1}[kind]]

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: SimulatedGpu) -> int:
        return _answer(gpu.clock_events)

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu: SimulatedGpu) -> int:
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
