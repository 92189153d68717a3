"""NVML's answers: the right call on each generation, the right GPU, refusals that name the remedy."""

from __future__ import annotations

import inspect
import math
import sys
import threading
import time
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import attrs
import numpy as np
import pytest
from fake_nvml import CLASSES, FakeNvml, NVMLError
from replay import AMPERE, HOPPER, PASCAL, Card, Fault, Load, Process, ReplayedClock
from simulated_gpu import SimulatedGpu
from visit_rig import Rig

from dibench.errors import UserError
from dibench.measure.settings import VisitSettings
from dibench.meters import nvml
from dibench.meters.gpu import GpuMeter
from dibench.meters.gpu_sensor import (
    ACTIVITY,
    INVALID_ARGUMENT,
    LOST,
    NO_FUNCTION,
    NO_PERMISSION,
    NOT_SUPPORTED,
    TIMEOUT,
    SensorError,
    event_names,
)
from dibench.meters.nvml import NvmlGpu, find, gpus
from dibench.meters.sampler import RealClock, Sampler


def one(card: Card = HOPPER, **how: Any) -> tuple[ReplayedClock, SimulatedGpu, NvmlGpu]:
    clock = ReplayedClock()
    gpu = SimulatedGpu(clock, card)
    return clock, gpu, gpus(FakeNvml([gpu], **how))[0]


def test_every_reading_goes_through() -> None:
    clock = ReplayedClock()
    gpu = SimulatedGpu(clock, uuid="GPU-7", processes=[Process(4711, "Xorg", 10.0)])
    shown = gpus(FakeNvml([gpu]))[0]
    gpu.launch(Load(900.0), 2000)
    assert (shown.uuid, shown.name, shown.duty) == ("GPU-7", "Replayed Hopper", 0.25)
    assert shown.energy_mj() == gpu.energy_mj() and shown.instant_mw() == gpu.instant_mw()
    assert shown.temperature_c() == gpu.temperature_c()
    assert (shown.sm_mhz(), shown.memory_mhz()) == (
        gpu.sm_mhz(),
        gpu.memory_mhz(),
    ) and shown.limit_w() == 700.0
    assert shown.memory_mw() == gpu.memory_mw()
    assert event_names(shown.clock_events()) == "sw_power_cap"
    assert shown.processes() == {4711: "Xorg"} and not shown.mig()


@pytest.mark.parametrize("code", [INVALID_ARGUMENT, NOT_SUPPORTED])
def test_old_drivers_instant_power_is_the_older_call_where_that_is_instant(code: int) -> None:
    _, volta, shown = one(capability=(7, 0), fields=code)
    volta.launch(Load(250.0), 300)
    assert shown.instant_mw() == volta.instant_mw() != volta.average_mw()


def test_the_average_of_a_second_never_stands_in_for_instant_power() -> None:
    _, _, shown = one(capability=(8, 6), fields=INVALID_ARGUMENT)
    with pytest.raises(SensorError, match="does not offer the reading: update the driver"):
        shown.instant_mw()


def test_a_card_without_a_power_limit_is_metered_all_the_same() -> None:
    clock, gpu, shown = one(limit=False)
    meter = GpuMeter(shown, clock, "nvml_counter")
    meter.measure_idle()
    gpu.open_context()
    meter.start(gpu.busy)
    assert math.isinf(meter.limit_w) and meter.facts["power_limit_w"] is None


CALLS = [name for name in dir(FakeNvml) if name.startswith("nvml")]
NEEDED = {"nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetUUID"}
FIELDS = ["field 186", "field 185", "field 185, scope 2"]
ENERGY, POWER = "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage"


@pytest.mark.slow
@pytest.mark.parametrize(
    "driver",
    [
        *({"refuses": {name: NO_PERMISSION}} for name in CALLS + FIELDS),
        *({"absent": [name]} for name in CALLS),
        {"refuses": {ENERGY: NOT_SUPPORTED, "field 186": INVALID_ARGUMENT}, "capability": (7, 0)},
        {"refuses": {ENERGY: NO_PERMISSION, "nvmlDeviceGetFieldValues": NO_FUNCTION}},
    ],
    ids=str,
)
def test_one_call_refused_or_unknown_costs_itself_alone(driver: dict[str, Any]) -> None:
    if NEEDED & {*driver.get("refuses", ()), *driver.get("absent", ())}:
        with pytest.raises(UserError, match=r"NVML( uuid)?: .*(may not read it|is too old)"):
            Rig(driver=driver)
        return
    rig = Rig(driver=driver, settings=VisitSettings(visit_s=1.5))
    row = rig.row()
    assert row["status"] == "ok" and row["energy_j"] == pytest.approx(rig.truth(), rel=0.02)


