"""A visit on the real clock: the sampler's thread reads while the launching thread is busy elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import pytest

from dibench.measure.budget import Pool
from dibench.measure.metering import Metering
from dibench.measure.settings import VisitSettings
from dibench.measure.visit import with_visits
from dibench.meters.baseline import Baseline
from dibench.meters.gpu import GpuMeter
from dibench.meters.sampler import RealClock
from dibench.schema import Row

WATTS, TICK_S, LAUNCH_S = 300.0, 0.02, 1e-3


class Sensor:
    """A GPU that draws 300 W whatever the time; its counter moves every 20 ms."""

    uuid, name, duty = "GPU-real-time", "Real time", 1.0

    def energy_mj(self) -> int:
        return int(time.perf_counter() / TICK_S) * int(WATTS * TICK_S * 1e3)

    def instant_mw(self) -> int:
        return int(WATTS * 1e3) + int(time.perf_counter() / TICK_S) % 2

    def memory_mw(self) -> int:
        return 40_000

    def activity(self) -> Mapping[str, float]:
        return {"dram_bandwidth_pct": 50.0}

    def temperature_c(self) -> float:
        return 60.0

    def average_mw(self) -> int:
        return int(WATTS * 1e3)

    def sm_mhz(self) -> int:
        return 1500

    def most_sm_mhz(self) -> int:
        return 1500

    def memory_mhz(self) -> int:
        return 2000

    def clock_events(self) -> int:
        return 0

    def limit_w(self) -> float:
        return 700.0

    def processes(self) -> Mapping[int, str]:
        return {}

    def mig(self) -> bool:
        return False


class Sleeper:
    """Launches that take their time without the interpreter, as waiting for a GPU does."""

    counts: Mapping[str, int] = {}
    cells: Mapping[str, Any] = {}

    def launch(self, n: int) -> float:
        begin = time.perf_counter()
        time.sleep(n * LAUNCH_S)
        return time.perf_counter() - begin

    def close(self) -> None:
        pass


@contextlib.contextmanager
def busy() -> Iterator[None]:
    yield


def test_a_visit_on_the_real_clock() -> None:
    meter = GpuMeter(Sensor(), RealClock(), "nvml_counter")
    meter.counter_period_s = meter.power_period_s = TICK_S
    meter.active_idle = Baseline(100.0, 1.0)
    metering = Metering(meter, busy, VisitSettings(visit_s=1.0, settle_s=0.1, longest_settle_s=0.2))
    visit = metering.visit(Sleeper())
    row = attrs.asdict(with_visits(Row(), [visit], Pool()))
    assert row["energy_j"] == pytest.approx(WATTS * row["time_s"], rel=0.02)
    assert row["energy_alt_j"] == pytest.approx(WATTS * row["time_s"], rel=0.02)
    assert row["dram_bandwidth_pct"] == 50.0
    assert row["windows"] >= 30 and row["temp_start_c"] == 60.0
    assert row["energy_above_active_idle_j"] == pytest.approx(row["energy_j"] - 100.0 * row["time_s"])
    assert 0.0 < meter.sampler.cost < 1.0
