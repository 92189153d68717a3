"""Killed at any instant, a sweep loses nothing measured: real processes, real SIGKILL."""

from __future__ import annotations

import ast
import datetime
import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_campaign import HOW
from fake_backend import sweep_of
from processes import HERE, alive, children, environment, lines, wait_for

from dibench import files
from dibench.errors import UserError
from dibench.sweep import record
from dibench.sweep.lock import Lock
from dibench.sweep.run import run_sweep
from dibench.sweep.under_way import MOST_DEATHS, UnderWay
from dibench.table import read_csv

CASES = 12  # a case takes about 0.05 s, the start of the program about 0.4 s


def start(out: Path, cases: int | str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(HERE / "fake_backend.py"), str(out), str(cases)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def check_complete(out: Path, cases: int = CASES) -> None:
    frame = read_csv(out / "sweep.csv")
    assert sorted(frame["order"]) == list(range(1, cases + 1)), "every case exactly once"
    assert frame["case_id"].is_unique
    manifest = files.read_json_object(out / "manifest.json")
    assert manifest is not None and sum(manifest["rows"].values()) == cases
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "sweep.csv", "visits.jsonl"]


def test_killed_at_a_hundred_random_instants(tmp_path: Path) -> None:
    """Parent, worker, both, in the middle of a row and of a manifest: see crash_campaign.py."""
    command = [sys.executable, str(HERE / "crash_campaign.py")]
    programs = [
        subprocess.Popen(
            [*command, str(tmp_path / str(seed)), str(seed), "20"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for seed in range(5)
    ]
    died: Counter[str] = Counter()
    told = [program.communicate(timeout=200) for program in programs]
    for program, (output, errors) in zip(programs, told, strict=True):
        assert program.returncode == 0, errors
        died += Counter(ast.literal_eval(output.splitlines()[-1]))
    assert died.total() >= 100 and min(died[how] for how in HOW) >= 10


def test_only_the_parent_killed_the_lock_is_free_at_once_and_the_worker_ends(tmp_path: Path) -> None:
    program = start(tmp_path, cases=500)
    wait_for(lambda: lines(tmp_path) > 3)
    (worker,) = children(program.pid)
    program.kill()
    program.wait()
    begin = time.monotonic()
    with Lock(tmp_path):
        assert time.monotonic() - begin < 1.0
    wait_for(lambda: not alive(worker), 5.0)
    program.communicate()
    rows = lines(tmp_path) - 1
    again = start(tmp_path, cases=500)
    wait_for(lambda: lines(tmp_path) - 1 > rows)
    again.kill()
    again.communicate()
    written = list(record.written(tmp_path / "sweep.csv"))
    assert len(written) > rows and {row.status for row in written} <= {"ok", "flagged"}


def test_a_worker_whose_parent_died_before_it_started_does_not_stay(tmp_path: Path) -> None:
    """The race of PR_SET_PDEATHSIG: the parent given is not the parent found."""
    orphan = [sys.executable, "-m", "dibench.sweep.serve", "1" if os.getpid() != 1 else "2"]
    run = subprocess.run(orphan, stdin=subprocess.DEVNULL, timeout=30, check=False, env=environment())
    assert run.returncode == 1


def test_a_case_that_takes_the_program_down_is_given_up_after_three_deaths(tmp_path: Path) -> None:
    names = "slow gone slow slow"
    for number in range(1, 4):
        program = start(tmp_path, names)
        program.communicate(timeout=30)
        assert program.returncode == -signal.SIGKILL
        rows = list(record.written(tmp_path / "sweep.csv"))
        assert len(rows) == (1 if number == 1 else 3), "all others are measured before it is tried again"
    program = start(tmp_path, names)
    output, errors = program.communicate(timeout=30)
    assert output.strip() == "complete", errors
    check_complete(tmp_path, 4)
    found = {row.name: (row.status, row.reason) for row in record.written(tmp_path / "sweep.csv")}
    assert found["gone"] == (
        "failed",
        "the sweep and its worker died 3 times while it was measured "
        "(killed together, out of memory, or the machine went down)",
    )
    assert found["slow"][0] in ("ok", "flagged")


def test_only_deaths_without_an_end_count(tmp_path: Path) -> None:
    path = tmp_path / record.UNDER_WAY

    def died(*notes: str) -> UnderWay:
        with path.open("a") as file:
            file.write("".join(f"{note}\n" for note in notes))
        return UnderWay(path)

    assert died("began a", "done a", "began b").deaths("a") == 0
    again = died("began b")
    assert (again.deaths("a"), again.deaths("b")) == (0, 2)
    again.began("c")  # and Ctrl-C
    again.close()
    assert path.read_text() == "began b\nbegan b\n", "a start that ends by itself is no death"
    once_more = UnderWay(path)
    once_more.began("b")
    once_more.done("b")
    once_more.close()
    assert not path.exists()
    assert died("began a", "beg").deaths("a") == 1, "the last note was torn"


@pytest.mark.parametrize("deaths", [1, MOST_DEATHS])
def test_a_kill_between_a_row_and_the_note_of_its_end_leaves_nothing(tmp_path: Path, deaths: int) -> None:
    """What took the program down too often is remembered: a disturbed case would be visited again."""
    run_sweep(sweep_of(["first"]), tmp_path)
    (row,) = record.written(tmp_path / "sweep.csv")
    notes = tmp_path / record.UNDER_WAY
    notes.write_text(f"began {row.case_id}\n" * deaths)
    assert run_sweep(sweep_of(["first"]), tmp_path).ended == "complete"
    assert notes.exists() == (deaths == MOST_DEATHS)


def test_two_sweeps_in_one_directory(tmp_path: Path) -> None:
    program = start(tmp_path, cases=500)
    try:
        wait_for(lambda: lines(tmp_path) > 1)
        with pytest.raises(UserError, match=rf"in use by another sweep \(process {program.pid}\)"):
            run_sweep(sweep_of(["slow"] * 500), tmp_path)
    finally:
        program.kill()
        program.communicate()


def test_ctrl_c_leaves_a_valid_table_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, gate = ["slow"] * CASES, tmp_path.with_name("gate")
    names[4] = "gated"
    monkeypatch.setenv("FAKE_GATE", str(gate))
    program = start(tmp_path, " ".join(names))
    wait_for(lambda: lines(tmp_path) > 4)
    program.send_signal(signal.SIGINT)
    gate.touch()
    output, errors = program.communicate(timeout=20)
    assert output.strip() == "interrupted", errors
    assert "Traceback" not in errors
    manifest = files.read_json_object(tmp_path / "manifest.json")
    assert manifest is not None and manifest["sessions"][0]["ended"] == "interrupted"
    measured = lines(tmp_path) - 1
    summary = run_sweep(sweep_of(names), tmp_path)
    assert summary.measured == CASES - measured
    check_complete(tmp_path)


def test_a_disk_full_while_sweeping_keeps_what_was_measured(tmp_path: Path) -> None:
    """The kernel's own refusal: no file of the sweep may grow beyond 3500 bytes."""
    program = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (3500, 3500))
from pathlib import Path
from fake_backend import sweep_of
from dibench.sweep.run import run_sweep
from dibench.sweep.under_way import UnderWay
from dibench.errors import UserError
try:
    run_sweep(sweep_of(["slow"] * {CASES}), Path({str(tmp_path)!r}))
except UserError as error:
    print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=True,
    )
    assert "cannot be written: File too large" in run.stdout and run.stdout.count("\n") == 1
    kept = len(read_csv(tmp_path / "sweep.csv"))
    assert 0 < kept < CASES
    summary = run_sweep(sweep_of(["slow"] * CASES), tmp_path)
    assert summary.measured == CASES - kept
    check_complete(tmp_path)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """24 KiB, where this process may mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_really_full_disk_then_room_again(tiny_disk: Path) -> None:
    out = tiny_disk / "out"
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(4096))
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        run_sweep(sweep_of(["slow"] * 60), out)
    kept = list(record.written(out / "sweep.csv"))
    assert 0 < len(kept) < 60
    remount = ["mount", "-o", "remount,size=1m", str(tiny_disk)]
    subprocess.run(remount, check=True)
    assert run_sweep(sweep_of(["slow"] * 60), out).measured == 60 - len(kept)
    check_complete(out, 60)


def test_where_nothing_may_be_written(tmp_path: Path) -> None:
    """A read-only directory; root may write there, but nobody can in /proc."""
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o555)
    for place in [Path("/proc/dibench")] + ([out] if os.geteuid() != 0 else []):
        with pytest.raises(UserError, match=r"cannot be written: (Permission denied|No such file)"):
            run_sweep(sweep_of(["slow"]), place)
    assert not list(out.iterdir())


def test_a_clock_that_jumps_backwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock names and dates; it measures and orders nothing."""
    days = itertools.count()

    class Backwards(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Backwards:
            return cls(2026, 3, 1, tzinfo=tz) - datetime.timedelta(days=next(days) // 3)

    monkeypatch.setattr("datetime.datetime", Backwards)
    monkeypatch.setattr("time.time", lambda: 1e9 - next(days))
    first = run_sweep(sweep_of(["slow"] * 5), tmp_path, deadline=time.monotonic() + 60)
    assert (first.ended, first.measured) == ("complete", 5) and first.elapsed_s < 30
    assert run_sweep(sweep_of(["slow"] * 5), tmp_path).measured == 0
    check_complete(tmp_path, 5)


def test_a_clock_that_stands_still_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dibench.sweep.manifest.utc_now", lambda: "2026-03-01T00:00:00Z")
    for _ in range(3):
        run_sweep(sweep_of(["slow"]), tmp_path, fresh=True)
    assert len(list(tmp_path.glob("sweep-until-*.csv"))) == 2
    assert len(list(tmp_path.glob("manifest-until-*.json"))) == 2
    run_sweep(sweep_of(["slow"]), tmp_path)
    manifest = files.read_json_object(tmp_path / "manifest.json")
    assert manifest is not None and len({one["session"] for one in manifest["sessions"]}) == 2
