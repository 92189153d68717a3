"""`doctor`: which meters work here, which do not, why, and what would change that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_nvml import FakeNvml
from replay import HOPPER, PASCAL, Card, Fault, ReplayedClock
from simulated_gpu import SimulatedGpu

from dibench.backends.cuda_driver import Gpu
from dibench.cli import main
from dibench.measure import calibration
from dibench.meters.gpu_sensor import NO_PERMISSION, OPERATING_SYSTEM

GPU = Gpu(
    name="Replayed", uuid="GPU-simulated-0", arch=90, cuda=13, cuda_version="13.0", memory_bytes=2**36,
    sms=132, l2_bytes=2**25, shared_bytes=2**17, clock_khz=1980000, memory_clock_khz=2619000,
    memory_bus_bits=5120, ecc=True,
)  # fmt: skip


@pytest.fixture
def findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """What it says of a machine with a replayed GPU, by what was looked at."""

    def look(card: Card | None = HOPPER, **how: Any) -> Mapping[str, Mapping[str, Any]]:
        gpu = "there is no NVIDIA driver" if card is None else GPU
        monkeypatch.setattr("dibench.backends.cuda_driver.gpu", lambda: gpu)
        monkeypatch.setenv("DIBENCH_CACHE", str(tmp_path))
        shown = FakeNvml([SimulatedGpu(ReplayedClock(), card or HOPPER, **how)], capability=(6, 1))
        monkeypatch.setattr("dibench.meters.nvml.import_pynvml", lambda: shown)
        with pytest.raises(SystemExit) as ended:
            main(["doctor", "--json"])
        assert ended.value.code == 0
        return {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}

    return look


def test_a_gpu_that_is_read_in_both_ways(findings: Any, tmp_path: Path) -> None:
    found = findings()
    assert found["nvml_counter"]["ok"] and found["nvml_power"]["ok"]
    assert found["nvml_counter"]["seen"] == (
        "energy counter of Replayed Hopper, limit 700 W, power of the memory, GPM metrics"
    )
    assert not found["calibration"]["ok"] and "dibench calibrate" in found["calibration"]["remedy"]
    (kept := calibration.path_of(GPU.uuid, "")).parent.mkdir(parents=True)
    kept.write_text("{}")
    assert findings()["calibration"]["ok"]


def test_a_card_before_volta_has_power_only(findings: Any) -> None:
    found = findings(PASCAL)
    assert found["nvml_power"]["ok"] and not found["nvml_counter"]["ok"]
    assert found["nvml_power"]["seen"] == "instant power of Replayed Pascal, limit 300 W"
    assert "does not offer the reading" in found["nvml_counter"]["seen"]
    assert "--meter nvml_power" in found["nvml_counter"]["remedy"]


def test_a_reading_that_is_refused_for_itself_is_named(findings: Any) -> None:
    found = findings(faults=[Fault(OPERATING_SYSTEM, reading="limit_w"), Fault(3, reading="clock_events")])
    for source, what in (("nvml_counter", "energy counter"), ("nvml_power", "instant power")):
        assert found[source]["ok"]
        assert found[source]["seen"] == (
            f"{what} of Replayed Hopper, no limit named, power of the memory, GPM metrics; not readable: "
            "power limit (the operating system blocks the GPU's control device); "
            "clock events (this GPU or driver does not offer the reading)"
        )


def test_refusals_name_the_remedy(findings: Any) -> None:
    found = findings(faults=[Fault(NO_PERMISSION)])
    assert "may not read it" in found["nvml_counter"]["seen"]
    assert "administrator" in found["nvml_power"]["remedy"]
    found = findings(mig=True)
    assert (
        "needs a whole GPU" in found["nvml_counter"]["seen"]
        and "disable MIG" in found["nvml_counter"]["remedy"]
    )


def test_without_a_driver_and_without_zeus(findings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dibench.meters.zeus.release", lambda: "")
    found = findings(None)
    assert found["nvml_counter"]["seen"] == "there is no NVIDIA driver" and "calibration" not in found
    assert "pip install 'zeus>=" in found["zeus"]["remedy"]
    monkeypatch.setattr("dibench.meters.zeus.release", lambda: "0.16.0")
    assert findings(None)["zeus"]["ok"]


def test_the_summary_names_the_sensors(findings: Any, capsys: pytest.CaptureFixture[str]) -> None:
    findings()
    with pytest.raises(SystemExit):
        main(["doctor"])
    assert "energy by" in (said := capsys.readouterr().out) and "nvml_counter, nvml_power" in said
