"""A table of the CSV contract on disk: rows written and read one by one, or the whole as a frame.

Whole numbers, decimals and text; every cell is checked on its way in.
"""

from __future__ import annotations

import csv
import io
import math
import os
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench import case_ids
from dibench.cells import MISSING, Lines, open_table, parse_number, parse_whole
from dibench.errors import UserError
from dibench.files import encoded, read_json_object
from dibench.layer import DIMENSIONS, Layer
from dibench.lookalikes import remedy
from dibench.schema import ANCHOR, CHECKED, KINDS, NAMES, NETWORK, REQUIRED, RESPONSES, Row, broken_rule

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 8_192
"""Rows that are read as text at once: bounds memory."""

_GROUPED = 65_536
"""Rows whose layers are looked at together: grouping takes half as much memory as they do."""

_REMEMBERED = 1_000
"""Different cells of a column that rows share: names repeat, measurements do not."""

OTHERS = "others"
"""The column that stands for all that a reader has no use for: rows that differ in it are no copies."""

_NO_OTHERS: Mapping[str, str] = {}
"""Of all rows without columns beyond the contract."""


def table_of(path: str | os.PathLike[str]) -> Path:
    """The table of a sweep's directory; any other path stays."""
    path = Path(path)
    return path / "sweep.csv" if path.is_dir() else path


def directory_of(path: str | os.PathLike[str]) -> Path:
    """The directory of a sweep of which this is the table; any other path stays."""
    path = Path(path)
    return path.parent if path.name == "sweep.csv" and not path.is_dir() else path


