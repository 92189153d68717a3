"""The files of a sweep, above all its table.

- `sweep.csv` only grows, one `os.write` per row. A killed program leaves whole rows and at most one torn last
  line, which the next start cuts off. Rows survive the program's death at once. They are forced to the disk
  (fdatasync) at most every five seconds and at the end, so a power failure may cost the last five seconds,
  never an older row.
- `visits.jsonl` has a line for each visit, and grows in the same way.
- `manifest.json` is replaced whole: written beside, forced to the disk, renamed.
- `sweep.lock` names the process that writes here; the kernel releases it however that process ends.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dibench.errors import UserError
from dibench.files import explained, replace_file
from dibench.table import HEADER, line_of, read_rows

if TYPE_CHECKING:
    from dibench.schema import Row

TABLE, VISITS, MANIFEST, LOCK = "sweep.csv", "visits.jsonl", "manifest.json", "sweep.lock"
_SYNC_EVERY_S = 5.0

Write = Callable[[int, bytes], int]


def refuse_test_data(out: Path, source: str) -> None:
    """Refuse to write replayed joules where measured ones are published.

    Raises:
        UserError: `out` lies under `results/`, and not under `results/local/`.
    """
    parts = out.resolve().parts
    if source == "simulated" and "results" in parts and parts[parts.index("results") + 1 :][:1] != ("local",):
        raise UserError("--out", "must not be under results/: simulated energy is test data", str(out))


class GrowingFile:
    """A file of whole lines, open for appending; only for the holder of the directory's lock."""

    def __init__(self, path: Path, *, header: bytes = b"", write: Write = os.write) -> None:
        """Open the file, cut off a torn last line, write the header where there is none.

        Raises:
            UserError: the file cannot be written, or begins with another header.
        """
        self.path = path
        self._header, self._write = header, write
        self._synced_at = time.monotonic()
        with self._explained():
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o644)
        try:
            self._size = self._repair()
            if self._size == 0 and header:
                self.append_line(header)
        except BaseException:
            os.close(self._fd)
            raise

    def _repair(self) -> int:
        """Truncate to the last whole line; returns the size."""
        with self._explained():
            data = self.path.read_bytes()
            whole = data.rfind(b"\n") + 1
            first = data[: data.find(b"\n") + 1] or data  # a torn header has no newline yet
            torn_header = whole == 0 and self._header.startswith(data)
            if self._header and not torn_header and first.replace(b"\r\n", b"\n") != self._header:
                rule = "is not a table of this version of dibench: take another --out, or --fresh"
                raise UserError("header", rule, where=self.path)
            if whole < len(data):
                os.ftruncate(self._fd, whole)
            return whole

    def append_line(self, line: bytes) -> None:
        """Write one line, whole or not at all.

        Raises:
            UserError: the disk is full or the file cannot be written; all earlier lines are kept.
        """
        with self._explained():
            try:
                written = 0
                while written < len(line):  # a nearly full disk may write only a part
                    written += self._write(self._fd, line[written:])
            except OSError:
                self._cut()
                raise
        self._size += len(line)
        if time.monotonic() - self._synced_at >= _SYNC_EVERY_S:
            self.sync()

    def sync(self) -> None:
        """Force what is written to the disk."""
        with self._explained():
            os.fdatasync(self._fd)
        self._synced_at = time.monotonic()

    def close(self) -> None:
        """Cut off an interrupted write and force the file to the disk."""
        try:
            if os.fstat(self._fd).st_size != self._size:
                self._cut()
            self.sync()
        finally:
            os.close(self._fd)

    def _cut(self) -> None:
        with contextlib.suppress(OSError):  # the next start repairs it
            os.ftruncate(self._fd, self._size)

    @contextlib.contextmanager
    def _explained(self) -> Any:
        with explained(self.path, "rows before this one are kept; the same command resumes"):
            yield


class RowsFile(GrowingFile):
    """`sweep.csv`."""

    def __init__(self, path: Path, *, write: Write = os.write) -> None:
        """See GrowingFile."""
        super().__init__(path, header=HEADER, write=write)

    def append(self, row: Row) -> None:
        """Write one row, whole or not at all.

        Raises:
            UserError: the disk is full or the file cannot be written; all earlier rows are kept.
        """
        self.append_line(line_of(row))


def written(path: Path) -> Iterator[Row]:
    """The rows of a sweep's table; none where there is no table.

    Raises:
        UserError: a row breaks the contract, has no id, or one that another row has.
    """
    if not path.exists():
        return
    seen: set[str] = set()
    for line, row in enumerate(read_rows(path, ("case_id", "status")), start=2):
        if not row.case_id or row.case_id in seen:
            rule = "must stand in one row only" if row.case_id else "must not be empty"
            raise UserError(f"line {line}: case_id", rule, row.case_id, where=path)
        seen.add(row.case_id)
        yield row


def rewrite(path: Path, change: Callable[[Row], Row | None]) -> None:
    """Replace the table as a whole by one with every row changed.

    Args:
        path: of the table.
        change: from a row to what takes its place; None drops it.
    """
    changed = [change(row) for row in read_rows(path)]
    write(path, (row for row in changed if row is not None))


def write(path: Path, rows: Iterable[Row]) -> None:
    """Replace the table, whole or not at all, by one with these rows."""
    replace_file(path, b"".join([HEADER, *map(line_of, rows)]))
