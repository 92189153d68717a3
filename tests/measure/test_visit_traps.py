"""Each trap of GPU energy, where the naive way fails and this one does not."""

from __future__ import annotations

import contextlib

import attrs
import numpy as np
import pytest
from fake_nvml import FakeNvml
from replay import PASCAL, REFERENCE_C, Fault, Load, Process, ReplayedClock
from simulated_gpu import SimulatedGpu
from visit_rig import CALM, LOAD, Prepared, Rig, assert_good, naive

from dibench.backends import DeviceFaultError
from dibench.errors import UserError
from dibench.measure.budget import Pool
from dibench.measure.metering import Metering
from dibench.measure.settings import VisitSettings
from dibench.measure.visit import with_visits
from dibench.meters import nvml
from dibench.meters.gpu import GpuMeter
from dibench.meters.gpu_sensor import LOST, NO_PERMISSION, RESET_REQUIRED, TIMEOUT, SensorError
from dibench.schema import Row


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
    rig, errors = Rig(attrs.evolve(CALM, overshoot=0.15)), []
    for _ in range(3):
        rig.gpu.rest()
        rig.clock.sleep(5.03)
        errors.append(abs(naive(rig.gpu, LOAD, 0.3) / rig.truth() - 1))
    assert max(errors) > 0.05, "it differs with the phase of the ticks"
    assert_good(rig.row(), rig.truth())


def test_trap_drift_with_temperature() -> None:
    rig = Rig(attrs.evolve(CALM, leakage_per_c=0.003))
    for _ in range(3):
        rig.visit(group="sentinel")
    cold_visit, cold_naive = rig.visit(group="a"), naive(rig.gpu, LOAD, 3.0)
    for number in range(12):
        with rig.gpu.busy():
            rig.clock.sleep(10.0)
        if number % 2:
            rig.visit(group="sentinel")
    warm_visit, warm_naive = rig.visit(group="b"), naive(rig.gpu, LOAD, 3.0)
    cold, warm = rig.cells([cold_visit]), rig.cells([warm_visit])
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
    with pytest.raises(UserError, match=r"may not read it.*--meter nvml_power works here"):
        Rig(faults=[Fault(NO_PERMISSION, reading="energy_mj")], source="nvml_counter")
    with pytest.raises(UserError, match="--meter nvml_power works here"):
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
    visit, pool = metering.visit(Prepared(launching, LOAD)), Pool()
    assert visit.energy is not None and visit.energy.celsius is not None
    pool.add("case", visit.energy)
    truth = LOAD.joules(CALM) * (1 + CALM.leakage_per_c * (visit.energy.celsius - REFERENCE_C))
    assert_good(attrs.asdict(with_visits(Row(), [visit], pool)), truth)


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


def test_trap_a_load_that_no_process_list_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container other processes are invisible; active idle power, measured again now and then, tells."""
    hidden = Process(4711, "python", 60.0, 30.0)
    rig = Rig(settings=VisitSettings(baseline_every_s=20.0), processes=[hidden])
    monkeypatch.setattr(rig.meter.sensor, "processes", dict)
    assert rig.row()["status"] == "ok"
    rig.clock.sleep(25.0)
    row = rig.row()
    assert "active idle power changed from" in row["reason"]
    assert rig.meter.active_idle.ci_w > 20


def test_a_chip_that_got_warmer_is_no_foreign_load_and_its_baseline_is_that_of_its_temperature() -> None:
    rig = Rig(attrs.evolve(CALM, leakage_per_c=0.003), settings=VisitSettings(baseline_every_s=60.0))
    before, cold = rig.meter.active_idle, rig.visit(group="cold")
    with rig.gpu.busy():
        rig.clock.sleep(120.0)
    warm = [rig.visit(group="sentinel") for _ in range(3)]
    after = rig.meter.active_idle
    assert before.celsius and after.celsius and after.celsius > before.celsius + 10
    assert after.power_w > 1.03 * before.power_w
    card, reference_c = rig.gpu.card, rig.pool.typical_c() or 0.0
    idle_w = card.active_idle_w * (1 + card.leakage_per_c * (reference_c - REFERENCE_C))
    for visits in ([cold], warm):
        row = rig.cells(visits)
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
    rig = Rig(settings=VisitSettings(baseline_every_s=20.0), faults=[Fault(TIMEOUT, 40.0, 46.9)])
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
    row = rig.cells([rig.visit(pause_s=0.01)])
    assert row["status"] == "flagged" and "did not launch in 3" in row["reason"]


class Captured(Prepared):
    """As CUDA's graphs: captured when a batch of that size first begins at that place of the ring."""

    def __init__(
        self, gpu: SimulatedGpu, load: Load, ring: int, capture_s: float = 0.3, lap: int = 1
    ) -> None:
        super().__init__(gpu, load)
        self.lap = lap
        self._ring, self._capture_s, self._at = ring, capture_s, 0
        self._graphs: set[tuple[int, int]] = set()

    def launch(self, n: int) -> float:
        if (self._at, n) not in self._graphs:
            self._graphs.add((self._at, n))
            self._gpu.rest()
            self._gpu._clock.sleep(self._capture_s)
        self._at = (self._at + n) % self._ring
        return super().launch(n)


def test_a_case_that_tells_its_lap_captures_one_batch() -> None:
    """Batches that were no multiple of seven sets began at each of them, and were captured seven times."""
    for lap, times in ((7, 1), (1, 7)):
        rig = Rig()
        prepared = Captured(rig.gpu, Load(500.0, 5e-3), ring=7, capture_s=0.05, lap=lap)
        rig.metering.visit(prepared)
        sizes = [n for _, n in prepared._graphs]
        assert sizes.count(max(sizes)) == times and max(sizes) % lap == 0


@pytest.mark.parametrize("ring", [1, 4])
def test_trap_graphs_captured_inside_the_window(ring: int) -> None:
    """A whole network of 5 ms: capturing 60 inferences takes the host 0.3 s, while the GPU waits."""
    rig, network = Rig(), Load(500.0, 5e-3)
    prepared = Captured(rig.gpu, network, ring)
    prepared.launch(1)
    with rig.gpu.busy():
        rig.clock.sleep(0.5)
    visit = rig.metering.visit(prepared)
    assert visit.energy is not None
    rig.pool.add("case", visit.energy)
    assert_good(rig.cells([visit]), rig.truth(network))
