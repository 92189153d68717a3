"""Visits to a metered GPU: each trap of GPU energy, where the naive way fails and this one does not."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest
from fake_nvml import FakeNvml

from dibench import schema
from dibench.backends import DeviceFaultError
from dibench.errors import UserError
from dibench.measure.budget import Pool
from dibench.measure.settings import VisitSettings
from dibench.measure.stays import Stay, cells
from dibench.measure.visits import Metering
from dibench.meters import nvml
from dibench.meters.gpu import GpuMeter
from dibench.meters.gpu_sensor import ACTIVITY, LOST, NO_PERMISSION, RESET_REQUIRED, TIMEOUT, SensorError
from dibench.meters.replay import (
    AMPERE,
    DESKTOP,
    HOPPER,
    PASCAL,
    REFERENCE_C,
    VOLTA,
    Card,
    Fault,
    Load,
    Process,
    ReplayedClock,
)
from dibench.meters.simulated import SimulatedGpu
from dibench.meters.zeus import ZeusMeter

LOAD = Load(500.0, 1e-3)
CALM = attrs.evolve(HOPPER, ripple=0.005, stay=0.001)


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
        **how: Any,
    ) -> None:
        self.clock = ReplayedClock()
        self.gpu = SimulatedGpu(self.clock, card, seed=seed, **how)
        zeus = ZeusMeter(Monitor(self.gpu)) if beside else None
        self.meter = GpuMeter(nvml.gpus(FakeNvml([self.gpu]))[0], self.clock, source, beside=zeus)
        self.clock.sleep(0.5)
        self.meter.measure_idle()
        self.gpu.open_context()
        self.meter.start(self.gpu.busy)
        self.metering = Metering(self.meter, self.gpu.busy, settings)
        self.pool = Pool()

    def stay(self, load: Load = LOAD, group: str = "case", pause_s: float = 0.0) -> Stay:
        with self.gpu.busy():
            self.clock.sleep(0.5)
        stay = self.metering.visit(Prepared(self.gpu, load, pause_s))
        if stay.energy is not None:
            self.pool.add(group, stay.energy)
        return stay

    def cells(self, stays: Sequence[Stay], instances: int = 1) -> dict[str, Any]:
        source = {"energy_source": self.meter.source, "meter_period_s": self.meter.period_s}
        return source | cells(stays, self.pool, instances)

    def row(self, load: Load = LOAD, visits: int = 1, group: str = "case") -> dict[str, Any]:
        return self.cells([self.stay(load, group) for _ in range(visits)])

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


# -- a row ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("card", [HOPPER, AMPERE, DESKTOP, VOLTA, PASCAL], ids=lambda card: str(card.name))
def test_a_row_says_everything_and_is_right(card: Card) -> None:
    rig = Rig(card)
    load = Load(0.7 * card.limit_w, 2e-4)
    row = rig.row(load, visits=3)
    assert_good(row, rig.truth(load))
    assert set(row) <= set(schema.NAMES)
    assert row["visits"] == 3 and row["windows"] >= 3 * 4 and row["launches"] >= 3 * 3.0 / 2e-4
    assert row["time_s"] == pytest.approx(2e-4, rel=1e-2) and row["time_ci_s"] < 0.01 * row["time_s"]
    assert row["energy_source"] == "simulated"
    assert row["meter_period_s"] == pytest.approx(card.counter_s or card.power_s, rel=0.02)
    assert row["idle_power_w"] == pytest.approx(card.idle_w, rel=0.1)
    assert row["active_idle_power_w"] == pytest.approx(card.active_idle_w, rel=0.1)
    above = row["energy_j"] - row["active_idle_power_w"] * row["time_s"]
    assert row["energy_above_active_idle_j"] == pytest.approx(above)
    assert row["energy_above_idle_j"] > row["energy_above_active_idle_j"]
    budget = [row[f"ci_{part}_j"] for part in ("tick", "spread", "drift")]
    assert row["energy_ci_j"] == pytest.approx(np.hypot.reduce(budget))
    assert 0 < row["ci_baseline_j"] < 0.02 * row["energy_j"]
    assert row["clock_events"] == "" and row["sm_clock_mhz"] == pytest.approx(card.clock_mhz, rel=0.02)
    assert row["temp_end_c"] >= 30
    assert ("memory_power_w" in row) == (card.memory_w is not None)
    assert set(ACTIVITY) <= set(row) if card.gpm else set(ACTIVITY).isdisjoint(row)
    if card.counter_s is not None:
        assert row["energy_alt_j"] == pytest.approx(row["energy_j"], rel=0.02)


def test_what_the_cards_own_counters_say_stands_in_the_row_per_visit_not_per_launch() -> None:
    rig = Rig()
    load = attrs.evolve(LOAD, dram_bandwidth_pct=50.0, fp32_pct=80.0, tensor_pct=10.0, occupancy_pct=60.0)
    stays = [rig.stay(load) for _ in range(2)]
    row = rig.cells(stays, 4)
    assert {name: row[name] for name in ACTIVITY} == pytest.approx(
        {"dram_bandwidth_pct": 50.0, "fp32_pct": 80.0, "tensor_pct": 10.0, "occupancy_pct": 60.0}, abs=0.1
    )
    assert row["memory_power_w"] == pytest.approx(100.0 * 2 / 3, abs=0.01)
    lacking = attrs.evolve(stays[0], counters={"dram_bandwidth_pct": 50.0})
    assert "fp32_pct" not in rig.cells([lacking, stays[1]], 1), "not the mean of one visit of two"


def test_zeus_reads_the_same_windows_beside_ours() -> None:
    """A window of 3 s holds 30 ticks of 100 ms, or one more or less: off by 3%, right on average."""
    rig = Rig(beside=True)
    rows = [rig.row(Load(500.0, 1.013e-3)) for _ in range(12)]
    ratios = [row["zeus_power_w"] / row["power_w"] for row in rows]
    assert all(abs(ratio - 1) < 0.04 for ratio in ratios) and np.ptp(ratios) > 0.01
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.012)
    assert "beside" in rig.meter.facts and "zeus_power_w" not in Rig().row()


def test_instances_share_a_launch() -> None:
    rig = Rig()
    stay = rig.stay()
    one, four = (rig.cells([stay], instances) for instances in (1, 4))
    for cell in ("time_s", "energy_j", "energy_ci_j", "energy_above_idle_j", "ci_tick_j", "energy_alt_j"):
        assert four[cell] == pytest.approx(one[cell] / 4)
    assert four["power_w"] == one["power_w"] and four["launches"] == one["launches"]


def test_the_facts_say_what_was_found() -> None:
    facts = Rig().meter.facts
    assert facts["counter_period_s"] == pytest.approx(0.1, rel=0.01) == facts["power_period_s"]
    assert facts["estimator"] == "energy counter" and facts["share_of_period_seen"] == 0.25
    assert "5% to 13%" in facts["gain"] and "of a CPU core" in facts["reading"]
    assert Rig(PASCAL).meter.facts["estimator"] == "instant power"


def test_power_may_be_asked_for_where_there_is_a_counter() -> None:
    rig = Rig(source="nvml_power")
    row = rig.row()
    assert_good(row, rig.truth())
    assert row["energy_source"] == "nvml_power"


@pytest.mark.parametrize("launch_s", [5e-6, 0.0123, 0.37, 2.0])
def test_kernels_of_microseconds_and_of_seconds(launch_s: float) -> None:
    rig = Rig()
    load = Load(450.0, launch_s, contrast=0.2)
    row = rig.row(load)
    assert_good(row, rig.truth(load))
    assert row["launches"] == pytest.approx(max(3.0 / launch_s, 2), rel=0.7)


# -- traps ----------------------------------------------------------------------------------------------


def test_trap_edges_that_are_not_aligned() -> None:
    rig = Rig(attrs.evolve(CALM, counter_s=0.5))
    with rig.gpu.busy():
        rig.clock.sleep(5.0)
    errors = [abs(naive(rig.gpu, LOAD, 1.13) / rig.truth() - 1) for _ in range(8)]
    assert max(errors) > 0.1
    assert_good(rig.row(), rig.truth())


def test_trap_a_quarter_of_the_time_is_seen() -> None:
    load = Load(450.0, 0.1, contrast=0.4)
    errors = []
    for seed in range(4):
        rig = Rig(seed=seed)
        errors.append(abs(naive(rig.gpu, load, 5.0) / rig.truth(load) - 1))
        row = rig.row(load)
        assert row["status"] == "flagged" and "in step with the sensor" in row["reason"]
    assert max(errors) > 0.2


def test_trap_the_average_of_a_second_read_as_if_instant() -> None:
    rig = Rig()
    rig.gpu.rest()
    rig.clock.sleep(2.0)
    watts = []
    with rig.clock.every(0.02, lambda: watts.append(rig.gpu.average_mw() * 1e-3)):
        rig.gpu.launch(LOAD, 1000)
    assert np.mean(watts) * LOAD.launch_s / rig.truth() < 0.8
    assert_good(rig.row(), rig.truth())


def test_trap_clocks_that_have_not_settled_and_a_cold_start() -> None:
    rig = Rig(attrs.evolve(CALM, overshoot=0.15))
    rig.gpu.rest()
    rig.clock.sleep(5.0)
    assert abs(naive(rig.gpu, LOAD, 0.3) / rig.truth() - 1) > 0.05
    assert_good(rig.row(), rig.truth())


def test_trap_drift_with_temperature() -> None:
    rig = Rig(attrs.evolve(CALM, leakage_per_c=0.003))
    for _ in range(3):
        rig.stay(group="sentinel")
    cold_stay, cold_naive = rig.stay(group="a"), naive(rig.gpu, LOAD, 3.0)
    for number in range(12):
        with rig.gpu.busy():
            rig.clock.sleep(10.0)
        if number % 2:
            rig.stay(group="sentinel")
    warm_stay, warm_naive = rig.stay(group="b"), naive(rig.gpu, LOAD, 3.0)
    cold, warm = rig.cells([cold_stay]), rig.cells([warm_stay])
    assert warm["temp_start_c"] - cold["temp_start_c"] > 8
    assert warm_naive / cold_naive > 1.02
    for row in (cold, warm):
        assert abs(row["energy_j"] - rig.truth()) <= row["energy_ci_j"]
    assert warm["energy_j"] / cold["energy_j"] == pytest.approx(1.0, abs=0.012)


def test_trap_throttling_is_written_down_with_the_energy() -> None:
    """The naive joules of a capped load pass for those of the same kernel at full clock, which costs more."""
    load = Load(900.0, 1e-3)
    rig = Rig()
    assert naive(rig.gpu, load, 5.0) < 0.9 * load.power_w * load.launch_s
    row = rig.row(load)
    assert_good(row, rig.truth(load))
    assert row["clock_events"] == "sw_power_cap" and row["sm_clock_mhz"] < 1900
    assert row["time_s"] > 1.05e-3
    assert rig.row()["clock_events"] == ""


@pytest.mark.parametrize(("step", "said"), [(-10_000_000, "went back from"), (4_000_000, "jumped by 4")])
def test_trap_the_counter_begins_anew_or_jumps(step: int, said: str) -> None:
    rig = Rig(counter_steps=[(at, step) for at in (18.0,)])
    assert rig.clock.now() < 14.5
    rig.clock.sleep(14.8 - rig.clock.now())
    row = rig.row()
    assert rig.clock.now() > 18.5
    assert row["status"] == "flagged" and said in row["reason"]
    assert row.get("energy_j") is None
    assert row["energy_alt_j"] == pytest.approx(rig.truth(), rel=0.02)
    again = Rig(counter_steps=[(15.5, step)])
    again.clock.sleep(14.8 - again.clock.now())
    assert abs(naive(again.gpu, LOAD, 2.0) / again.truth() - 1) > 1


def test_trap_nvml_errors_in_mid_window() -> None:
    rig = Rig(faults=[Fault(TIMEOUT, 17.0, 17.2)])
    rig.clock.sleep(14.8 - rig.clock.now())
    row = rig.row()
    assert row["status"] == "flagged"
    assert "NVML, 40 of" in row["reason"] and "did not answer in time" in row["reason"]
    assert abs(row["energy_j"] - rig.truth()) <= row["energy_ci_j"]
    again = Rig(faults=[Fault(TIMEOUT, 17.0, 17.2)])
    again.clock.sleep(14.1 - again.clock.now())
    with pytest.raises(SensorError, match="did not answer"):  # as it ends in the middle of the errors
        naive(again.gpu, LOAD, 3.0)


def test_trap_the_device_is_lost() -> None:
    rig = Rig(faults=[Fault(LOST, 17.0)])
    rig.clock.sleep(14.8 - rig.clock.now())
    with pytest.raises(DeviceFaultError, match="fell off the bus"):
        rig.row()


def test_trap_a_device_that_only_nvml_lost() -> None:
    """By instant power, averaged as it comes, nothing looks wrong: launches still return."""
    rig = Rig(faults=[Fault(RESET_REQUIRED, 17.0, reading="energy_mj")])
    rig.clock.sleep(14.8 - rig.clock.now())
    with pytest.raises(DeviceFaultError, match="must be reset"):
        rig.row()


def test_trap_permission_refused() -> None:
    """Where the naive way takes what it cannot read for nothing, a launch costs nothing."""
    refused = SimulatedGpu(ReplayedClock(), faults=[Fault(NO_PERMISSION, reading="energy_mj")])
    read = []
    for _ in range(2):
        with contextlib.suppress(SensorError):
            read.append(refused.energy_mj())
    assert sum(read) == 0
    with pytest.raises(UserError, match="may not read it: ask the administrator"):
        Rig(faults=[Fault(NO_PERMISSION)])
    with pytest.raises(UserError, match="may not read it"):
        Rig(faults=[Fault(NO_PERMISSION, reading="energy_mj")])
    with pytest.raises(UserError, match="use --meter nvml_power"):
        Rig(PASCAL, source="nvml_counter")


def test_trap_the_wrong_gpu_is_metered() -> None:
    """CUDA's first GPU is NVML's second: by position one meters a GPU that idles."""
    clock = ReplayedClock()
    launching, idling = (SimulatedGpu(clock, CALM, uuid=uuid) for uuid in ("GPU-b", "GPU-a"))
    shown = nvml.gpus(FakeNvml([idling, launching]))
    launching.open_context()
    before = shown[0].energy_mj()
    launching.launch(LOAD, 3000)
    assert (shown[0].energy_mj() - before) * 1e-3 / 3000 < 0.3 * LOAD.joules(CALM)
    wrong = GpuMeter(shown[0], clock, "simulated")
    with pytest.raises(
        UserError, match=r"must be the one that launches: power stayed at 7[0-9] W under load"
    ):
        wrong.start(launching.busy)
    meter = GpuMeter(nvml.find(shown, launching.uuid), clock, "simulated")
    meter.start(launching.busy)
    metering = Metering(meter, launching.busy)
    with launching.busy():
        clock.sleep(0.5)
    stay, pool = metering.visit(Prepared(launching, LOAD)), Pool()
    assert stay.energy is not None
    pool.add("case", stay.energy)
    truth = LOAD.joules(CALM) * (1 + CALM.leakage_per_c * (stay.energy.celsius - REFERENCE_C))
    assert_good(cells([stay], pool, 1), truth)


def test_trap_a_gpu_cut_into_instances() -> None:
    """The sensors of a MIG device see the neighbour's work: read naively it is ours."""
    neighbour = Process(4711, "python", 200.0)
    gpu = SimulatedGpu(ReplayedClock(), CALM, uuid="GPU-cut", mig=True, processes=[neighbour])
    gpu.open_context()
    assert naive(gpu, LOAD, 5.0) > 1.3 * LOAD.joules(CALM)
    for uuid in ("GPU-cut", "MIG-4f1c"):
        with pytest.raises(UserError, match="needs a whole GPU"):
            nvml.find(nvml.gpus(FakeNvml([gpu])), uuid)