def test_without_any_sensor_the_reasons_are_told() -> None:
    refuses = {ENERGY: NO_PERMISSION, "nvmlDeviceGetFieldValues": NO_PERMISSION, POWER: NO_PERMISSION}
    with pytest.raises(UserError, match=r"energy counter, instant power.*: this user may not read it"):
        Rig(driver={"refuses": refuses})


def test_calls_go_on_under_their_newer_and_older_names() -> None:
    class Newer(FakeNvml):
        """As bindings may be once the deprecated calls are gone."""

        def nvmlDeviceGetTemperatureV(self, gpu: SimulatedGpu, sensor: int) -> int:
            return super().nvmlDeviceGetTemperature(gpu, sensor)

        def nvmlDeviceGetTemperature(self, gpu: SimulatedGpu, sensor: int) -> int:
            raise self.NVMLError(NO_FUNCTION)

        def nvmlDeviceGetCurrentClocksEventReasons(self, gpu: SimulatedGpu) -> int:
            return 0x2004

    shown = gpus(Newer([SimulatedGpu(ReplayedClock())]))[0]
    assert shown.temperature_c() == one()[2].temperature_c()
    assert event_names(shown.clock_events()) == "sw_power_cap;0x2000", "a reason without a name is told"


def test_one_lost_card_of_a_machine_is_no_reason_to_lose_the_others() -> None:
    clock = ReplayedClock()
    dead = SimulatedGpu(clock, uuid="GPU-a", faults=[Fault(LOST)])
    shown = gpus(FakeNvml([dead, SimulatedGpu(clock, uuid="GPU-b")]))
    assert [(gpu.index, gpu.uuid) for gpu in shown] == [(1, "GPU-b")]
    with pytest.raises(UserError, match="fell off the bus"):
        gpus(FakeNvml([dead]))


def test_another_package_of_the_bindings_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    old = ModuleType("pynvml")
    old.__spec__ = ModuleSpec("pynvml", None)
    monkeypatch.setitem(sys.modules, "pynvml", old)
    with pytest.raises(UserError, match=r"needs nvidia-ml-py in place of the old pynvml"):
        nvml.import_pynvml()


def test_a_card_before_volta_has_no_counter() -> None:
    clock, _, shown = one(PASCAL, capability=(6, 1))
    clock.sleep(1.0)
    with pytest.raises(SensorError, match="update the driver"):
        shown.energy_mj()
    assert shown.instant_mw() > 0


BUSY = Load(500.0, dram_bandwidth_pct=60.0, fp32_pct=25.0, occupancy_pct=50.0)


def test_what_the_units_did_lies_between_two_looks() -> None:
    _, gpu, shown = one()
    assert shown.activity() == {}, "the first look has nothing to compare with"
    assert shown.activity() == {}, "nor have two at once"
    gpu.launch(BUSY, 500)
    gpu.launch(attrs.evolve(BUSY, dram_bandwidth_pct=20.0), 500)
    found = shown.activity()
    assert found == pytest.approx(
        {"dram_bandwidth_pct": 40.0, "fp32_pct": 25.0, "tensor_pct": 0.0, "occupancy_pct": 50.0}, abs=1.0
    )
    gpu.launch(BUSY, 500)
    assert shown.activity()["dram_bandwidth_pct"] == pytest.approx(60.0)
    assert set(found) == set(ACTIVITY)


def test_a_metric_that_a_card_lacks_is_left_out_and_a_look_that_failed_begins_anew() -> None:
    clock = ReplayedClock()
    gpu = SimulatedGpu(clock, faults=[Fault(TIMEOUT, 0.4, 0.6, "activity")])
    shown = gpus(FakeNvml([gpu], lacking=[12]))[0]
    shown.activity()
    gpu.launch(BUSY, 500)
    with pytest.raises(SensorError, match="did not answer"):
        shown.activity()
    gpu.launch(BUSY, 500)
    assert shown.activity() == {}
    gpu.launch(BUSY, 500)
    assert set(shown.activity()) == set(ACTIVITY) - {"fp32_pct"}


def test_what_older_cards_and_bindings_do_not_tell_is_refused_by_its_name() -> None:
    _, _, shown = one(AMPERE, capability=(8, 0))
    for read in (shown.activity, shown.memory_mw):
        with pytest.raises(SensorError, match="does not offer the reading") as refused:
            read()
        assert refused.value.reading == read.__name__

    _, _, shown = one(absent=["nvmlGpmQueryDeviceSupport"])
    with pytest.raises(SensorError, match="nvidia-ml-py is too old"):
        shown.activity()