def manifest_of(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The manifest of a sweep, given its directory or its table; None where none can be read."""
    try:
        return read_json_object(directory_of(path) / "manifest.json")
    except UserError:  # nothing that is read of a table needs it
        return None


def manifest_beside(source: object) -> dict[str, Any] | None:
    """The manifest of the sweep that a path belongs to: its directory, its table, or a fit beside that.

    Returns:
        None of what is no path, as a frame is none, and where no manifest can be read.
    """
    if not isinstance(source, str | os.PathLike):
        return None
    path = Path(source)
    return manifest_of(path.parent if path.suffix == ".json" else path)


def out_directory(path: str | os.PathLike[str]) -> Path:
    """The directory that a sweep is to write, where its table may be named instead.

    Raises:
        UserError: it is another table, which a sweep does not write.

    >>> str(out_directory("results/local/networks/sweep.csv"))
    'results/local/networks'
    """
    folder = directory_of(path)
    if folder.suffix.lower() == ".csv" and not folder.is_dir():
        rule = f"must be a directory, into which sweep.csv is written, such as {folder.with_suffix('')}"
        raise UserError("--out", rule, str(path))
    return folder


def format_value(value: Any) -> str:
    """A cell's text: empty for None, shortest exact form for numbers, no newline in text.

    >>> format_value(None), format_value(0.1), format_value(3), format_value("a\\nb")
    ('', '0.1', '3', 'a b')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a cell holds finite numbers only, got {value}")
        return repr(value)
    return " ".join(str(value).split()) if isinstance(value, str) else str(value)


def csv_line(cells: Sequence[str]) -> bytes:
    """Cells as one line of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return encoded(text.getvalue())


HEADER = csv_line(NAMES)
_cells_of = attrgetter(*NAMES)


def line_of(row: Row) -> bytes:
    """A row as one line under HEADER, which has no room for columns beyond the contract.

    Raises:
        ValueError: a number is not finite.
    """
    return csv_line([format_value(cell) for cell in _cells_of(row)])


def read_rows(path: Path, needed: Sequence[str] = (), content: bytes | None = None) -> Iterator[Row]:
    """The rows of a table, one after the other.

    A last line without its end is one that a killed program was writing: it is left out.

    Args:
        path: of the table.
        needed: columns that it must have.
        content: of the file, where it is known already.

    Raises:
        UserError: the file is missing, lacks a column, or a cell breaks a rule; the message names file, line,
            column, rule and value.
    """
    with open_table(path, whole=True, content=content) as lines:
        for name in needed:
            if name not in lines.header:
                raise _lacks(lines, name)
        known: dict[str, dict[str, Any]] = {name: {} for name in lines.header}
        for line, cells in lines.cells:
            yield _row(lines, line, cells, known)


def _row(lines: Lines, line: int, texts: Sequence[str], known: dict[str, dict[str, Any]]) -> Row:
    """A row; `known` has cells of each column that were read before. Equal ones are one object in memory."""
    cells: dict[str, Any] = {}
    others: dict[str, str] = {}
    for name, text in zip(lines.header, texts, strict=True):
        before = known[name]
        if text in before:
            cell = before[text]
        else:
            cell = _cell(lines, line, name, text)
            if len(before) < _REMEMBERED:
                before[text] = cell
        if name not in KINDS:
            others[name] = cell
        elif cell is not None:
            cells[name] = cell
    return Row(**cells, others=others or _NO_OTHERS)


def _cell(lines: Lines, line: int, name: str, text: str) -> Any:
    """The value of a cell; None where it is not known."""
    kind = KINDS.get(name)
    if kind is None:
        return text
    if name in CHECKED and (rule := broken_rule(name, text)):
        raise UserError(f"line {line}: {name}", rule, text, where=lines.path)
    if text in MISSING:
        return None
    parse, rule = _PARSE[kind]
    try:
        cell = parse(text, lines.decimal)
    except ValueError:
        raise UserError(f"line {line}: {name}", rule, text, where=lines.path) from None
    return case_ids.present_form(cell) if name == "case_id" else cell


def load(*tables: str | os.PathLike[str], only: Collection[str] = ()) -> pd.DataFrame:
    """The rows of one or more tables of the CSV contract, checked, as one frame.

    Args:
        tables: `sweep.csv` files, directories of sweeps, or files that any other tool wrote.
        only: columns to keep, as of `read_csv`. By default all.

    Raises:
        dibench.errors.UserError: a file is missing or breaks the contract; the message says where.

    >>> load("results/local/networks", "another/sweep.csv").groupby("op")["time_s"].median()  # doctest: +SKIP
    """
    import pandas as pd

    frames = [read_csv(table_of(table), only) for table in tables]
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else frames[0]


def read_csv(path: str | Path, only: Collection[str] = ()) -> pd.DataFrame:
    """A sweep's table as a frame: whole numbers as nullable Int64, decimals as float64, the rest as text.

    Read in blocks of rows; of a block, each different cell of a column is looked at once.

    Args:
        path: of the table.
        only: columns to keep, where it has them: all cells are checked, but a column takes 9 MB per million
            rows. What all others hold is one number, `others`, equal for equal cells. By default all.

    Raises:
        UserError: the file is missing, not a table of this contract, cut off, or a cell breaks a rule; the
            message names file, line, column, rule and value.
    """
    import numpy as np
    import pandas as pd

    numbers = array("Q")
    with open_table(Path(path)) as lines:
        _check_header(lines)
        kept = [name for name in lines.header if not only or name in only or name in REQUIRED]
        rest = [at for at, name in enumerate(lines.header) if name not in kept]
        columns = {name: _Column(KINDS.get(name, "")) for name in kept}
        others = array("q")
        while block := list(islice(lines.cells, BLOCK)):
            for name, cells in _columns(lines, block):
                if name in columns:
                    columns[name].add(cells)
            numbers.extend(number for number, _ in block)
            if rest:
                others.extend(hash(tuple(map(cells.__getitem__, rest))) for _, cells in block)
            block.clear()  # not beside the next one: as text a row takes 6 kB
    frame = pd.DataFrame({name: columns.pop(name).whole() for name in kept}, copy=False)
    if rest:
        frame[OTHERS] = np.frombuffer(others, dtype=np.int64)
    _check_layers(lines, frame, numbers)
    return frame


def _check_header(lines: Lines) -> None:
    if not lines.header:
        raise UserError("", "is empty: must begin with a header line", where=lines.path)
    for name in REQUIRED:
        if name not in lines.header:
            raise _lacks(lines, name)
    if not any(name in lines.header for name in RESPONSES):
        rule = "must have one of the columns " + ", ".join(RESPONSES) + remedy("time_s", lines.header)
        raise UserError("header", rule, ",".join(lines.header), where=lines.path)


def _lacks(lines: Lines, name: str) -> UserError:
    rule = f"must have the column {name}{remedy(name, lines.header)}"
    return UserError("header", rule, ",".join(lines.header), where=lines.path)


@attrs.frozen
class _Cells:
    """One column of a block of rows."""

    lines: Lines
    name: str
    numbers: Sequence[int]
    """Of the line of each cell."""
    texts: Sequence[str]

    def refused(self, rule: str, text: str) -> UserError:
        """What to raise for the first cell with that text."""
        line = self.numbers[self.texts.index(text)]
        return UserError(f"line {line}: {self.name}", rule, text, where=self.lines.path)

    def parsed(self, kind: str, missing: float, dtype: str) -> Any:
        """The cells as numbers."""
        import numpy as np

        parse, rule = _PARSE[kind]
        known = {}
        for text in dict.fromkeys(self.texts):
            try:
                known[text] = missing if text in MISSING else parse(text, self.lines.decimal)
            except ValueError:
                raise self.refused(rule, text) from None
        return np.fromiter(map(known.__getitem__, self.texts), dtype=dtype, count=len(self.texts))


def _columns(lines: Lines, block: list[tuple[int, list[str]]]) -> Iterator[tuple[str, Any]]:
    """Each column of a block by name, checked: an array, of text a list."""
    numbers = [number for number, _ in block]
    columns = zip(*(cells for _, cells in block), strict=True)
    for name, texts in zip(lines.header, columns, strict=True):
        yield name, _CONVERT[KINDS.get(name, "")](_Cells(lines, name, numbers, texts))


class _Column:
    """A column that grows in place: blocks that are joined at the end would be in memory twice."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._cells: Any = array({"int": "q", "float": "d"}[kind]) if kind in ("int", "float") else []
        self._missing = bytearray()

    def add(self, cells: Any) -> None:
        """Those of one more block."""
        if self._kind == "int":
            whole, missing = cells
            self._cells.frombytes(whole.tobytes())
            self._missing += missing
        elif self._kind == "float":
            self._cells.frombytes(cells.tobytes())
        else:
            self._cells += cells

    def whole(self) -> Any:
        """All cells, as a frame takes them, on the same memory."""
        import numpy as np
        import pandas as pd

        if isinstance(self._cells, list):
            return self._cells
        cells = np.frombuffer(self._cells, dtype=self._cells.typecode)
        if self._kind == "float":
            return cells
        return pd.arrays.IntegerArray(cells, np.frombuffer(self._missing, dtype=bool))


def _others(cells: _Cells) -> list[str]:
    shared = {text: text for text in cells.texts}  # equal cells are one string in memory
    return [shared[text] for text in cells.texts]


def _text(cells: _Cells) -> list[str]:
    known = {text: "" if text in MISSING else text for text in cells.texts}
    if cells.name in CHECKED:
        for text in known:
            if rule := broken_rule(cells.name, text):
                raise cells.refused(rule, text)
    if cells.name == "case_id":
        known = {text: case_ids.present_form(cell) for text, cell in known.items()}
    return [known[text] for text in cells.texts]


def _int(cells: _Cells) -> Any:
    return cells.parsed("int", 0, "i8"), bytes(map(MISSING.__contains__, cells.texts))


def _float(cells: _Cells) -> Any:
    return cells.parsed("float", math.nan, "f8")


_CONVERT: dict[str, Callable[[_Cells], Any]] = {"": _others, "text": _text, "int": _int, "float": _float}


def _same(text: str, decimal: str) -> str:
    return text


_PARSE: dict[str, tuple[Callable[[str, str], Any], str]] = {
    "text": (_same, ""),
    "int": (parse_whole, "must be a whole number or empty"),
    "float": (parse_number, "must be a finite number or empty"),
}
"""How a cell of each kind is read, and the rule that it must keep."""


def _check_layers(lines: Lines, frame: pd.DataFrame, numbers: Sequence[int]) -> None:
    """Every row's dimensions make a layer, and its operator is that layer's.

    What holds at two batch sizes holds between them: of rows that differ in N alone those of the least and
    the largest are looked at, and row by row only where something is wrong.
    """
    if all(_are_layers(frame[begin : begin + _GROUPED]) for begin in range(0, len(frame), _GROUPED)):
        return
    rows = frame[["op", *DIMENSIONS]].itertuples(index=False)
    for line, (op, *dims) in zip(numbers, rows, strict=True):
        try:
            _check_layer(op, dims)
        except UserError as error:
            raise UserError(f"line {line}", str(error), where=lines.path) from None


def _are_layers(frame: pd.DataFrame) -> bool:
    rows = frame.groupby(["op", frame["N"].isna(), *DIMENSIONS[1:]], sort=False, dropna=False)["N"]
    try:
        for (op, _, *rest), least, most in rows.agg(["min", "max"]).itertuples():
            _check_layer(op, [least, *rest])
            _check_layer(op, [most, *rest])
    except UserError:
        return False
    return True


def _check_layer(op: str, dims: Sequence[Any]) -> None:
    import pandas as pd

    known = {dim: int(value) for dim, value in zip(DIMENSIONS, dims, strict=True) if value is not pd.NA}
    if op == ANCHOR:
        for dim in known:
            raise UserError(dim, "must be empty, an anchor is no layer")
    elif op != NETWORK:
        for dim in DIMENSIONS:
            if dim not in known:
                raise UserError(dim, "must not be empty")
        layer = Layer.from_dims(known)
        if op != layer.op:
            raise UserError("op", f"must be {layer.op} for these dimensions", op)