def test_trap_another_process_appears() -> None:
    desktop = Process(17, "Xorg", 10.0)
    rig = Rig(processes=[desktop, Process(4711, "python", 100.0, 22.0)])
    rig.clock.sleep(14.8 - rig.clock.now())
    assert rig.row()["reason"] == "", "what was there from the start is baseline"
    rig.clock.sleep(22.0 - rig.clock.now())
    assert naive(rig.gpu, LOAD, 3.0) / rig.truth() > 1.1
    row = rig.row()
    assert row["status"] == "flagged" and "process 4711 (python) came to this GPU" in row["reason"]


def test_trap_a_load_that_no_process_list_shows() -> None:
    """In a container other processes are invisible; active idle power, measured again now and then, tells."""
    hidden = Process(4711, "python", 60.0, 30.0)
    rig = Rig(settings=VisitSettings(baseline_every_s=20.0), processes=[hidden])
    rig.metering._meter.sensor.processes = dict  # type: ignore[method-assign]
    assert rig.row()["status"] == "ok"
    rig.clock.sleep(25.0)
    row = rig.row()
    assert "active idle power changed from" in row["reason"]
    assert rig.meter.active_idle.ci_w > 20


def test_a_chip_that_got_warmer_is_no_foreign_load_and_its_baseline_is_that_of_its_temperature() -> None:
    rig = Rig(attrs.evolve(CALM, leakage_per_c=0.003), settings=VisitSettings(baseline_every_s=60.0))
    before, cold = rig.meter.active_idle, rig.stay(group="cold")
    with rig.gpu.busy():
        rig.clock.sleep(120.0)
    warm = [rig.stay(group="sentinel") for _ in range(3)]
    after = rig.meter.active_idle
    assert before.celsius and after.celsius and after.celsius > before.celsius + 10
    assert after.power_w > 1.03 * before.power_w
    card, reference_c = rig.gpu.card, rig.pool.typical_c() or 0.0
    idle_w = card.active_idle_w * (1 + card.leakage_per_c * (reference_c - REFERENCE_C))
    for stays in ([cold], warm):
        row = rig.cells(stays)
        assert row["status"] == "ok", row["reason"]
        above = rig.truth() - idle_w * row["time_s"]
        half = np.hypot(row["energy_ci_j"], row["ci_baseline_j"])
        assert abs(row["energy_above_active_idle_j"] - above) <= half < 0.06 * above
    assert row["active_idle_power_w"] == pytest.approx(idle_w, rel=0.01), "of the warm visits"