def test_a_card_that_answers_zero_does_not_meter_its_memory() -> None:
    _, _, shown = one(attrs.evolve(HOPPER, memory_w=0.0))
    with pytest.raises(SensorError, match="does not offer the reading"):
        shown.memory_mw()


def test_the_gpu_is_found_by_uuid_whatever_the_order() -> None:
    clock = ReplayedClock()
    a, b = SimulatedGpu(clock, uuid="GPU-a"), SimulatedGpu(clock, uuid="GPU-b")
    for order in ([a, b], [b, a]):
        assert find(gpus(FakeNvml(order)), "GPU-b").uuid == "GPU-b"
    with pytest.raises(UserError, match=r"must show the GPU that launches, and shows GPU-a, GPU-b"):
        find(gpus(FakeNvml([a, b])), "GPU-c")


def test_mig_is_refused_with_what_to_do() -> None:
    cut = SimulatedGpu(ReplayedClock(), uuid="GPU-m", mig=True)
    for uuid in ("GPU-m", "MIG-1234"):
        with pytest.raises(UserError, match=r"needs a whole GPU.*not a MIG instance"):
            find(gpus(FakeNvml([cut])), uuid)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(9, "nvidia-smi must work"), (12, "install the driver"), (18, "reboot"), (4242, "NVML error 4242")],
)
def test_what_nvml_refuses_names_the_remedy(code: int, remedy: str) -> None:
    with pytest.raises(UserError, match=remedy):
        gpus(FakeNvml([], init_error=code))


def test_a_refusal_becomes_a_sensor_error_with_its_code() -> None:
    clock = ReplayedClock()
    gpu = SimulatedGpu(clock, faults=[Fault(NO_PERMISSION, reading="energy_mj"), Fault(LOST, 1.0)])
    shown = gpus(FakeNvml([gpu]))[0]
    with pytest.raises(SensorError, match="may not read it") as refused:
        shown.energy_mj()
    assert not refused.value.lost and "may not read it" in str(refused.value.refused())
    clock.sleep(2.0)
    with pytest.raises(SensorError) as lost:
        shown.instant_mw()
    assert lost.value.lost


def test_the_sampler_reads_while_launches_run() -> None:
    clock, gpu, shown = one()
    sampler = Sampler(shown, clock, counter=True)
    with sampler.watching():
        gpu.launch(Load(500.0), 2000)
    found = sampler.readings()
    assert len(found.energy_mj) == len(found.power_w) == pytest.approx(401, abs=2)
    assert np.diff(found.energy_at_s) == pytest.approx(5e-3)
    assert found.energy_mj[-1] > found.energy_mj[0] and found.power_w[-1] == pytest.approx(
        gpu.instant_mw() / 1e3
    )
    assert len(found.states) == pytest.approx(21, abs=1) and not found.errors
    with sampler.watching():
        pass
    assert len(sampler.readings().power_w) == 0, "each watch begins anew"


def test_means_of_the_card_count_where_they_lie_in_the_window() -> None:
    clock, gpu, shown = one()
    sampler = Sampler(shown, clock, counter=True, memory=True, activity=True)
    with sampler.watching():
        gpu.launch(attrs.evolve(BUSY, dram_bandwidth_pct=10.0), 1000)
        begin_s = clock.now()
        gpu.launch(BUSY, 3000)
        end_s = clock.now()
        gpu.launch(attrs.evolve(BUSY, dram_bandwidth_pct=10.0), 1000)
    found = sampler.readings()
    assert found.counters(begin_s, end_s) == pytest.approx(
        {"dram_bandwidth_pct": 60.0, "fp32_pct": 25.0, "tensor_pct": 0.0, "occupancy_pct": 50.0,
         "memory_power_w": 100.0 * (1 + 2 * 0.6) / 3},
        abs=1e-3,
    )  # fmt: skip
    assert found.counters(0.0, end_s)["dram_bandwidth_pct"] < 55.0
    assert found.counters(begin_s, begin_s + 0.3) == {}, "nothing lies wholly within so short a time"


