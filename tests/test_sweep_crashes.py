"""Killed at any instant, a sweep loses nothing measured: real processes, real SIGKILL."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_backend import sweep_of

from dibench import files, record, schema
from dibench.errors import UserError
from dibench.sweep import run_sweep

CASES = 12  # a case takes about 0.05 s, the start of the program about 0.4 s
HERE = Path(__file__).parent


def start(out: Path, cases: int = CASES) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(HERE.parent), str(HERE), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, str(HERE / "fake_backend.py"), str(out), str(cases)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(what: Callable[[], object], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


def lines(out: Path) -> int:
    try:
        return (out / "sweep.csv").read_bytes().count(b"\n")
    except OSError:
        return 0


def check_complete(out: Path, cases: int = CASES) -> None:
    frame = schema.read_csv(out / "sweep.csv")
    assert sorted(frame["order"]) == list(range(1, cases + 1)), "every case exactly once"
    assert frame["case_id"].is_unique
    manifest = files.read_json_object(out / "manifest.json")
    assert manifest is not None and sum(manifest["rows"].values()) == cases
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "sweep.csv"]


@pytest.mark.parametrize("victim", ["parent", "worker", "both"])
def test_killed_at_random_instants_and_resumed(tmp_path: Path, victim: str) -> None:
    rng = random.Random(f"instants {victim}")
    for _ in range(4):
        program = start(tmp_path)
        time.sleep(rng.uniform(0.05, 1.2))
        workers = children(program.pid)
        if victim != "parent":
            for worker in workers:
                os.kill(worker, signal.SIGKILL)
        if victim != "worker":
            program.kill()
        program.communicate(timeout=60)
        for worker in workers:
            wait_for(lambda pid=worker: not alive(pid), 5.0)  # type: ignore[misc]
        kept = record.read_statuses(tmp_path / "sweep.csv") if lines(tmp_path) else {}
        assert len(kept) <= CASES
    summary = run_sweep(sweep_of(["slow"] * CASES), tmp_path)
    assert summary.left == 0
    check_complete(tmp_path)


def test_only_the_parent_killed_the_lock_is_free_at_once_and_the_worker_ends(tmp_path: Path) -> None:
    program = start(tmp_path, cases=500)
    wait_for(lambda: lines(tmp_path) > 3)
    (worker,) = children(program.pid)
    program.kill()
    program.wait()
    begin = time.monotonic()
    with record.Lock(tmp_path):
        assert time.monotonic() - begin < 1.0
    wait_for(lambda: not alive(worker), 5.0)
    program.communicate()
    rows = lines(tmp_path) - 1
    again = start(tmp_path, cases=500)
    wait_for(lambda: lines(tmp_path) - 1 > rows)
    again.kill()
    again.communicate()
    statuses = record.read_statuses(tmp_path / "sweep.csv")
    assert len(statuses) > rows and set(statuses.values()) <= {"ok", "flagged"}


def test_a_worker_whose_parent_died_before_it_started_does_not_stay(tmp_path: Path) -> None:
    """The race of PR_SET_PDEATHSIG: the parent given is not the parent found."""
    orphan = [sys.executable, "-m", "dibench.worker", "1" if os.getpid() != 1 else "2"]
    path = os.pathsep.join([str(HERE.parent), *filter(None, sys.path)])
    run = subprocess.run(
        orphan, stdin=subprocess.DEVNULL, timeout=30, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    assert run.returncode == 1


def test_two_sweeps_in_one_directory(tmp_path: Path) -> None:
    program = start(tmp_path, cases=500)
    try:
        wait_for(lambda: lines(tmp_path) > 1)
        with pytest.raises(UserError, match=rf"in use by another sweep \(process {program.pid}\)"):
            run_sweep(sweep_of(["slow"] * 500), tmp_path)
    finally:
        program.kill()
        program.communicate()


def test_ctrl_c_leaves_a_valid_table_and_resumes(tmp_path: Path) -> None:
    program = start(tmp_path)
    wait_for(lambda: lines(tmp_path) > 3)
    program.send_signal(signal.SIGINT)
    output, errors = program.communicate(timeout=20)
    assert output.strip() == "interrupted", errors
    assert "Traceback" not in errors
    manifest = files.read_json_object(tmp_path / "manifest.json")
    assert manifest is not None and manifest["sessions"][0]["ended"] == "interrupted"
    measured = lines(tmp_path) - 1
    summary = run_sweep(sweep_of(["slow"] * CASES), tmp_path)
    assert summary.measured == CASES - measured
    check_complete(tmp_path)


def test_a_disk_full_while_sweeping_keeps_what_was_measured(tmp_path: Path) -> None:
    """The kernel's own refusal: no file of the sweep may grow beyond 3500 bytes."""
    program = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (3500, 3500))
sys.path.insert(0, {str(HERE)!r})
from pathlib import Path
from fake_backend import sweep_of
from dibench.sweep import run_sweep
from dibench.errors import UserError
try:
    run_sweep(sweep_of(["slow"] * {CASES}), Path({str(tmp_path)!r}))
except UserError as error:
    print(error)
"""
    path = os.pathsep.join([str(HERE.parent), *filter(None, sys.path)])
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
    )
    assert "cannot be written: File too large" in run.stdout and run.stdout.count("\n") == 1
    kept = len(schema.read_csv(tmp_path / "sweep.csv"))
    assert 0 < kept < CASES
    summary = run_sweep(sweep_of(["slow"] * CASES), tmp_path)
    assert summary.measured == CASES - kept
    check_complete(tmp_path)
