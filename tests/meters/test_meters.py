"""Meters promise: every joule once, refusals that name the remedy, and no number that was not read."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_nvml import FakeNvml
from powercap import Machine
from replay import Load, ReplayedClock
from simulated_gpu import SimulatedGpu

from dibench.errors import UserError
from dibench.measure.instrument import open_instrument, open_sensor
from dibench.measure.settings import Settings
from dibench.meters import NAMES, Reading, open_meter
from dibench.meters.gpu import GpuMeter
from dibench.meters.model import FACTS, ModelMeter
from dibench.meters.rapl import RaplMeter
from dibench.meters.zeus import ZeusMeter


def test_the_model_charges_what_horowitz_published() -> None:
    """1 MAC = 3.7 + 0.9 pJ; 32-bit access of a 32 KB cache = 20/2 pJ; of DRAM = 1300/2 pJ."""
    counts = {
        "macs_executed": 1000,
        "weight_reads": 100,
        "input_reads": 200,
        "output_reads": 30,
        "output_writes": 40,
        "weights": 5,
        "inputs": 6,
        "outputs": 7,
    }
    one_pj = 1000 * (3.7 + 0.9) + (100 + 200 + 30 + 40) * 10 + (5 + 6 + 7) * 650
    reading = ModelMeter().window(lambda: 0.25, counts, 3)
    assert reading.time_s == 0.25
    assert reading.energy_j == pytest.approx(3 * one_pj * 1e-12)
    assert "ISSCC 2014" in FACTS["reference"] and "not a measurement" in FACTS["kind"]


def test_the_model_is_silent_where_counts_are_not_known() -> None:
    assert ModelMeter().window(lambda: 0.25, {"weights": 3}, 1).energy_j is None


def test_auto_never_takes_the_processors_counter_for_another_device() -> None:
    assert open_meter("auto", "some-gpu").source == "model"
    with pytest.raises(UserError, match="does not meter the device of backend some-gpu"):
        open_meter("rapl", "some-gpu")


def test_an_unknown_meter_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=re.escape("must be one of " + ", ".join(NAMES))):
        open_meter("rappl", "cpu")


def test_auto_takes_a_working_sensor_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path)
    here = RaplMeter.open(tmp_path, machine.clock)
    monkeypatch.setattr(RaplMeter, "open", lambda: here)
    assert open_meter("auto", "cpu").source == "rapl"


class Monitor:
    """Zeus's monitor of a GPU that draws 250 W."""

    def __init__(self, joules: float = 500.0) -> None:
        self.joules, self.asked = joules, list[tuple[Any, ...]]()

    def begin_window(self, key: str, sync_execution: bool = True) -> None:
        self.asked.append(("begin", key, sync_execution))

    def end_window(self, key: str, sync_execution: bool = True, cancel: bool = False) -> SimpleNamespace:
        self.asked.append(("end", key, sync_execution, cancel))
        return SimpleNamespace(gpu_energy={0: self.joules})


def test_zeus_reads_our_windows_without_synchronising() -> None:
    monitor = Monitor()
    meter = ZeusMeter(monitor)
    assert meter.window(lambda: 2.0, {}, 1) == Reading(2.0, 500.0)
    assert monitor.asked == [("begin", "dibench", False), ("end", "dibench", False, False)]
    assert (meter.source, meter.has_variance, meter.period_s) == ("zeus", True, 0.1)
    assert "as Zeus reads it" in meter.facts["kind"]


def test_a_window_in_which_zeus_saw_nothing_has_no_energy() -> None:
    assert ZeusMeter(Monitor(0.0)).window(lambda: 1e-3, {}, 1).energy_j is None


def test_a_window_that_fails_is_cancelled() -> None:
    monitor = Monitor()
    with pytest.raises(ZeroDivisionError):
        ZeusMeter(monitor).window(lambda: 1 / 0, {}, 1)
    assert monitor.asked[-1] == ("end", "dibench", False, True)


def test_zeus_is_refused_in_one_line_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="does not meter the device of backend cpu"):
        open_meter("zeus", "cpu")
    monkeypatch.setitem(sys.modules, "zeus.monitor", None)
    with pytest.raises(UserError, match=r"needs Zeus .*pip install 'zeus>="):
        open_meter("zeus", "cuda")

    def refuse(**_: Any) -> None:
        raise RuntimeError("no GPU")

    monkeypatch.setitem(sys.modules, "zeus.monitor", SimpleNamespace(ZeusMonitor=refuse))
    with pytest.raises(UserError, match="Zeus cannot read this GPU: RuntimeError: no GPU"):
        open_meter("zeus", "cuda")
    opened = SimpleNamespace(ZeusMonitor=lambda gpu_indices, cpu_indices: Monitor())
    monkeypatch.setitem(sys.modules, "zeus.monitor", opened)
    assert open_meter("zeus", "cuda").source == "zeus"
    with pytest.raises(UserError, match="does not meter the device of backend cpu"):
        open_meter("nvml_counter+zeus", "cpu")
    assert open_meter("auto", "cuda").source == "model", "only where it is named"
    assert open_meter("zeus", "my_lab.rocm:backend").source == "zeus", "whatever GPU that is"
    with pytest.raises(UserError, match="does not meter the device of backend my_lab"):
        open_meter("nvml_counter", "my_lab.rocm:backend")


