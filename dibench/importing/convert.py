"""Anybody's table as one of the CSV contract; a line that is no row of it is kept with the reason.

Lines are read one after the other, a row is kept as a tuple, and the table is written as it is made: as
dictionaries beside its text a row would take 12 kB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any

import attrs

from dibench.cells import open_table
from dibench.errors import UserError
from dibench.importing.columns import DEFAULTS, Columns
from dibench.importing.derived import ENERGIES
from dibench.importing.mapping import Mapping as Given
from dibench.importing.packed import new_names, pairs_of
from dibench.schema import NAMES, REQUIRED
from dibench.table import csv_line, format_value

Lines = Iterable[tuple[int, dict[str, str]]]
"""Number of the line, and its cells by column."""


@attrs.frozen
class Rows(Sequence[dict[str, Any]]):
    """Rows of the contract, each made a dictionary when it is asked for."""

    names: tuple[str, ...]
    """Of columns: those of the contract, and others."""
    cells: list[tuple[Any, ...]] = attrs.field(factory=list, repr=False)
    """In that order; None where a row does not have it."""

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep one more."""
        self.cells.append(tuple(map(row.get, self.names)))

    def column(self, name: str) -> Iterator[Any]:
        """Its cells, one for each row."""
        at = self.names.index(name)
        return (cells[at] for cells in self.cells)

    @property
    def filled(self) -> set[str]:
        """Columns that hold something."""
        return {
            name for name in self.names if any(cell is not None and cell != "" for cell in self.column(name))
        }

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, at: Any) -> Any:
        return dict(zip(self.names, self.cells[at], strict=True))


@attrs.frozen
class Refused:
    """A line that is no row of the contract."""

    line: int
    field: str
    rule: str
    value: Any


@attrs.frozen
class Imported:
    """A table of the CSV contract, and how it came about."""

    header: tuple[str, ...]
    rows: Rows
    read: int
    """Lines of the table below its header that are not blank."""
    refused: list[Refused]
    taken: dict[str, str]
    """Columns of the contract → what of the table they are, by the formulas."""
    same: tuple[str, ...]
    """Columns that had the contract's names."""
    constants: dict[str, str]
    derived: tuple[str, ...]
    assumed: dict[str, int]
    """Dimensions of which the table says nothing → what they were taken for."""
    kept: tuple[str, ...]
    """Columns that the contract does not know."""
    left_out: tuple[str, ...]
    """Columns whose names in the contract others took."""

    def lines(self) -> Iterator[bytes]:
        """The table, line by line."""
        yield csv_line(self.header)
        chosen = [self.rows.names.index(name) for name in self.header]
        for cells in self.rows.cells:
            yield csv_line([format_value(cells[at]) for at in chosen])

    @property
    def medians(self) -> dict[str, float]:
        """Of time, of the best energy, and of the power that follows from both, where there are any."""
        energy = next((name for name in ENERGIES if any(self.rows.column(name))), "")
        times = self.rows.column("time_s")
        both = list(zip(times, self.rows.column(energy) if energy else repeat(None), strict=False))
        found = {
            "time_s": [time for time, _ in both if time],
            energy: [joules for _, joules in both if joules],
            "power_w": [joules / time for time, joules in both if time and joules],
        }
        return {name: median(values) for name, values in found.items() if values}


def convert(path: Path, mapping: Given) -> Imported:
    """The table as one of the contract; lines that are no row of it are listed.

    Raises:
        UserError: it is no table, lacks a column that the contract needs, or not one line is a row; or the
            mapping does not fit it.
    """
    with open_table(path) as lines:
        header, decimal = list(lines.header), lines.decimal
    refused: list[Refused] = []
    packed: list[_Packed] = []
    with _about(path):
        if not header:
            raise UserError("", "is empty: must begin with a header line")
    for column in mapping.unpack:
        with _about(path):
            packed.append(_Packed.of(column, header))
        found = packed[-1].names_in(_lines(path, packed[:-1], []))
        packed[-1] = attrs.evolve(packed[-1], added=found)
        header = [*header, *found]
    with _about(path):
        columns = Columns.of(header, mapping)
    rows = Rows((*NAMES, *columns.kept))
    for line, cells in _lines(path, packed, refused):
        try:
            rows.add(columns.row(cells, decimal))
        except UserError as error:
            refused.append(Refused(line, error.field, error.rule, error.value))
    refused.sort(key=lambda one: one.line)
    if not rows:
        why = "must have a line below its header that makes a row"
        if refused:
            why += f"; line {refused[0].line}: {refused[0].field}: {refused[0].rule}"
        raise UserError("", why, *([refused[0].value] if refused else []), where=path)
    return _imported(columns, mapping, rows, refused)


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Name the table in errors."""
    try:
        yield
    except UserError as error:
        raise UserError("", str(error), where=path) from None


def _lines(path: Path, packed: Sequence[_Packed], refused: list[Refused]) -> Lines:
    """The lines of a table with columns of their own for what is packed; those refused are listed."""
    with open_table(path) as lines:
        rows: Lines = ((line, dict(zip(lines.header, cells, strict=True))) for line, cells in lines.cells)
        for one in packed:
            rows = one.unpacked(rows, refused)
        yield from rows


@attrs.frozen
class _Packed:
    """A column whose cells hold several values."""

    column: str
    header: list[str]
    """Columns of the table before it is unpacked."""
    added: tuple[str, ...] = ()
    """Columns for the keys in its cells."""

    @classmethod
    def of(cls, column: str, header: list[str]) -> _Packed:
        if column not in header:
            close = get_close_matches(column, header, n=2)
            rule = "must be a column of the table" + (f", perhaps {' or '.join(close)}" if close else "")
            raise UserError("--unpack", rule, column)
        return cls(column, header)

    def names_in(self, rows: Lines) -> tuple[str, ...]:
        """A column for each key."""
        known = set(self.header)
        found = (name for _, cells in self.unpacked(rows, []) for name in cells if name not in known)
        return tuple(dict.fromkeys(found))

    def unpacked(self, rows: Lines, refused: list[Refused]) -> Lines:
        """The lines with these columns; empty where a cell does not have that key."""
        blank = dict.fromkeys(self.added, "")
        for line, cells in rows:
            try:
                pairs = pairs_of(cells[self.column])
            except ValueError:
                rule = "must hold key:value,… or key=value;…"
                refused.append(Refused(line, self.column, rule, cells[self.column]))
                continue
            names = new_names(self.column, pairs, self.header)
            yield line, blank | cells | {names[key]: value for key, value in pairs.items()}


def _imported(columns: Columns, mapping: Given, rows: Rows, refused: list[Refused]) -> Imported:
    filled = rows.filled
    unsaid = filled - columns.filled
    assumed = {name: value for name, value in DEFAULTS.items() if name in unsaid}
    wanted = {*REQUIRED, *filled, *columns.filled}
    return Imported(
        header=(*(name for name in NAMES if name in wanted), *columns.kept),
        rows=rows,
        read=len(rows) + len(refused),
        refused=refused,
        taken={name: source.said for source in columns.sources for name in source.targets},
        same=columns.same,
        constants=mapping.constants,
        derived=tuple(name for name in NAMES if name in unsaid and name not in assumed),
        assumed=assumed,
        kept=columns.kept,
        left_out=columns.left_out,
    )
