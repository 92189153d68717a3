"""What lies on disk after any end: whole rows, a whole manifest, a lock of living processes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_backend import row
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import environment

from dibench import schema
from dibench.errors import UserError
from dibench.schema import Row
from dibench.sweep import record
from dibench.sweep.lock import Lock
from dibench.table import line_of, read_csv


def table_of(path: Path, rows: int) -> Path:
    table = record.RowsFile(path)
    for number in range(1, rows + 1):
        table.append(row(number))
    table.close()
    return path


def test_rows_read_back_as_the_contract_has_them(tmp_path: Path) -> None:
    path = table_of(tmp_path / "sweep.csv", 3)
    frame = read_csv(path)
    assert tuple(frame.columns) == schema.NAMES
    assert list(frame["order"]) == [1, 2, 3]
    assert list(frame["status"]) == ["ok"] * 3
    assert frame["energy_j"].isna().all(), "what is not known is empty, not zero"


def test_text_with_quotes_commas_and_newlines_stays_one_line(tmp_path: Path) -> None:
    path = tmp_path / "sweep.csv"
    table = record.RowsFile(path)
    table.append(row(status="failed", reason='ValueError: "a", b\nc\r\nd é'))
    table.close()
    assert path.read_bytes().count(b"\n") == 2
    assert list(read_csv(path)["reason"]) == ['ValueError: "a", b c d é']


def test_a_cell_that_is_no_column_or_not_finite_is_refused() -> None:
    with pytest.raises(TypeError, match="joules"):
        row(joules=1.0)
    with pytest.raises(ValueError, match="finite"):
        line_of(Row(time_s=float("nan")))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_cut_anywhere_the_table_resumes_with_its_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """SIGKILL or a full disk may leave any prefix of what was to be written."""
    path = table_of(tmp_path_factory.mktemp("cut") / "sweep.csv", 3)
    whole = path.read_bytes()
    kept = whole[: data.draw(st.integers(0, len(whole)), label="bytes left")]
    path.write_bytes(kept)
    table = record.RowsFile(path)
    finished = {row.case_id for row in record.written(path)}
    assert len(finished) == max(0, kept.count(b"\n") - 1)
    for number in range(1, 4):
        if row(number).case_id not in finished:
            table.append(row(number))
    table.close()
    assert path.read_bytes() == whole


def test_a_whole_last_line_is_kept(tmp_path: Path) -> None:
    path = table_of(tmp_path / "sweep.csv", 2)
    before = path.read_bytes()
    record.RowsFile(path).close()
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"a,b,c\n1,2,3\n", b"\x00\xff\x00", b"case_id\n", b"\n"])
def test_a_file_that_is_no_such_table_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sweep.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"sweep\.csv: header: is not that of a table of this version"):
        record.RowsFile(path)
    assert path.read_bytes() == content


def test_a_full_disk_costs_the_row_that_did_not_fit_and_nothing_else(tmp_path: Path) -> None:
    """The disk takes part of a row, then is full, as ext4 and tmpfs do it."""
    path = table_of(tmp_path / "sweep.csv", 2)
    before = path.read_bytes()
    room = [37, 0]

    def write(fd: int, data: bytes) -> int:
        left = room.pop(0)
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(fd, data[:left])

    table = record.RowsFile(path, write=write)
    with pytest.raises(UserError) as caught:
        table.append(row(3))
    assert "cannot be written: No space left on device" in str(caught.value)
    assert "rows before this one are kept" in str(caught.value)
    assert path.read_bytes() == before
    table.close()
    assert len(read_csv(path)) == 2


def test_a_short_write_is_continued(tmp_path: Path) -> None:
    table = record.RowsFile(tmp_path / "sweep.csv", write=lambda fd, data: os.write(fd, data[:7]))
    table.append(row(1))
    table.close()
    assert len(read_csv(tmp_path / "sweep.csv")) == 1


def test_an_interrupt_in_the_middle_of_a_row_leaves_no_part_of_it(tmp_path: Path) -> None:
    path = table_of(tmp_path / "sweep.csv", 1)
    before = path.read_bytes()

    def write(fd: int, data: bytes) -> int:
        os.write(fd, data[:20])
        raise KeyboardInterrupt

    table = record.RowsFile(path, write=write)
    with pytest.raises(KeyboardInterrupt):
        table.append(row(2))
    table.close()
    assert path.read_bytes() == before


def test_dev_full_is_a_full_disk() -> None:
    """The real errno of a real device."""
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OSError) as caught:
            os.write(fd, line_of(row()))
        assert caught.value.errno == errno.ENOSPC
    finally:
        os.close(fd)


def test_the_file_size_limit_is_an_error_of_one_line(tmp_path: Path) -> None:
    """RLIMIT_FSIZE in a process of its own: the kernel refuses the write (Python ignores SIGXFSZ)."""
    program = """
import resource, sys
from pathlib import Path
from fake_backend import row
from dibench.sweep import record
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
table = record.RowsFile(Path(sys.argv[1]))
number = 0
try:
    while True:
        number += 1
        table.append(row(number))
except record.UserError as error:
    print(error)
table.close()
print(number)
"""
    path = tmp_path / "sweep.csv"
    arguments = [sys.executable, "-c", program, str(path)]
    run = subprocess.run(arguments, capture_output=True, text=True, env=environment(), timeout=60, check=True)
    message, number = run.stdout.splitlines()
    assert message.startswith(f"{path}: cannot be written: File too large")
    assert len(read_csv(path)) == int(number) - 1
    assert path.read_bytes().endswith(b"\n")


def test_a_case_in_two_rows_is_noticed(tmp_path: Path) -> None:
    path = table_of(tmp_path / "sweep.csv", 1)
    table = record.RowsFile(path)
    table.append(row(1))
    table.close()
    with pytest.raises(UserError, match=r"line 3: case_id: must stand in one row only"):
        list(record.written(path))


def test_a_second_lock_names_the_first_ones_process(tmp_path: Path) -> None:
    with Lock(tmp_path):
        assert (tmp_path / record.LOCK).read_text() == f"{os.getpid()}\n"
        with pytest.raises(UserError, match=rf"in use by another sweep \(process {os.getpid()}\)"):
            Lock(tmp_path).__enter__()
    assert not (tmp_path / record.LOCK).exists()
    with Lock(tmp_path):
        pass


def test_a_disk_too_full_for_the_lock_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    for folder in (tmp_path, tmp_path / "a" / "b"):
        with pytest.raises(UserError, match="cannot be written: No space left"), Lock(folder):
            pass
    assert not list(tmp_path.iterdir())


def test_directories_made_for_nothing_are_removed(tmp_path: Path) -> None:
    with Lock(tmp_path / "kept" / "out") as _:
        (tmp_path / "kept" / "mine").write_text("")
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "mine"]
    with Lock(tmp_path / "new" / "out"):
        (tmp_path / "new" / "out" / record.TABLE).write_text("")
    assert (tmp_path / "new" / "out" / record.TABLE).exists()


def test_the_file_of_a_killed_process_locks_nothing(tmp_path: Path) -> None:
    (tmp_path / record.LOCK).write_text("1\n")
    with Lock(tmp_path):
        pass


def test_a_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    with Lock(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    try:
        with Lock(tmp_path):
            assert child.poll() is None
    finally:
        child.communicate(b"\n")


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    # Below a regular file: refused for everybody, root included.
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written: Not a directory"):
        Lock(tmp_path / "file" / "out").__enter__()
