"""The files of a sweep, above all its table.

- `sweep.csv` only grows, one `os.write` per row. A killed program leaves whole rows and at most one torn last
  line, which the next start cuts off. Rows survive the program's death at once. They are forced to the disk
  (fdatasync) at most every five seconds and at the end, so a power failure may cost the last five seconds,
  never an older row.
- `visits.jsonl` has a line for each visit, and grows in the same way. Rows of visited cases follow from it.
- `manifest.json` is replaced whole: written beside, forced to the disk, renamed.
- `sweep.lock` names the process that writes here; the kernel releases it however that process ends.
- `under_way.txt` names what is measured now, for the case that it takes this program down; see `under_way`.
- `visits.kept.jsonl` has visits that could not go into `visits.jsonl` because another program had changed it;
  the next start takes them in.

Before each line, the file at the path must be the one that is open, of the size that this program left: an
editor, rsync or `sed -i` puts another in its place, and rows would go where nobody finds them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dibench.errors import UserError
from dibench.files import explained, replace_file
from dibench.table import HEADER, line_of, read_rows

if TYPE_CHECKING:
    from dibench.schema import Row

TABLE, VISITS, MANIFEST, LOCK = "sweep.csv", "visits.jsonl", "manifest.json", "sweep.lock"
KEPT = "visits.kept.jsonl"
UNDER_WAY = "under_way.txt"
_SYNC_EVERY_S = 5.0

Write = Callable[[int, bytes], int]


class ChangedError(UserError):
    """Another program changed a file that a sweep is writing."""


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

    safe = "the same command goes on"
    """What a message says of everything measured so far."""

    def __init__(
        self,
        path: Path,
        *,
        header: bytes = b"",
        write: Write = os.write,
        held: Callable[[], object] = lambda: None,
    ) -> None:
        """Open the file, cut off a torn last line, write the header where there is none.

        Args:
            path: of the file.
            header: its first line.
            write: `os.write`.
            held: raises ChangedError where the directory's lock is not held any more.

        Raises:
            UserError: the file cannot be written, or begins with another header.
        """
        self.path = path
        self._header, self._write, self._held = header, write, held
        self._synced_at = time.monotonic()
        self._end: int | None = None
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
                rule = "is not that of a table of this version of dibench"
                raise UserError("header", rule, where=self.path)
            if whole < len(data):
                os.ftruncate(self._fd, whole)
            return whole

    def check(self) -> None:
        """Look whether the lock is held and the file is as this program left it.

        Raises:
            ChangedError: another program changed one of them.
        """
        self._held()
        self._settle()
        if how := self._changed():
            rule = f"{how} by another program while this sweep ran, and is left so; {self.safe}"
            raise ChangedError("", rule, where=self.path)

    def _changed(self) -> str:
        with self._explained():
            try:
                there = self.path.stat()
            except FileNotFoundError:
                return "was removed"
            if not os.path.samestat(there, os.fstat(self._fd)):
                return "was replaced"
        if there.st_size == self._size:
            return ""
        return f"was changed from {self._size:,} to {there.st_size:,} bytes"

    def append_line(self, line: bytes) -> None:
        """Write one line, whole or not at all.

        Raises:
            ChangedError: see `check`; nothing was written.
            UserError: the disk is full or the file cannot be written; all earlier lines are kept.
        """
        self.check()
        with self._explained():
            self._end = self._size + len(line)
            try:
                written = 0
                while written < len(line):  # a nearly full disk may write only a part
                    written += self._write(self._fd, line[written:])
            except OSError:
                self._settle()
                raise
        self._size, self._end = self._end, None
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
            self._settle()
            self.sync()
        finally:
            os.close(self._fd)

    def _settle(self) -> None:
        """Of an append that was interrupted, keep a whole line, and cut off a torn one.

        Nobody else's line is cut, and never upwards. An interrupt may come when all is written, and before
        that is noted: what stands there then is no other program's.
        """
        if self._end is None:
            return
        with contextlib.suppress(OSError):  # the next start repairs it
            size = os.fstat(self._fd).st_size
            if size == self._end:
                self._size = size
            elif self._size < size < self._end:
                os.ftruncate(self._fd, self._size)
        self._end = None

    @contextlib.contextmanager
    def _explained(self) -> Any:
        with explained(self.path, "rows before this one are kept; the same command resumes"):
            yield


class RowsFile(GrowingFile):
    """`sweep.csv`."""

    safe = f"every visit is in {VISITS}: the same command writes the missing rows again, and goes on"

    def __init__(
        self, path: Path, *, write: Write = os.write, held: Callable[[], object] = lambda: None
    ) -> None:
        """See GrowingFile."""
        super().__init__(path, header=HEADER, write=write, held=held)

    def append(self, row: Row) -> None:
        """Write one row, whole or not at all.

        Raises:
            ChangedError: another program changed the file, or the lock; the row was not written.
            UserError: the disk is full or the file cannot be written; all earlier rows are kept.
        """
        self.append_line(line_of(row))


def written(path: Path, among: Collection[str] | None = None) -> Iterator[Row]:
    """The rows of a sweep's table; none where there is no table.

    Args:
        path: of the table.
        among: the ids that rows may have; None: any.

    Raises:
        UserError: a row breaks the contract, has no id, one that another row has, or one that is not `among`.
    """
    if not path.exists():
        return
    seen: set[str] = set()
    for line, row in enumerate(read_rows(path, ("case_id", "status")), start=2):
        if not row.case_id or row.case_id in seen:
            rule = "must stand in one row only" if row.case_id else "must not be empty"
            raise UserError(f"line {line}: case_id", rule, row.case_id, where=path)
        if among is not None and row.case_id not in among:
            rule = "must be of a case of this plan, something changed it: delete the line"
            raise UserError(f"line {line}: case_id", rule, row.case_id, where=path)
        seen.add(row.case_id)
        yield row


def write(path: Path, rows: Iterable[Row]) -> None:
    """Replace the table, whole or not at all, by one with these rows."""
    replace_file(path, chain([HEADER], map(line_of, rows)))
