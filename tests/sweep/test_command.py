"""`python -m dibench sweep` as a user types it, on the CPU's real kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import environment

from dibench import files
from dibench.cli.sweep import _show, show_plan
from dibench.measure.settings import Settings
from dibench.plan import load_plan
from dibench.sweep.run import Summary
from dibench.table import read_csv

QUICKLY = ("--case-budget", "0.02s", "--target", "50")


def dibench(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dibench", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment(COLUMNS="120", **variables),
    )


def test_the_smoke_plan_end_to_end_and_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    cases = load_plan("smoke", backend="cpu", seed=1).cases
    first = dibench("sweep", "smoke", "--out", out, "--meter", "model", *QUICKLY)
    assert first.returncode == 0, first.stderr
    assert f"{len(cases)} of {len(cases)} cases in the table" in first.stdout
    assert "MODELLED" in first.stdout and "no evidence" in first.stdout
    assert f"python -m dibench fit {out}/sweep.csv" in first.stdout
    assert "\x1b" not in first.stdout + first.stderr, "no control codes where there is no terminal"
    frame = read_csv(out / "sweep.csv")
    assert list(frame["case_id"]) == [case.case_id for case in cases]
    assert set(frame["status"]) <= {"ok", "flagged"}
    assert (frame["time_s"] > 0).all() and (frame["energy_j"] > 0).all()
    assert set(frame["op"]) == {"standard", "depthwise", "pointwise", "grouped", "fc"}
    assert {"output", "weight", "input", "none"} <= set(frame["stationarity"])
    again = dibench("sweep", "smoke", "--out", out, "--meter", "model", *QUICKLY)
    assert again.returncode == 0 and "0 of them measured now" in again.stdout
    bound = dibench("sweep", "smoke", "--out", out, "--meter", "model", *QUICKLY, OMP_THREAD_LIMIT="1")
    cores = len(os.sched_getaffinity(0))
    if cores > 1:
        assert bound.returncode == 2 and len(bound.stderr.splitlines()) == 1, bound.stderr
        assert f"threads: was {cores} in the sweep that this directory holds, is 1 now" in bound.stderr
    sleepy = dibench("sweep", "smoke", "--out", out, "--meter", "model", *QUICKLY, OMP_WAIT_POLICY="active")
    assert sleepy.returncode == 2 and "OMP_WAIT_POLICY: was None in the sweep" in sleepy.stderr
    manifest = files.read_json_object(out / "manifest.json")
    assert manifest is not None and manifest["peaks"]["mac_per_s"] > 0
    assert manifest["device"]["facts"]["openmp_spin_count"] == "1000", "threads give up cores they cannot use"
    assert manifest["sessions"][0]["command_line"][2:5] == ["dibench", "sweep", "smoke"]


@pytest.mark.parametrize(("statuses", "first"), [({"flagged": 5}, "sweep"), ({"ok": 4, "flagged": 1}, "fit")])
def test_what_comes_next_after_flagged_rows_is_to_measure_again(
    statuses: dict[str, int], first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["dibench", "sweep", "smoke", "--out", str(tmp_path), "--fresh"])
    summary = Summary(statuses, 5, 0, "complete", "none", 1.0)
    _show(summary, load_plan("smoke", backend="cpu"), tmp_path)
    then = capsys.readouterr().out.partition("Next: ")[2]
    assert then.partition("python -m dibench ")[2].split()[0] == first
    assert "dibench fit" in then and "--fresh" not in then


def test_cases_that_are_left_and_rows_that_are_flagged_ask_for_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["dibench", "sweep", "smoke", "--out", str(tmp_path)])
    summary = Summary({"flagged": 5}, 5, 18, "time budget", "none", 1.0)
    _show(summary, load_plan("smoke", backend="cpu"), tmp_path)
    told = capsys.readouterr().out
    assert told.count("python -m dibench sweep") == 1 and "Next: that, on a quieter machine" in told


def test_a_budget_too_short_for_one_case_asks_for_more_than_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["dibench", "sweep", "smoke", "--time-budget=10s", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", argv)
    _show(Summary({}, 0, 4, "time budget", "none", 5.6, 7.0), load_plan("smoke", backend="cpu"), tmp_path)
    told = " ".join(capsys.readouterr().out.split())
    assert "used up before one case was finished" in told and "The next may take 7.0 s. 4 cases" in told
    assert told.endswith(
        f"they need more time. To resume: python -m dibench sweep smoke --out {tmp_path} --time-budget 20s"
    )


def test_the_time_budget_says_what_is_left_and_how_to_resume(tmp_path: Path) -> None:
    run = dibench("sweep", "smoke", "--out", tmp_path, "--fresh", "--time-budget", "0.1s", *QUICKLY)
    assert run.returncode == 0, run.stderr
    assert "The time budget is used up" in run.stdout
    resume = run.stdout.partition("To resume: ")[2].splitlines()[0]
    assert resume.startswith("python -m dibench sweep smoke") and "--fresh" not in resume


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["smok", "--out", "OUT"], "perhaps smoke (got 'smok')"),
        (["absent.toml", "--out", "OUT"], "absent.toml"),
        (["smoke", "--out", "OUT", "--backend", "abacus"], "--backend: must be one of auto, cuda, cpu"),
        (
            ["smoke", "--out", "OUT", "--meter", "wet finger"],
            "--meter: must be one of auto, nvml_counter, nvml_power, rapl, zeus, nvml_counter+zeus",
        ),
        (["smoke", "--out", "OUT", "--time-budget", "soon"], "--time-budget: must be a time such as"),
        (["smoke", "--out", "OUT", "--case-budget", "-1s"], "--case-budget: must be a time such as"),
        (["smoke", "--out", "OUT", "--target", "0"], "--target: must be from 0.01 to 100"),
        (["smoke", "--out", "OUT/file/below"], "cannot be written: Not a directory"),
        (["smoke"], "--out: must name the directory"),
        (["smoke", "--out", "OUT", "--seed", "many"], "'--seed'"),
        (["smoke", "--out", "OUT", "--seed", "-1"], "--seed: must be 0 or more (got -1)"),
        (["smoke", "--out", "OUT", "--devices", "0", "--backend", "cpu"], "--devices: chooses GPUs"),
        (["smoke", "--out", "OUT", "--scheduler", "tcp://x:1"], "--backend: must be named with --scheduler"),
        (["smoke", "--out", ""], "--out: must name the directory"),
        (["smoke", "--out", "OUT/file"], "--out: must be a directory"),
        (["smoke", "--out", "OUT", "--batch", "8"], "--batch: is of models"),
        (
            ["smoke", "--out", "OUT", "--models", "a:b"],
            "PLAN: is of layers, and --models",
        ),
        (["--shard", "1/2", "--out", "OUT", "--models", "a:b"], "--shard: is of layers"),
        (["--out", "OUT", "--models", "a:b"], "--models: must stand with --backend torch"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path: Path, arguments: list[str], named: str) -> None:
    (tmp_path / "file").write_text("")
    run = dibench("sweep", *(argument.replace("OUT", str(tmp_path)) for argument in arguments))
    assert run.returncode == 2
    assert named in run.stderr and run.stderr.count("\n") == 1
    assert "Traceback" not in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "nothing half-written"


def test_dry_run_measures_and_writes_nothing(tmp_path: Path) -> None:
    run = dibench("sweep", "smoke", "--out", tmp_path / "out", "--dry-run")
    cases = len(load_plan("smoke", backend="cpu").cases)
    assert run.returncode == 0 and f"{cases} cases" in run.stdout
    assert "α that is told from ½, by layers measured" in run.stdout
    assert not (tmp_path / "out").exists()


def test_a_gpu_is_told_the_time_of_its_visits(capsys: pytest.CaptureFixture[str]) -> None:
    """Three visits of 4.5 s to each of 699 cases are hours, not the minutes that time alone takes."""
    plan = load_plan("lattice", backend="cuda")
    show_plan(plan, Settings(), "auto")
    told = " ".join(capsys.readouterr().out.split())
    visits = 3 * sum(not case.sentinel for case in plan.cases) + sum(case.sentinel for case in plan.cases)
    assert f"about {4.5 * visits / 3600:.1f} h on a metered GPU, in {visits:,} visits" in told
    show_plan(plan, Settings(), "none")
    assert " min on the GPU" in capsys.readouterr().out
