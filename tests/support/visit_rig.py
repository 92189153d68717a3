"""A replayed GPU read through NVML's face, with a meter started on it, and its truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType, SimpleNamespace
from typing import Any

import attrs
from fake_nvml import FakeNvml
from replay import HOPPER, REFERENCE_C, Card, Load, ReplayedClock
from simulated_gpu import SimulatedGpu

from dibench.backends import DeviceFaultError
from dibench.measure.budget import Pool
from dibench.measure.metering import Metering
from dibench.measure.settings import VisitSettings
from dibench.measure.visit import Visit, with_visits
from dibench.meters import nvml
from dibench.meters.gpu import GpuMeter
from dibench.meters.gpu_sensor import SensorError
from dibench.meters.zeus import ZeusMeter
from dibench.schema import Row

LOAD = Load(500.0, 1e-3)
CALM = attrs.evolve(HOPPER, ripple=0.005, between=0.001)


class Prepared:
    """A case whose launches are a replayed load, and fail as CUDA's do."""

    counts: Mapping[str, int] = {}
    cells: Mapping[str, Any] = {}

    def __init__(self, gpu: SimulatedGpu, load: Load, pause_s: float = 0.0) -> None:
        self._gpu, self._load, self._pause_s = gpu, load, pause_s

    def launch(self, n: int) -> float:
        try:
            seconds = self._gpu.launch(self._load, n)
        except SensorError as error:
            raise DeviceFaultError(str(error)) from None
        if self._pause_s:
            self._gpu.rest()
            self._gpu._clock.sleep(self._pause_s)
        return seconds

    def close(self) -> None:
        pass


class Monitor:
    """Zeus's: the counter as it stands at the edges of a window."""

    def __init__(self, gpu: SimulatedGpu) -> None:
        self._gpu, self._begin_mj = gpu, 0

    def begin_window(self, key: str, sync_execution: bool) -> None:
        self._begin_mj = self._gpu.energy_mj()

    def end_window(self, key: str, sync_execution: bool, cancel: bool = False) -> SimpleNamespace:
        return SimpleNamespace(gpu_energy={0: 1e-3 * (self._gpu.energy_mj() - self._begin_mj)})


class Rig:
    """A replayed GPU read through NVML's face, its meter started."""

    def __init__(
        self,
        card: Card = CALM,
        *,
        seed: int = 1,
        source: str = "simulated",
        settings: VisitSettings | None = None,
        beside: bool = False,
        driver: Mapping[str, Any] = MappingProxyType({}),
        **how: Any,
    ) -> None:
        """`driver` says what FakeNvml refuses, `how` is the GPU's."""
        self.clock = ReplayedClock()
        self.gpu = SimulatedGpu(self.clock, card, seed=seed, **how)
        zeus = ZeusMeter(Monitor(self.gpu)) if beside else None
        self.meter = GpuMeter(
            nvml.find(nvml.gpus(FakeNvml([self.gpu], **driver)), self.gpu.uuid),
            self.clock,
            source,
            beside=zeus,
        )
        self.clock.sleep(0.5)
        self.meter.measure_idle()
        self.gpu.open_context()
        self.meter.start(self.gpu.busy)
        self.metering = Metering(self.meter, self.gpu.busy, settings)
        self.pool = Pool()

    def visit(self, load: Load = LOAD, group: str = "case", pause_s: float = 0.0) -> Visit:
        with self.gpu.busy():
            self.clock.sleep(0.5)
        visit = self.metering.visit(Prepared(self.gpu, load, pause_s))
        if visit.energy is not None:
            self.pool.add(group, visit.energy, visit.alternative)
        return visit

    def cells(self, visits: Sequence[Visit], instances: int = 1) -> dict[str, Any]:
        """Of the row that these visits make."""
        source, period_s = self.meter.source, self.meter.period_s
        row = Row(instances=instances, energy_source=source, meter_period_s=period_s)
        return attrs.asdict(with_visits(row, visits, self.pool))

    def row(self, load: Load = LOAD, visits: int = 1, group: str = "case") -> dict[str, Any]:
        return self.cells([self.visit(load, group) for _ in range(visits)])

    def truth(self, load: Load = LOAD) -> float:
        """At the temperature that rows are stated at, before the first one at that of now."""
        card, reference_c = self.gpu.card, self.pool.typical_c() or self.gpu.temperature_c()
        return load.joules(card) * (1 + card.leakage_per_c * (reference_c - REFERENCE_C))


def error(row: Mapping[str, Any], truth: float) -> float:
    return float(row["energy_j"]) / truth - 1


def assert_good(row: Mapping[str, Any], truth: float) -> None:
    assert row["status"] == "ok", row["reason"]
    assert abs(row["energy_j"] - truth) <= row["energy_ci_j"]
    assert abs(error(row, truth)) < 0.01 and row["energy_ci_j"] < 0.025 * truth


def naive(gpu: SimulatedGpu, load: Load, seconds: float) -> float:
    """What one would write: counter before, launches, counter after."""
    launches = round(seconds / load.launch_s)
    before = gpu.energy_mj()
    gpu.launch(load, launches)
    return (gpu.energy_mj() - before) * 1e-3 / launches