def test_what_joules_do_not_need_may_fail_in_silence() -> None:
    clock = ReplayedClock()
    faults = [Fault(TIMEOUT, 1.0, 1.4, "activity"), Fault(TIMEOUT, 0.0, 9.0, "memory_mw")]
    gpu = SimulatedGpu(clock, faults=faults)
    sampler = Sampler(gpu, clock, counter=True, memory=True, activity=True)
    with sampler.watching():
        gpu.launch(BUSY, 3000)
    found = sampler.readings()
    assert not found.errors and len(found.power_w) == pytest.approx(601, abs=2)
    assert set(found.counters(0.0, clock.now())) == set(ACTIVITY)
    lost = SimulatedGpu(clock, faults=[Fault(LOST, reading="activity")])
    watch = Sampler(lost, clock, counter=True, activity=True)
    with watch.watching():
        clock.sleep(0.1)
    assert watch.readings().errors[0][1].lost


def test_the_sampler_survives_errors_and_keeps_them() -> None:
    clock = ReplayedClock()
    gpu = SimulatedGpu(clock, faults=[Fault(TIMEOUT, 0.5, 0.6)])
    sampler = Sampler(gpu, clock, counter=True)
    with sampler.watching():
        gpu.launch(Load(500.0), 1000)
    found = sampler.readings()
    assert len(found.errors) == pytest.approx(20, abs=1)
    assert len(found.power_w) == pytest.approx(181, abs=2)


def test_the_real_clock_reads_in_a_thread_that_ends() -> None:
    clock, ran = RealClock(), threading.Event()
    before = threading.active_count()
    names: list[str] = []

    def do() -> None:
        names.append(threading.current_thread().name)
        if len(names) == 3:
            ran.set()

    with clock.every(1e-3, do):
        assert ran.wait(30.0)
    assert set(names) == {"sampler"} and threading.active_count() == before
    begin = time.perf_counter()
    clock.sleep(0.01)
    assert clock.now() >= begin + 0.01


def test_what_fails_in_the_thread_is_not_lost() -> None:
    clock, tried = RealClock(), threading.Event()

    def do() -> None:
        tried.set()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), clock.every(1e-3, do):
        assert tried.wait(30.0)


def test_what_reading_costs_is_measured() -> None:
    clock = ReplayedClock()

    class Slow(SimulatedGpu):
        def instant_mw(self) -> int:
            clock._now += 1e-4  # a call takes a tenth of a millisecond
            return super().instant_mw()

    sampler = Sampler(Slow(clock), clock, counter=False)
    assert sampler.cost == 0.0
    with sampler.watching():
        clock.sleep(1.0)
    assert sampler.cost == pytest.approx(1e-4 / 5e-3, rel=0.05)


def test_pynvml_has_what_is_asked_of_it() -> None:
    pynvml = pytest.importorskip("pynvml")
    asked = [name for name in dir(FakeNvml) if name.startswith("nvml")]
    for name in asked:
        assert callable(getattr(pynvml, name))
        fake = list(inspect.signature(getattr(FakeNvml, name)).parameters)[1:]
        assert len(inspect.signature(getattr(pynvml, name)).parameters) >= len(fake)
    assert (pynvml.NVML_FI_DEV_POWER_INSTANT, pynvml.NVML_FI_DEV_POWER_AVERAGE) == (186, 185)
    assert (pynvml.NVML_POWER_SCOPE_GPU, pynvml.NVML_POWER_SCOPE_MEMORY) == (0, 2)
    gpm = [getattr(pynvml, f"NVML_GPM_METRIC_{n}") for n in ("DRAM_BW_UTIL", "FP32_UTIL", "ANY_TENSOR_UTIL")]
    assert [*gpm, pynvml.NVML_GPM_METRIC_SM_OCCUPANCY] == list(nvml._GPM.values())
    asked = pynvml.c_nvmlGpmMetricsGet_t()
    assert set(vars(FakeNvml.c_nvmlGpmMetricsGet_t())) == {field for field, _ in asked._fields_}
    assert {"metricId", "nvmlReturn", "value"} <= {field for field, _ in asked.metrics[0]._fields_}
    assert pynvml.NVML_GPM_METRICS_GET_VERSION == FakeNvml.NVML_GPM_METRICS_GET_VERSION
    assert "isSupportedDevice" in dict(pynvml.c_nvmlGpmSupport_t._fields_)
    assert (pynvml.NVML_TEMPERATURE_GPU, pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM) == (0, 1, 2)
    assert pynvml.NVML_VALUE_TYPE_UNSIGNED_INT == 1 and pynvml.NVMLError(10).value == 10
    for code in CLASSES:
        real, ours = pynvml.NVMLError(code), NVMLError(code)
        assert (type(real).__name__, str(real), real.value) == (type(ours).__name__, str(ours), ours.value)
