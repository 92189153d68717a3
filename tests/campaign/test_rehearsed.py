"""Whole campaigns as their user runs them: kernels on the harness, time and joules replayed (rehearsed_gpu).

Killed, ended by the budget, gone on with, on another machine too; and with all failing that may before it.
Nothing here is evidence: the joules are simulated, and say so in every row.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import campaign_stages
import fake_gpu
import pandas as pd
import pytest
import rehearsed_gpu
from processes import alive, children, environment, lines, wait_for

from dibench import kernels
from dibench.backends import host
from dibench.check import selftest
from dibench.kernels import compilers
from dibench.layer import Layer
from dibench.plan.stages import Stages, load_stages
from dibench.sweep.merge import gather
from dibench.table import read_csv

TINY = Path(__file__).parents[1] / "support" / "campaign_tiny.stages.toml"
MEASURED = Path(__file__).parents[2] / "scripts" / "measured.sh"
ARCH, SCALE = 90, "4096"
OPTIONS = ("--backend", "rehearsed_gpu:backend", "--meter", "rehearsed_gpu:meter")
ALPHA = 0.6  # of replayed_device
STARTED_BEFORE = 12


@pytest.fixture(scope="module")
def tiny() -> Stages:
    """The stages, with the kernels that the selftest of them compiles already there."""
    found = load_stages(arch=ARCH, no_library="not here", path=TINY)
    family = [kernels.registry("cuda")[name] for name in found.variants]

    def build(job: tuple[Any, Any]) -> None:
        variant, case = job
        constants = compilers.constants(variant, case.layer, case.knobs, dtype=case.dtype)
        host.build(variant.path.read_text("utf-8"), variant.name, constants)

    jobs = [(one, case) for one in family for case in selftest.cases_of(one, selftest.EDGES, ARCH)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(build, jobs))
    return found


BARE = """
import sys
import threading

class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {lacking} or name == "dibench._cpu":
            raise ImportError(name + " is not installed on this machine")

sys.meta_path.insert(0, Lacking())
"""
LACKING = {"statsmodels", "torch", "torchvision", "timm", "onnx", "pybind11", "dask", "distributed", "zeus"}


def bare(where: dict[str, str], place: Path) -> dict[str, str]:
    """That machine without the compiled extension and all that a campaign does not need, not even git."""
    (place / "bare").mkdir()
    (place / "bare" / "sitecustomize.py").write_text(BARE.replace("{lacking}", repr(LACKING)))
    (place / "bin").mkdir()
    for tool in ("g++", "as", "ld", "cc1plus"):  # for the harness
        if found := shutil.which(tool):
            (place / "bin" / tool).symlink_to(found)
    path = os.pathsep.join([str(place / "bare"), where["PYTHONPATH"]])
    return {**where, "PYTHONPATH": path, "PATH": str(place / "bin")}


def machine(place: Path) -> dict[str, str]:
    """The environment on a fresh machine, but for compiled kernels: nothing is known of its card."""
    place.mkdir()
    ours = compilers.cache_directory() / "host"
    ours.mkdir(parents=True, exist_ok=True)
    (place / "host").symlink_to(ours)
    return environment(DIBENCH_CACHE=str(place), REPLAYED_SCALE=SCALE, REPLAYED_SENSORS="unkind")


def command(out: Path, *arguments: str, stages: Path = TINY) -> list[str]:
    campaign = [sys.executable, "-m", "dibench", "campaign", *OPTIONS]
    return [*campaign, "--stages", str(stages), "--out", str(out), *arguments]


def run(where: dict[str, str], out: Path, *arguments: str, stages: Path = TINY) -> str:
    done = subprocess.run(
        command(out, *arguments, stages=stages), env=where, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def visits(out: Path) -> Counter[str]:
    """By case."""
    return Counter(json.loads(line)["case_id"] for line in (out / "visits.jsonl").read_text().splitlines())


@attrs.frozen
class Told:
    """Two runs of one campaign: what they said, and where they lie."""

    first: Path
    second: Path
    killed: str
    before: pd.DataFrame
    """The table of the run that was killed, as it was then."""
    out_of_time: str
    finished: str
    kept: bool
    """Whether the second run left the first one's files alone."""


