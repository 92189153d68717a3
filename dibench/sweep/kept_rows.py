"""Rows of a table as far as joining sweeps looks at them: the rest stays in its file until it is copied.

A whole `Row` takes 2 kB of memory, what is kept of one 300 bytes, and a fleet's tables have millions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

import attrs

from dibench import files
from dibench.errors import UserError
from dibench.table import line_of, read_rows

MOST_OPEN = 64
"""Tables whose lines are copied in turns; a thousand machines' would need a thousand descriptors."""


@attrs.frozen
class KeptRow:
    """What is kept of a row: the columns that joining and campaigns look at, and where its line is."""

    case_id: str
    order: int | None
    session: str
    device: str
    device_uuid: str
    backend: str
    variant: str
    energy_source: str
    status: str
    reason: str
    visits: int | None
    launches: int | None
    table: Path
    begin: int
    """Of its line in the file, in bytes."""
    line: bytes | None = None
    """The line as dibench writes it, where the file has it otherwise: edited, gzipped, of other columns."""

    @property
    def measured(self) -> bool:
        """See Row."""
        return self.status in ("ok", "flagged")


_OF_ROW = [field.name for field in attrs.fields(KeptRow)][:-3]
_cells_of = attrgetter(*_OF_ROW)


def keep_rows(table: Path, needed: Sequence[str] = ()) -> Iterator[KeptRow]:
    """What is kept of the rows of a table, one after the other.

    Args:
        table: its path.
        needed: columns that it must have.

    Raises:
        UserError: as `table.read_rows` does.
    """
    with files.explained(table, doing="read"), table.open("rb") as file:
        begin = len(file.readline())
        for row in read_rows(table, needed):
            line, found = line_of(row), file.readline()
            same = found == line and found.startswith(_start(row.case_id))
            cells = dict(zip(_OF_ROW, _cells_of(row), strict=True))
            yield KeptRow(**cells, table=table, begin=begin, line=None if same else line)
            begin += len(found)


def _start(case_id: str) -> bytes:
    return case_id.encode(errors="replace") + b","


def lines_of(rows: Iterable[KeptRow]) -> Iterator[bytes]:
    """The line of each, copied from its table.

    Raises:
        UserError: a table cannot be read, or was changed since.
    """
    opened: dict[Path, BinaryIO] = {}
    try:
        for row in rows:
            yield _copied(row, opened) if row.line is None else row.line
    finally:
        for file in opened.values():
            file.close()


def _copied(row: KeptRow, opened: dict[Path, BinaryIO]) -> bytes:
    with files.explained(row.table, doing="read"):
        if row.table not in opened:
            if len(opened) == MOST_OPEN:
                opened.pop(next(iter(opened))).close()
            opened[row.table] = row.table.open("rb")
        file = opened[row.table]
        file.seek(row.begin)
        line = file.readline()
    if not line.startswith(_start(row.case_id)):
        raise UserError("", "was changed while it was read: give the command again", where=row.table)
    return line
