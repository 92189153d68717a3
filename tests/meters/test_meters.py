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
from replay import Load, ReplayedClock
from simulated_gpu import SimulatedGpu

from dibench.errors import UserError
from dibench.meters import NAMES, Reading, open_meter
from dibench.meters.gpu import GpuMeter
from dibench.meters.model import FACTS, ModelMeter
from dibench.meters.rapl import RaplMeter, Zone, find_zones
from dibench.meters.zeus import ZeusMeter


class Machine:
    """A powercap tree whose counters follow a replayed clock: 50 W packages, 5 W DRAM, steps of 1 ms."""

    RANGE_UJ = 262_143_328_850

    def __init__(self, root: Path, packages: int = 2) -> None:
        self.root, self.now = root, 0.0
        self.watts: dict[Path, tuple[float, int]] = {}
        for package in range(packages):
            top = root / f"intel-rapl:{package}"
            self.zone(top, f"package-{package}", 50.0, start_uj=1000 * package)
            self.zone(top / f"intel-rapl:{package}:0", "core", 30.0)
            self.zone(top / f"intel-rapl:{package}:1", "dram", 5.0)
        # Readings that contain, or repeat, the packages.
        self.zone(root / f"intel-rapl:{packages}", "psys", 120.0)
        self.zone(root / "intel-rapl-mmio:0", "package-0", 50.0)

    def zone(self, path: Path, name: str, watts: float, start_uj: int = 0) -> None:
        path.mkdir(parents=True)
        (path / "name").write_text(name + "\n")
        (path / "max_energy_range_uj").write_text(f"{self.RANGE_UJ}\n")
        (path / "energy_uj").write_text(f"{start_uj}\n")
        self.watts[path / "energy_uj"] = (watts, start_uj)

    def pass_time(self, seconds: float) -> float:
        self.now += seconds
        ticks = int(self.now * 1000 + 1e-6)
        for counter, (watts, start_uj) in self.watts.items():
            counter.write_text(f"{(start_uj + int(ticks * watts * 1000)) % self.RANGE_UJ}\n")
        return self.now

    def clock(self) -> float:
        return self.pass_time(0.0002)


def test_rapl_sums_packages_and_dram_once(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    meter = RaplMeter.open(tmp_path, machine.clock)
    assert meter.facts["zones"] == ["package-0", "package-1", "package-0/dram", "package-1/dram"]
    reading = meter.window(lambda: machine.pass_time(2.0) and 2.0, {}, 1)
    assert reading.time_s == 2.0
    assert reading.energy_j == pytest.approx(2.0 * (50 + 50 + 5 + 5), rel=1e-3)
    assert (meter.source, meter.has_variance) == ("rapl", True)


def test_rapl_detects_its_update_period(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert RaplMeter.open(tmp_path, machine.clock).period_s == pytest.approx(1e-3, rel=0.21)


def test_rapl_counts_through_the_wrap_around(tmp_path: Path) -> None:
    machine = Machine(tmp_path, packages=1)
    meter = RaplMeter.open(tmp_path, machine.clock)
    counter = tmp_path / "intel-rapl:0" / "energy_uj"
    machine.watts[counter] = (50.0, machine.RANGE_UJ - 40_000_000 - int(machine.now * 50e6))
    machine.pass_time(0.0)
    before = int(counter.read_text())
    reading = meter.window(lambda: machine.pass_time(2.0) and 2.0, {}, 1)
    assert int(counter.read_text()) < before, "the counter began anew inside the window"
    assert reading.energy_j == pytest.approx(2.0 * (50 + 5), rel=1e-3)


def test_rapl_refuses_a_machine_without_counters(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no package counter.*--meter model"):
        RaplMeter.open(tmp_path)
    with pytest.raises(UserError, match="no package counter"):
        RaplMeter.open(tmp_path / "absent")


def test_rapl_refuses_a_counter_that_stands_still(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    now = iter(range(1_000_000))
    with pytest.raises(UserError, match="does not change"):
        RaplMeter.open(machine.root, lambda: next(now) * 0.01)


def test_rapl_names_the_remedy_where_the_user_may_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may read everything, so the refusal is replayed.
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UserError, match=r"may not be read by this user: run as root, or .*sudo chmod a\+r"):
        Zone("package-0", Path("energy_uj"), 1000).read_uj()


def test_rapl_explains_a_counter_that_is_no_number(tmp_path: Path) -> None:
    machine = Machine(tmp_path, packages=1)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("?\n")
    with pytest.raises(UserError, match="energy_uj cannot be read"):
        RaplMeter.open(machine.root, machine.clock)
    (tmp_path / "intel-rapl:0" / "max_energy_range_uj").unlink()
    with pytest.raises(UserError, match="max_energy_range_uj cannot be read"):
        find_zones(tmp_path)


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
    with pytest.raises(UserError, match=r"needs Zeus .*pip install 'dibench\[zeus\]'"):
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
