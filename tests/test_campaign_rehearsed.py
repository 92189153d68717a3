"""Whole campaigns as their user runs them: kernels on the harness, time and joules replayed (rehearsed_gpu).

Killed, ended by the budget, gone on with, on another machine too; and with all failing that may before it.
Nothing here is evidence: the joules are simulated, and say so in every row.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from processes import alive, children, environment, lines, wait_for

from dibench import compilers, schema, selftest, variants
from dibench.backends import host
from dibench.campaign.stages import Stages, load_stages

TINY = Path(__file__).parent / "campaign_tiny.stages.toml"
ARCH, SCALE = 90, "4096"
OPTIONS = ("--backend", "rehearsed_gpu:backend", "--meter", "rehearsed_gpu:meter")
ALPHA = 0.6  # of replayed_device
STARTED_BEFORE = 12


@pytest.fixture(scope="module")
def tiny() -> Stages:
    """The stages, with the kernels that the selftest of them compiles already there."""
    found = load_stages(arch=ARCH, no_library="not here", path=TINY)
    family = [variants.registry("cuda")[name] for name in found.variants]

    def build(job: tuple[Any, Any]) -> None:
        variant, case = job
        constants = compilers.constants(variant, case.layer, case.knobs, dtype=case.dtype)
        host.build(variant.path.read_text("utf-8"), variant.name, constants)

    jobs = [(one, case) for one in family for case in selftest.cases_of(one, selftest.EDGES, ARCH)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(build, jobs))
    return found


def machine(place: Path) -> dict[str, str]:
    """The environment on a fresh machine, but for compiled kernels: nothing is known of its card."""
    place.mkdir()
    ours = compilers.cache_directory() / "host"
    ours.mkdir(parents=True, exist_ok=True)
    (place / "host").symlink_to(ours)
    return environment(DIBENCH_CACHE=str(place), REPLAYED_SCALE=SCALE)


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


def test_a_campaign_is_killed_ends_in_time_and_is_finished_on_another_machine(
    tiny: Stages, tmp_path: Path
) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    here = machine(tmp_path / "here")

    # Killed in the middle, and nothing of it stays behind.
    program = subprocess.Popen(
        command(first, "--time-budget", "300s"), env=here, stdout=subprocess.PIPE, text=True
    )
    wait_for(lambda: lines(first) >= STARTED_BEFORE or program.poll() is not None, 200.0)
    family = children(program.pid)
    program.send_signal(signal.SIGKILL)
    said = program.communicate()[0]
    assert program.returncode == -signal.SIGKILL and family, said
    wait_for(lambda: not any(map(alive, family)))
    assert "6 of 6 variants right" in said, "numbers and counts of every kernel were checked, on the harness"
    assert "calibrate kept as" in said and "stage peer: a device from elsewhere has no library" in said
    known = json.loads((first / "selftest.json").read_text())["kernels"]
    assert {name: one["found"] for name, one in known.items()} == dict.fromkeys(tiny.variants, "right")
    before = schema.read_csv(first / "sweep.csv")

    # The same command checks nothing again, repeats nothing, and ends when its time is up.
    slow = {**here, "REHEARSED_PAUSE_S": "0.4"}
    said = run(slow, first, "--time-budget", "12s", "--closing", "1s")
    for words in ("selftest  done before", "calibrate done before", "time budget", "visits are missing"):
        assert words in said
    sessions = json.loads((first / "manifest.json").read_text())["sessions"]
    assert [session["ended"] for session in sessions] == [None, "time budget"]
    after = schema.read_csv(first / "sweep.csv")
    assert after["case_id"].is_unique and set(before["case_id"]) <= set(after["case_id"])
    assert f"--out {second} --resume {first}" in said, "it says how to go on"

    # Elsewhere what was checked of this card is brought along, and what is missing is measured.
    kept = {path: path.read_bytes() for path in first.iterdir()}
    said = run(machine(tmp_path / "there"), second, "--resume", str(first), "--closing", "60s")
    assert {path: path.read_bytes() for path in first.iterdir()} == kept, "read only"
    for words in ("selftest  done before", "calibrate done before", "Every case of the campaign is measured"):
        assert words in said
    check_together(tiny, first, second)


def check_together(tiny: Stages, first: Path, second: Path) -> None:
    """Both runs: every case as often as planned, once; simulated; the truth found."""
    frames = [schema.read_csv(out / "sweep.csv") for out in (first, second)]
    frame = pd.concat(frames, ignore_index=True)
    assert frame["case_id"].is_unique
    assert set(frame["energy_source"]) == {"simulated"} and set(frame["status"]) <= {"ok", "flagged"}
    planned = {case.case_id: case.visits for stage in tiny.stages for case in stage.cases}
    assert set(planned) <= set(frame["case_id"])
    made = visits(first) + visits(second)
    assert all(number <= planned.get(case, 1) for case, number in made.items()), "nothing is repeated"
    long = frame[~frame["reason"].fillna("").str.contains("gap_bound|of 2 visits")]
    assert len(long) > 0.8 * len(frame) and (long["status"] == "ok").mean() > 0.9
    found = json.loads((second / "fit.json").read_text())
    assert found["rows"] == len(frame) and not found["evidence"], "the fit is of both runs"
    alpha = found["alpha"]["weighted"]
    assert alpha["ci_low"] - 0.01 < ALPHA < alpha["ci_high"] + 0.01
    assert {path.name for path in second.iterdir()} == {
        *("sweep.csv", "visits.jsonl", "manifest.json", "selftest.json", "calibration.json"),
        *("fit.json", "report.html", "README.md"),
    }
    readme = (second / "README.md").read_text()
    assert "SIMULATED" in readme and "stage peer: a device from elsewhere has no library" in readme
    assert "SIMULATED" in (second / "report.html").read_text().upper()


FEW = """
sentinel = "N=1,C=16,H=8,W=8,K=16,R=3,S=3,pad_h=1,pad_w=1"
[[stages]]
name    = "few"
answers = "What a failure costs"
share   = 1
[[stages.layers]]
layers = ["N=1,C=16,H=8,W=8,K=24,R=3,S=3,pad_h=1,pad_w=1"]
[[stages.kernels]]
variants = ["conv_implicit_gemm", "conv_output_stationary", "conv_weight_stationary"]
[[stages.kernels]]
variants = "conv_tensor_tf32"
dtype    = "tf32"
"""
BREAKS = "conv_weight_stationary=wrong,conv_output_stationary=dies,conv_tensor_tf32=faults,calibrate=fails"


def test_what_fails_before_costs_itself_and_nothing_else(tiny: Stages, tmp_path: Path) -> None:
    stages, out = tmp_path / "few.toml", tmp_path / "1"
    stages.write_text(FEW)
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
    frame = schema.read_csv(out / "sweep.csv")
    assert set(frame["variant"]) == {"conv_implicit_gemm"} and set(frame["status"]) <= {"ok", "flagged"}
    assert len(frame) == 3, "the case between its sentinels"
    readme = (out / "README.md").read_text()
    assert "kernel conv_weight_stationary: failed" in readme and "| few | 4 | 1 |" in readme
    assert not (out / "calibration.json").exists()