def test_a_process_list_that_may_not_be_read_flags_nothing() -> None:
    hidden = Fault(NO_PERMISSION, 5.0, 16.0, reading="processes")
    rig = Rig(faults=[hidden], processes=[Process(17, "Xorg")])
    assert 5.0 < rig.clock.now() < 16.0
    rig.clock.sleep(20.0)
    assert rig.row()["status"] == "ok"


def test_a_baseline_that_cannot_be_measured_again_flags_and_keeps_the_old_one() -> None:
    rig = Rig(settings=VisitSettings(baseline_every_s=20.0), faults=[Fault(TIMEOUT, 40.0, 44.5)])
    before = rig.meter.active_idle
    rig.clock.sleep(39.5 - rig.clock.now())
    row = rig.row()
    assert row["status"] == "flagged" and "active idle power was not measured again" in row["reason"]
    assert rig.meter.active_idle == before
    stated = before.at(rig.pool.typical_c() or 0.0, rig.pool.leakage()[0])
    assert row["active_idle_power_w"] == stated.power_w


def test_trap_estimators_that_disagree() -> None:
    rig = Rig(attrs.evolve(CALM, counter_gain=0.93))
    row = rig.row()
    assert row["status"] == "flagged"
    assert "two estimators differ by 7" in row["reason"] and "counter 0." in row["reason"]
    assert row["energy_alt_j"] / row["energy_j"] == pytest.approx(1 / 0.93, rel=0.02)


