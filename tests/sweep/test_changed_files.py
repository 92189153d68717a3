"""Another program changes a sweep's files while it runs: it ends in one line, and loses nothing measured."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_backend import sweep_of
from processes import HERE, environment, lines, wait_for

from dibench.errors import UserError
from dibench.sweep import record
from dibench.sweep.events import CaseEnded, FilesMended
from dibench.sweep.parts import read_part
from dibench.sweep.run import run_sweep
from dibench.table import read_csv

CASES = 8
NAMES = ["first", "refuse", *["case"] * (CASES - 2)]


def renamed_over(path: Path) -> None:
    """As editors, rsync and `sed -i` write."""
    beside = path.with_name("beside")
    beside.write_bytes(path.read_bytes())
    beside.replace(path)


def with_an_older_one(path: Path) -> None:
    older = b"".join(path.read_bytes().splitlines(keepends=True)[:2])
    path.unlink()
    path.write_bytes(older)


def with_crlf(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def shortened(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


CHANGES = [
    (Path.unlink, "was removed by another program", CASES),
    (renamed_over, "was replaced by another program", 4),
    (with_an_older_one, "was replaced by another program", 4),
    (Path.unlink, "was removed by another program", 4),
    (with_crlf, r"was changed from [\d,]+ to [\d,]+ bytes by another program", 4),
    (shortened, r"was changed from [\d,]+ to [\d,]+ bytes by another program", 4),
    (emptied, r"was changed from [\d,]+ to 0 bytes by another program", 4),
]


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def swept_until(out: Path, after: int, change: Callable[[], object]) -> UserError:
    """The error that ends a sweep in whose course something happens after so many rows."""

    def on_event(event: Any) -> None:
        if isinstance(event, CaseEnded) and lines(out) == after + 1:
            change()

    with pytest.raises(UserError) as caught:
        run_sweep(sweep_of(NAMES), out, on_event=on_event)
    return caught.value


def check_each_measured_once(out: Path, begun: Path) -> None:
    frame = read_csv(out / record.TABLE)
    assert sorted(frame["order"]) == list(range(1, CASES + 1)) and frame["case_id"].is_unique
    assert set(Counter(begun.read_text().split("\n")[:-1]).values()) == {1}, "nothing is measured twice"
    visits = read_part(out).visits or ()
    assert sorted(visit.case_id for visit in visits) == sorted(frame["case_id"][frame["status"] == "ok"])
    names = {path.name for path in out.iterdir() if not path.match("sweep-edited-*.csv")}
    assert names == {record.TABLE, record.VISITS, record.MANIFEST}


@pytest.mark.parametrize("name", [record.TABLE, record.VISITS])
@pytest.mark.parametrize(("change", "said", "after"), CHANGES)
def test_a_changed_file_ends_the_sweep_and_the_same_command_loses_and_repeats_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], object],
    said: str,
    name: str,
    after: int,
) -> None:
    """In its course, or after its last row."""
    out, begun = tmp_path / "out", tmp_path / "begun"
    monkeypatch.setenv("FAKE_BEGUN", str(begun))
    changed = out / name
    left: list[bytes | None] = []

    def happens() -> None:
        change(changed)
        left.append(content(changed))

    error = swept_until(out, after, happens)
    assert re.match(f"{re.escape(str(changed))}: {said} while this sweep ran, and is left so; ", str(error))
    assert str(error).count("\n") == 0
    assert left == [content(changed)], "what the other program wrote stays as it is"
    assert not (out / record.LOCK).exists()
    summary = run_sweep(sweep_of(NAMES), out)
    assert (summary.ended, summary.left) == ("complete", 0)
    check_each_measured_once(out, begun)


def test_what_is_left_can_be_followed(tmp_path: Path) -> None:
    table = swept_until(tmp_path / "a", 4, (tmp_path / "a" / record.TABLE).unlink)
    told = "every visit is in visits.jsonl: the same command writes the missing rows again, and goes on"
    assert told in str(table)
    out = tmp_path / "b"
    visits = swept_until(out, 4, (out / record.VISITS).unlink)
    assert "the same command goes on; it takes in 4 visits from visits.kept.jsonl" in str(visits)
    assert (out / record.KEPT).read_bytes().count(b"\n") == 4
    with pytest.raises(UserError, match=r"visits\.kept\.jsonl: has visits that belong in visits\.jsonl"):
        read_part(out)
    events: list[Any] = []
    run_sweep(sweep_of(NAMES), out, on_event=events.append)
    (mended,) = [event for event in events if isinstance(event, FilesMended)]
    assert mended.what == "4 visits taken in from visits.kept.jsonl"


def test_kept_visits_of_an_earlier_sweep_are_set_aside_with_it(tmp_path: Path) -> None:
    swept_until(tmp_path, 4, (tmp_path / record.VISITS).unlink)
    run_sweep(sweep_of(NAMES), tmp_path, fresh=True)
    assert (tmp_path / record.VISITS).read_bytes().count(b"\n") == CASES - 1
    assert len(list(tmp_path.glob("visits-until-*.kept.jsonl"))) == 1


def test_no_file_grows_by_bytes_that_nobody_wrote(tmp_path: Path) -> None:
    """`ftruncate` upwards fills with NUL bytes."""
    path = tmp_path / "grows"
    file = record.GrowingFile(path)
    file.append_line(b"measured\n")
    os.truncate(path, 3)
    file.close()
    assert path.read_bytes() == b"mea"


def test_only_the_own_part_of_a_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "grows"

    def write(fd: int, data: bytes) -> int:
        os.write(fd, data[:4])
        os.write(fd, b"a line of another program\n")
        raise KeyboardInterrupt

    file = record.GrowingFile(path, write=write)
    with pytest.raises(KeyboardInterrupt):
        file.append_line(b"measured\n")
    file.close()
    assert path.read_bytes() == b"measa line of another program\n"


def test_a_line_that_was_whole_when_an_interrupt_came_is_kept(tmp_path: Path) -> None:
    def write(fd: int, data: bytes) -> int:
        os.write(fd, data)
        raise KeyboardInterrupt

    file = record.GrowingFile(tmp_path / "grows", write=write)
    with pytest.raises(KeyboardInterrupt):
        file.append_line(b"measured\n")
    file.check()  # no other program is blamed for it
    file.close()
    assert file.path.read_bytes() == b"measured\n"


def test_a_removed_lock_ends_the_sweep_before_its_next_row(tmp_path: Path) -> None:
    error = swept_until(tmp_path, 4, (tmp_path / record.LOCK).unlink)
    assert str(error).startswith(f"{tmp_path / record.LOCK}: was removed by another program")
    assert "it takes in 4 visits from visits.kept.jsonl" in str(error)
    assert lines(tmp_path) == 5


def test_a_second_sweep_that_a_removed_lock_lets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = tmp_path / "gate"
    out, names = tmp_path / "out", ["slow", "slow", "gated", "slow", "slow"]
    monkeypatch.setenv("FAKE_GATE", str(gate))
    command = [sys.executable, str(HERE / "fake_backend.py"), str(out), " ".join(names)]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
    wait_for(lambda: lines(out) > 2)
    (out / record.LOCK).unlink()
    second = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    wait_for(lambda: (out / record.LOCK).exists())
    gate.touch()
    _, errors = first.communicate(timeout=30)
    assert first.returncode != 0 and "was removed by another program" in errors.splitlines()[-1]
    output, _ = second.communicate(timeout=30)
    assert output.strip() == "complete"
    assert run_sweep(sweep_of(names), out).measured == 0
    frame = read_csv(out / record.TABLE)
    assert sorted(frame["order"]) == [1, 2, 3, 4, 5] and frame["case_id"].is_unique
    assert not (out / record.KEPT).exists() and not (out / record.LOCK).exists()