@pytest.mark.parametrize(
    ("visible", "uuid", "index"), [((0, 1), "GPU-b", 1), ((1,), "GPU-b", 0), ((1, 0), "GPU-a", 1)]
)
def test_zeus_reads_the_gpu_that_launches(
    visible: tuple[int, ...], uuid: str, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[Any]()
    _show_zeus(monkeypatch, visible, asked)
    ZeusMeter.open(uuid)
    assert asked == [[index]]


def test_zeus_may_stand_beside_our_own_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[Any]()
    _show_zeus(monkeypatch, (0, 1), asked)
    meter = open_meter("nvml_power+zeus", "cuda", "GPU-b")
    assert isinstance(meter, GpuMeter) and meter.source == "nvml_power" and meter.sensor.uuid == "GPU-b"
    assert meter.beside is not None and meter.beside.source == "zeus" and asked == [[1]]


def test_a_gpu_that_zeus_takes_for_another_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA_VISIBLE_DEVICES=1 is CUDA's second GPU, GPU-a, and NVML's second, GPU-b."""
    _show_zeus(monkeypatch, (1,), [])
    with pytest.raises(
        UserError, match=r"set CUDA_DEVICE_ORDER=PCI_BUS_ID, .* it shows GPU-b \(got 'GPU-a'\)"
    ):
        ZeusMeter.open("GPU-a")


def _show_zeus(monkeypatch: pytest.MonkeyPatch, visible: tuple[int, ...], asked: list[Any]) -> None:
    """Zeus on a machine with GPU-a and GPU-b, of which it shows these by NVML's numbers."""

    def monitor(gpu_indices: list[int] | None, cpu_indices: list[int]) -> Monitor:
        asked.append(gpu_indices)
        return Monitor()

    gpus = SimpleNamespace(gpus=[SimpleNamespace(gpu_index=number) for number in visible])
    monkeypatch.setitem(sys.modules, "zeus.monitor", SimpleNamespace(ZeusMonitor=monitor))
    monkeypatch.setitem(sys.modules, "zeus.device", SimpleNamespace(get_gpus=lambda: gpus))
    clock = ReplayedClock()
    replayed = FakeNvml([SimulatedGpu(clock, uuid=uuid) for uuid in ("GPU-a", "GPU-b")])
    monkeypatch.setattr("dibench.meters.nvml.import_pynvml", lambda: replayed)


def test_on_apples_chips_gpu_and_memory_count(monkeypatch: pytest.MonkeyPatch) -> None:
    chip = SimpleNamespace(cpu_total_mj=70, gpu_mj=900, gpu_sram_mj=None, dram_mj=100)
    found = SimpleNamespace(gpu_energy={}, soc_energy=chip)
    monitor = SimpleNamespace(begin_window=lambda *_, **__: None, end_window=lambda *_, **__: found)
    assert ZeusMeter(monitor).window(lambda: 1.0, {}, 1).energy_j == pytest.approx(1.0)


def test_zeus_itself_reads_a_replayed_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Zeus is installed: its monitor on our NVML, edges off by at most a tick on either side."""
    pytest.importorskip("zeus.monitor")
    pynvml, devices = import_module("pynvml"), import_module("zeus.device.gpu")
    clock = ReplayedClock()
    gpu = SimulatedGpu(clock, uuid="GPU-b")
    replayed = FakeNvml([SimulatedGpu(clock, uuid="GPU-a"), gpu])
    for name in dir(replayed):
        if name.startswith("nvml"):
            monkeypatch.setattr(pynvml, name, getattr(replayed, name))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetArchitecture", lambda handle: pynvml.NVML_DEVICE_ARCH_HOPPER)
    unlinked = SimpleNamespace(isC2cEnabled=0)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetC2cModeInfoV", lambda handle: unlinked, raising=False)
    monkeypatch.setattr(devices, "_gpus", None)
    meter = ZeusMeter.open("GPU-b")
    load = Load(500.0, 1e-3)
    gpu.launch(load, 5000)
    found = meter.window(lambda: gpu.launch(load, 5000), {}, 5000)
    assert found.energy_j == pytest.approx(5000 * load.joules(gpu.card), rel=0.04)


def test_a_refused_sensor_comes_with_what_its_caller_takes_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*given: object) -> RaplMeter:
        raise UserError("RAPL", "shows no counter")

    monkeypatch.setattr(RaplMeter, "open", refuses)
    with pytest.raises(UserError) as sweeps:
        open_instrument("cpu", "rapl", Settings())
    with pytest.raises(UserError) as shows:
        open_sensor("cpu", "rapl", Settings())
    assert str(sweeps.value) == (
        "RAPL: shows no counter; to go on without measured joules: --meter model or --meter none"
    )
    assert str(shows.value) == "RAPL: shows no counter; to go on without joules: --meter none"
    assert open_sensor("cpu", "none", Settings())[1] == "not asked for", "the advice can be followed"
    with pytest.raises(UserError, match=r"^--meter: does not meter the device of backend cpu \(got"):
        open_instrument("cpu", "nvml_counter", Settings())