@pytest.fixture(scope="module")
def told(tiny: Stages, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A run that is killed in the middle; the same again, out of time; the rest of it on a bare machine."""
    place = tmp_path_factory.mktemp("campaign")
    first, second, here = place / "1", place / "2", machine(place / "here")
    program = subprocess.Popen(
        command(first, "--time-budget", "300s"), env=here, stdout=subprocess.PIPE, text=True
    )
    wait_for(lambda: lines(first) >= STARTED_BEFORE or program.poll() is not None, 200.0)
    family = children(program.pid)
    program.send_signal(signal.SIGKILL)
    killed = program.communicate()[0]
    assert program.returncode == -signal.SIGKILL and family, killed
    wait_for(lambda: not any(map(alive, family)))  # nothing stays behind on the GPU
    before = read_csv(first / "sweep.csv")
    slow = {**here, "REHEARSED_PAUSE_S": "0.4"}
    out_of_time = run(slow, first, "--time-budget", "12s", "--closing", "1s")
    kept = {path: path.read_bytes() for path in first.iterdir()}
    there = bare(machine(place / "there"), place)
    figures = str(place / "told.json")
    finished = run(there, second, "--resume", str(first), "--closing", "60s", "--json", figures)
    unchanged = {path: path.read_bytes() for path in first.iterdir()} == kept
    return Told(first, second, killed, before, out_of_time, finished, unchanged)


def test_every_kernel_is_checked_and_the_sensor_calibrated_before(tiny: Stages, told: Told) -> None:
    assert "6 of 6 variants right" in told.killed, "numbers and counts, on the harness"
    assert "calibrate kept as" in told.killed
    assert "stage peer: a device from elsewhere has no library" in told.killed
    known = json.loads((told.first / "selftest.json").read_text())["kernels"]
    assert {name: one["found"] for name, one in known.items()} == dict.fromkeys(tiny.variants, "right")


def test_the_same_command_checks_and_repeats_nothing_and_ends_in_time(told: Told) -> None:
    for words in ("selftest  done before", "calibrate done before", "time budget", "visits are missing"):
        assert words in told.out_of_time
    sessions = json.loads((told.first / "manifest.json").read_text())["sessions"]
    assert [session["ended"] for session in sessions] == [None, "time budget"]
    after = read_csv(told.first / "sweep.csv")
    assert after["case_id"].is_unique and set(told.before["case_id"]) <= set(after["case_id"])
    assert f"--out {told.second} --resume {told.first}" in told.out_of_time, "it says how to go on"


def test_the_rest_is_measured_on_another_machine_and_the_truth_is_found(tiny: Stages, told: Told) -> None:
    for words in ("selftest  done before", "calibrate done before", "Every case of the campaign is measured"):
        assert words in told.finished, "what was checked of this card is brought along"
    assert told.kept, "read only"
    figures = json.loads((told.second.parent / "told.json").read_text())
    assert (figures["visits_left"], figures["to_continue"], figures["fitted"]) == (0, None, True)
    assert {one["stage"]: one["measured"] for one in figures["stages"]} == {
        stage.name: len(stage.cases) for stage in tiny.stages
    }
    doctor = {
        one["what"]: one["ok"] for one in json.loads((told.second / "selftest.json").read_text())["doctor"]
    }
    assert not doctor["CPU kernels"] and not doctor["PyTorch (peer)"], "it was a bare machine"
    frames = [read_csv(out / "sweep.csv") for out in (told.first, told.second)]
    frame = pd.concat(frames, ignore_index=True)
    assert frame["case_id"].is_unique
    assert set(frame["energy_source"]) == {"simulated"} and set(frame["status"]) <= {"ok", "flagged"}
    planned = {case.case_id: case.visits for stage in tiny.stages for case in stage.cases}
    assert set(planned) <= set(frame["case_id"])
    made = visits(told.first) + visits(told.second)
    assert all(number <= planned.get(case, 1) for case, number in made.items()), "nothing is repeated"
    long = frame[~frame["reason"].fillna("").str.contains("gap_bound|of 2 visits")]
    assert len(long) > 0.8 * len(frame) and (long["status"] == "ok").mean() > 0.9
    manifest = json.loads((told.second / "manifest.json").read_text())
    assert manifest["meter"]["facts"]["counter_over_power"] == pytest.approx(1.03, abs=0.005), (
        "told once, and flags no row"
    )
    found = json.loads((told.second / "fit.json").read_text())
    assert found["rows"] == len(frame) and not found["evidence"], "the fit is of both runs"
    alpha = found["alpha"]["weighted"]
    assert alpha["ci_low"] - 0.01 < ALPHA < alpha["ci_high"] + 0.01


def test_few_files_that_say_what_they_are(told: Told) -> None:
    assert {path.name for path in told.second.iterdir()} == {
        *("sweep.csv", "visits.jsonl", "manifest.json", "selftest.json", "calibration.json"),
        *("fit.json", "report.html", "README.md"),
    }
    readme = (told.second / "README.md").read_text()
    assert "SIMULATED" in readme and "stage peer: a device from elsewhere has no library" in readme
    assert "SIMULATED" in (told.second / "report.html").read_text().upper()


def publish(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    verb = [sys.executable, "-m", "dibench", "publish", *arguments]
    return subprocess.run(verb, env=environment(), cwd=place, capture_output=True, text=True, timeout=300)


def show_measured(place: Path) -> str:
    """What `make run` ends with on a machine without a GPU."""
    done = subprocess.run(
        ["bash", str(MEASURED)], cwd=place, env=environment(PY=sys.executable), capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def measured(told: Told, place: Path) -> Path:
    """Both runs as if a sensor had measured what was simulated: what only a GPU can make, kept nowhere."""
    root = place / "results" / "local" / "campaign"
    for number, folder in enumerate((told.first, told.second), start=1):
        shutil.copytree(folder, root / str(number))
        for name, around in (("sweep.csv", ",{},"), ("manifest.json", '"{}"')):
            path = root / str(number) / name
            cell = around.format("simulated")
            assert cell in path.read_text()
            path.write_text(path.read_text().replace(cell, around.format("nvml_counter")))
    (root / "1" / "counters.csv").write_text("case_id,status\n0123456789abcdef,ok\n")
    return root


def test_one_command_makes_a_dataset_of_the_runs_and_make_run_shows_its_fit(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = measured(told, tmp_path)
    assert "Measured GPU data are still to come" in show_measured(tmp_path), "runs of one's own are none"
    done = publish(tmp_path, "results/local/campaign", "--json", "-")
    assert done.returncode == 0, done.stderr
    told_as_json = json.loads(done.stdout)
    assert told_as_json["path"] == "results/replayed-hopper"
    dataset = tmp_path / "results" / "replayed-hopper"
    assert {path.name for path in dataset.iterdir()} == {
        *("sweep.csv", "visits.jsonl", "manifest.json", "selftest.json", "calibration.json", "counters.csv"),
        *("fit.json", "report.html", "README.md"),
    }
    frame = read_csv(dataset / "sweep.csv")
    parts = [read_csv(root / number / "sweep.csv") for number in ("1", "2")]
    assert list(frame["case_id"]) == [case for part in parts for case in part["case_id"]]
    assert visits(dataset) == visits(told.first) + visits(told.second)
    manifest = json.loads((dataset / "manifest.json").read_text())
    assert len(manifest["sessions"]) == 3 and manifest["device"]["name"] == "Replayed Hopper"
    found = json.loads((dataset / "fit.json").read_text())
    assert found["evidence"] and found["rows"] == len(frame)
    readme = (dataset / "README.md").read_text()
    for words in ("Measured on 1 card (GPU-simulated-0)", "| anchors |", "| peer |", "visits are missing"):
        assert words in readme
    assert "--resume results/replayed-hopper" in readme and "No hardware counters" not in readme

    monkeypatch.chdir(tmp_path)
    grown = gather([Path("results/replayed-hopper"), Path("results/local/campaign/2")])
    assert [row.case_id for row in grown.rows] == list(frame["case_id"]), "it grows by what is new"
    assert told_as_json["rows"] == len(frame) and told_as_json["devices"] == {"Replayed Hopper": 1}
    assert len(grown.sessions) == 3

    # A machine without a GPU ends `make run` with it, told apart.
    shown = show_measured(tmp_path)
    begin, _, rest = shown.partition("=== Not from this machine: measured on GPUs earlier")
    assert not begin.strip() and "results/replayed-hopper" in rest and "still to come" not in rest
    assert "of energy measured by" in " ".join(rest.split()) and rest.rstrip().endswith(
        "=== End of results/replayed-hopper ==="
    )


def test_what_no_sensor_measured_is_never_published(told: Told, tmp_path: Path) -> None:
    refused = publish(tmp_path, str(told.first.parent))
    assert refused.returncode == 2 and "must hold measured rows" in refused.stderr
    root = measured(told, tmp_path)
    table = root / "2" / "sweep.csv"
    table.write_text(table.read_text().replace("nvml_counter", "model", 1))
    refused = publish(tmp_path, "results/local/campaign")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "only measured joules are committed (got 'model')" in refused.stderr
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"local"}, "nothing half-written"


FEW = {
    "conv_implicit_gemm": "fp32",
    "conv_output_stationary": "fp32",
    "conv_weight_stationary": "fp32",
    "conv_tensor_tf32": "tf32",
}
"""Data types by kernel."""
BREAKS = "conv_weight_stationary=wrong,conv_output_stationary=dies,conv_tensor_tf32=faults,calibrate=fails"


def test_what_fails_before_costs_itself_and_nothing_else(tiny: Stages, tmp_path: Path) -> None:
    stages, out = tmp_path / "few.toml", tmp_path / "1"
    stages.write_text(campaign_stages.few(**FEW))
    where = {**machine(tmp_path / "here"), "REHEARSED_BREAKS": BREAKS}
    said = run(where, out, "--time-budget", "120s", "--closing", "10s", stages=stages)
    for words in (
        "conv_weight_stationary is not measured: failed: N=2,",
        "conv_output_stationary is not measured: failed: it died: SIGSEGV",
        "conv_tensor_tf32 is not measured: failed: the device is lost",
        "calibrate none (NVML: this user may not read it)",
        "report    written",
    ):
        assert words in said, said
    frame = read_csv(out / "sweep.csv")
    assert set(frame["variant"]) == {"conv_implicit_gemm"} and set(frame["status"]) <= {"ok", "flagged"}
    assert len(frame) == 3, "the case between its sentinels"
    readme = (out / "README.md").read_text()
    assert "kernel conv_weight_stationary: failed" in readme and "| few | 4 | 1 |" in readme
    assert not (out / "calibration.json").exists()


def test_the_rehearsal_keeps_filler_gate_graphs_and_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a campaign does around its kernels is the real backend's."""
    backend = rehearsed_gpu.backend()
    cupy = backend.cupy
    names: list[tuple[str, str]] = []
    run = cupy.run_all

    def run_and_tell(launches: Any) -> float:
        names.append((threading.current_thread().name, launches[0].name))
        return run(launches)

    monkeypatch.setattr(cupy, "run_all", run_and_tell)
    layer = Layer(N=1, C=16, H=8, W=8, K=24, R=3, S=3, pad_h=1, pad_w=1)
    prepared = backend.prepare(fake_gpu.case_of(layer, cold=True))
    assert ("filler", "anchor_fma") in names, "while operands are drawn and copied"
    prepared.launch(1)
    names.clear()
    seconds = prepared.launch(2000)
    assert names[0] == ("MainThread", "gate") and ("filler", "anchor_fma") not in names
    captures = cupy.captures
    assert prepared.launch(2000) == pytest.approx(seconds, rel=0.1) and cupy.captures <= captures + 2
    captures = cupy.captures
    for _ in range(20):
        prepared.launch(2000)
    assert cupy.captures - captures < 20, "graphs are used again"
    prepared.close()
