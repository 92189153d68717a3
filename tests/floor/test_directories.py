"""Directories that appear whole or not at all, and what killed programs leave."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from killed_at_calls import WORKS
from processes import HERE, environment

from dibench import directories, temporary
from dibench.errors import UserError


@pytest.mark.parametrize("work", WORKS)
def test_killed_at_every_file_call_old_or_new_stands_whole_and_the_next_run_tidies_up(
    tmp_path: Path, work: str
) -> None:
    program = [sys.executable, str(HERE / "killed_at_calls.py"), work, str(tmp_path)]
    run = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False, env=environment())
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) >= 6, "so many calls there are"


def replace(folder: Path) -> None:
    with directories.whole_directory(folder) as new:
        (new / "rows").write_text("110")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "card"
    folder.mkdir(parents=True)
    (folder / "rows").write_text("50")
    return folder


@pytest.mark.parametrize("fails", [1, 2])
def test_an_error_of_either_rename_leaves_the_old_one(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    def no_exchange(one: Path, other: Path) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(directories, "exchange", no_exchange)
    real, calls = os.rename, list[Path]()

    def rename(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == fails:
            raise OSError(errno.EIO, "Input/output error")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(UserError, match="card: cannot be written: Input/output error"):
        replace(dataset)
    assert (dataset / "rows").read_text() == "50"
    assert [path.name for path in dataset.parent.iterdir()] == ["card"]


def test_an_exchange_that_fails_changes_nothing(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(one: Path, other: Path) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(directories, "exchange", busy)
    with pytest.raises(UserError, match="card: cannot be written: Device or resource busy"):
        replace(dataset)
    assert (dataset / "rows").read_text() == "50"


def test_files_of_others_stay_as_they_are(dataset: Path) -> None:
    (dataset / "notes.txt").write_text("mine")
    (dataset / "notes.txt").chmod(0o600)
    (dataset / "figures").mkdir()
    (dataset / "figures" / "one.svg").write_text("<svg/>")
    (dataset / "there").symlink_to("nowhere")
    os.mkfifo(dataset / "pipe")
    dataset.chmod(0o750)
    before = (dataset / "notes.txt").stat()
    replace(dataset)
    assert (dataset / "rows").read_text() == "110"
    after = (dataset / "notes.txt").stat()
    assert (before.st_ino, before.st_mode, before.st_mtime_ns) == (
        after.st_ino,
        after.st_mode,
        after.st_mtime_ns,
    )
    assert (dataset / "figures" / "one.svg").read_text() == "<svg/>"
    assert (dataset / "there").readlink() == Path("nowhere") and (dataset / "pipe").is_fifo()
    assert dataset.stat().st_mode & 0o777 == 0o750


def test_a_file_written_while_the_directory_is_exchanged_stays(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = directories.exchange

    def exchange(one: Path, other: Path) -> None:
        (other / "late.txt").write_text("just written")
        real(one, other)

    monkeypatch.setattr(directories, "exchange", exchange)
    replace(dataset)
    assert (dataset / "late.txt").read_text() == "just written" and (dataset / "rows").read_text() == "110"


def test_a_link_to_a_dataset_stays_a_link(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(dataset)
    replace(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (dataset / "rows").read_text() == "110"


def test_what_a_living_process_owns_is_not_removed(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from dibench import temporary
path = Path(sys.argv[1])
with temporary.directory_beside(path) as one, temporary.file_beside(path) as (two, _):
    (one / "half").write_text("")
    print(one, two, flush=True)
    input()
"""
    command = [sys.executable, "-c", program, str(tmp_path / "card")]
    owner = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert owner.stdout is not None
    owned = set(map(Path, owner.stdout.readline().split()))
    temporary.remove_orphans(tmp_path)
    assert set(tmp_path.iterdir()) == owned and len(owned) == 2
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    temporary.remove_orphans(tmp_path)
    assert not list(tmp_path.iterdir())


def test_only_own_names_and_never_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    (tmp_path / ".sweep.csv.swp").write_text("")
    (tmp_path / "data.dibench").write_text("")
    (tmp_path / ".x.0123abcd.dibench").symlink_to("mine")
    temporary.remove_orphans(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    temporary.remove_orphans(tmp_path / "absent")
