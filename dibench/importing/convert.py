"""Anybody's table as one of the CSV contract; a line that is no row of it is kept with the reason."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from statistics import median
from typing import Any

import attrs

from dibench.cells import open_table
from dibench.errors import UserError
from dibench.importing.columns import DEFAULTS, Columns
from dibench.importing.derived import ENERGIES
from dibench.importing.mapping import Mapping
from dibench.importing.packed import new_names, pairs_of
from dibench.schema import NAMES, REQUIRED
from dibench.table import csv_line, format_value

Rows = list[tuple[int, dict[str, str]]]
"""Number of the line, and its cells by column."""


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
    rows: list[dict[str, Any]]
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

    def to_csv(self) -> bytes:
        """The table."""
        lines = [[format_value(row.get(name)) for name in self.header] for row in self.rows]
        return b"".join(map(csv_line, [self.header, *lines]))

    @property
    def medians(self) -> dict[str, float]:
        """Of time, of the best energy, and of the power that follows from both, where there are any."""
        energy = next((name for name in ENERGIES if any(row.get(name) for row in self.rows)), "")
        both = [(row.get("time_s"), row.get(energy)) for row in self.rows]
        found = {
            "time_s": [time for time, _ in both if time],
            energy: [joules for _, joules in both if joules],
            "power_w": [joules / time for time, joules in both if time and joules],
        }
        return {name: median(values) for name, values in found.items() if values}


def convert(path: Path, mapping: Mapping) -> Imported:
    """The table as one of the contract; lines that are no row of it are listed.

    Raises:
        UserError: it is no table, lacks a column that the contract needs, or not one line is a row; or the
            mapping does not fit it.
    """
    with open_table(path) as lines:
        table = [(line, dict(zip(lines.header, cells, strict=True))) for line, cells in lines.cells]
        header, decimal = list(lines.header), lines.decimal
    refused: list[Refused] = []
    try:
        if not header:
            raise UserError("", "is empty: must begin with a header line")
        for column in mapping.unpack:
            header, table = _unpacked(column, header, table, refused)
        columns = Columns.of(header, mapping)
    except UserError as error:
        raise UserError("", str(error), where=path) from None
    rows = []
    for line, cells in table:
        try:
            rows.append(columns.row(cells, decimal))
        except UserError as error:
            refused.append(Refused(line, error.field, error.rule, error.value))
    refused.sort(key=lambda one: one.line)
    if not rows:
        why = "must have a line below its header that makes a row"
        if refused:
            why += f"; line {refused[0].line}: {refused[0].field}: {refused[0].rule}"
        raise UserError("", why, *([refused[0].value] if refused else []), where=path)
    return _imported(columns, mapping, rows, refused)


def _unpacked(column: str, header: list[str], table: Rows, refused: list[Refused]) -> tuple[list[str], Rows]:
    """The table with a column for each key in the cells of one."""
    if column not in header:
        close = get_close_matches(column, header, n=2)
        rule = "must be a column of the table" + (f", perhaps {' or '.join(close)}" if close else "")
        raise UserError("--unpack", rule, column)
    added: dict[str, None] = {}
    rows = []
    for line, cells in table:
        try:
            pairs = pairs_of(cells[column])
        except ValueError:
            rule = "must hold key:value,… or key=value;…"
            refused.append(Refused(line, column, rule, cells[column]))
            continue
        names = new_names(column, pairs, header)
        added |= dict.fromkeys(names.values())
        rows.append((line, cells | {names[key]: value for key, value in pairs.items()}))
    blank = dict.fromkeys(added, "")
    return [*header, *added], [(line, blank | cells) for line, cells in rows]


def _imported(
    columns: Columns, mapping: Mapping, rows: list[dict[str, Any]], refused: list[Refused]
) -> Imported:
    filled = {name for row in rows for name, cell in row.items() if cell is not None and cell != ""}
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