def test_trap_power_that_never_settles() -> None:
    class Restless(SimulatedGpu):
        def launch(self, load: Load, n: int) -> float:
            power_w = 300.0 + 20.0 * (self._clock.now() % 30)
            return super().launch(attrs.evolve(load, power_w=power_w), n)

    rig = Rig()
    rig.gpu.__class__ = Restless
    row = rig.row()
    assert row["status"] == "flagged"
    assert "had not settled" in row["reason"] or "within the window" in row["reason"]


def test_trap_pauses_between_launches() -> None:
    rig = Rig()
    row = rig.cells([rig.stay(pause_s=0.01)])
    assert row["status"] == "flagged" and "did not launch in 3" in row["reason"]


# -- the whole, through the sampler -----------------------------------------------------------------------


def test_intervals_cover_through_the_whole_loop() -> None:
    """Fewer cases than test_budget.py, but every line that a real GPU would run."""
    covered = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        card = attrs.evolve(HOPPER, ripple=float(rng.uniform(0.005, 0.02)), stay=0.003)
        rig = Rig(card, seed=seed)
        for _ in range(3):
            rig.stay(group="sentinel")
        for number in range(8):
            load = Load(float(rng.uniform(300, 650)), float(np.exp(rng.uniform(np.log(5e-6), np.log(0.5)))))
            row = rig.row(load, group=f"case {number}")
            covered.append(abs(row["energy_j"] - rig.truth(load)) <= row["energy_ci_j"])
    assert np.mean(covered) >= 0.93
