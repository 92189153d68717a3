"""A table of the CSV contract on disk: rows written and read one by one, or the whole as a frame.

Whole numbers, decimals and text; every cell is checked on its way in.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from operator import attrgetter, not_
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from dibench.errors import UserError
from dibench.layer import DIMENSIONS, Layer
from dibench.schema import ANCHOR, CHOICES, KINDS, NAMES, NETWORK, REQUIRED, RESPONSES, Row, broken_rule

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 8_192
"""Rows that are read as text at once: bounds memory."""


def table_of(path: str | Path) -> Path:
    """The table of a sweep's directory; any other path stays."""
    path = Path(path)
    return path / "sweep.csv" if path.is_dir() else path


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
    return text.getvalue().encode()


HEADER = csv_line(NAMES)
_cells_of = attrgetter(*NAMES)


def line_of(row: Row) -> bytes:
    """A row as one line under HEADER, which has no room for columns beyond the contract.

    Raises:
        ValueError: a number is not finite.
    """
    return csv_line([format_value(cell) for cell in _cells_of(row)])


def read_rows(path: Path, needed: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a table, one after the other.

    A last line without its end is one that a killed program was writing: it is left out.

    Args:
        path: of the table.
        needed: columns that it must have.

    Raises:
        UserError: the file is missing, lacks a column, or a cell breaks a rule; the message names file, line,
            column, rule and value.
    """
    for line, texts in enumerate(read_texts(path, needed), start=2):
        yield _row(path, line, texts)


def read_texts(path: Path, needed: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """The rows of a table of any columns, as text by column; otherwise as `read_rows`."""
    with _lines(path, whole=True) as lines:
        header = next(lines, [])
        for name in needed:
            if name not in header:
                raise UserError("header", f"must have the column {name}", ",".join(header), where=path)
        _check_names(path, header)
        for line, row in enumerate(lines, start=2):
            if len(row) != len(header):
                _refuse_length(path, header, row, line, last=False)
            yield dict(zip(header, row, strict=True))


def _row(path: Path, line: int, texts: dict[str, str]) -> Row:
    cells: dict[str, Any] = {}
    others = {}
    for name, text in texts.items():
        kind = KINDS.get(name)
        if kind is None:
            others[name] = text
        elif text:
            parse, rule = _PARSE[kind]
            try:
                cells[name] = parse(text)
            except ValueError:
                raise UserError(f"line {line}: {name}", rule, text, where=path) from None
    for name in CHOICES:
        if name in texts and (rule := broken_rule(name, texts[name])):
            raise UserError(f"line {line}: {name}", rule, texts[name], where=path)
    return Row(**cells, others=others)


def load(*tables: str | Path) -> pd.DataFrame:
    """The rows of one or more tables of the CSV contract, checked, as one frame.

    Args:
        tables: `sweep.csv` files, directories of sweeps, or files that any other tool wrote.

    Raises:
        dibench.errors.UserError: a file is missing or breaks the contract; the message says where.
    """
    import pandas as pd

    frames = [read_csv(table_of(table)) for table in tables]
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else frames[0]


def read_csv(path: str | Path) -> pd.DataFrame:
    """A sweep's table as a frame: whole numbers as nullable Int64, decimals as float64, the rest as text.

    Read in blocks of rows; of a block, each different cell of a column is looked at once.

    Raises:
        UserError: the file is missing, not a table of this contract, cut off, or a cell breaks a rule; the
            message names file, line, column, rule and value.
    """
    import pandas as pd

    path = Path(path)
    blocks = []
    with _lines(path) as lines:
        header = next(lines, None)
        if header is None:
            raise UserError("", "is empty: must begin with a header line", where=path)
        _check_header(path, header)
        first = 2
        while rows := list(islice(lines, BLOCK)):
            _check_lengths(path, header, rows, first, at_end=len(rows) < BLOCK)
            blocks.append(_frame(path, header, list(zip(*rows, strict=True)), first))
            first += len(rows)
    frame = pd.concat(blocks, ignore_index=True) if blocks else _frame(path, header, [()] * len(header), 2)
    _check_layers(path, frame)
    return frame


@contextmanager
def _lines(path: Path, *, whole: bool = False) -> Iterator[Iterator[list[str]]]:
    """The cells of each line; `whole`: without a last line that lacks its end."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write the mark
            ended = (line for line in file if line.endswith("\n")) if whole else file
            yield csv.reader(ended, strict=True)
    except FileNotFoundError:
        raise UserError("", "no such file", where=path) from None
    except OSError as error:
        raise UserError("", f"cannot be read: {error.strerror}", where=path) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError("", f"is not a CSV file in UTF-8: {error}", where=path) from None


def _check_header(path: Path, header: list[str]) -> None:
    for name in REQUIRED:
        if name not in header:
            raise UserError("header", f"must have the column {name}", ",".join(header), where=path)
    if not any(name in header for name in RESPONSES):
        raise UserError("header", "must have one of the columns " + ", ".join(RESPONSES), where=path)
    _check_names(path, header)


def _check_names(path: Path, header: list[str]) -> None:
    for name in header:
        if header.count(name) > 1:
            raise UserError("header", "must name each column once", name, where=path)


def _check_lengths(path: Path, header: list[str], rows: list[list[str]], first: int, *, at_end: bool) -> None:
    for line, row in enumerate(rows, start=first):
        if len(row) != len(header):
            _refuse_length(path, header, row, line, last=at_end and line == first + len(rows) - 1)


def _refuse_length(path: Path, header: list[str], row: list[str], line: int, *, last: bool) -> NoReturn:
    cut = ", it is cut off" if last and len(row) < len(header) else ""
    raise UserError(
        f"line {line}", f"must have {len(header)} cells as the header has{cut}", len(row), where=path
    )


@attrs.frozen
class _Cells:
    """One column of a block of rows."""

    path: Path
    name: str
    first: int
    """Line of the first cell in the file."""
    texts: tuple[str, ...]

    def refused(self, rule: str, text: str) -> UserError:
        """What to raise for the first cell with that text."""
        line = self.first + self.texts.index(text)
        return UserError(f"line {line}: {self.name}", rule, text, where=self.path)

    def numbers(self, kind: str, empty: float, dtype: str) -> Any:
        """The cells parsed."""
        import numpy as np

        parse, rule = _PARSE[kind]
        known = {"": empty}
        for text in dict.fromkeys(self.texts):
            if text:
                try:
                    known[text] = parse(text)
                except ValueError:
                    raise self.refused(rule, text) from None
        return np.fromiter(map(known.__getitem__, self.texts), dtype=dtype, count=len(self.texts))


def _frame(path: Path, header: list[str], columns: list[tuple[str, ...]], first: int) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            name: _CONVERT[KINDS.get(name, "text")](_Cells(path, name, first, texts))
            for name, texts in zip(header, columns, strict=True)
        }
    )


def _text(cells: _Cells) -> list[str]:
    shared = dict(zip(cells.texts, cells.texts, strict=True))  # equal cells are one string in memory
    if cells.name in CHOICES:
        for text in shared:
            if rule := broken_rule(cells.name, text):
                raise cells.refused(rule, text)
    return [shared[text] for text in cells.texts]


def _int(cells: _Cells) -> Any:
    import numpy as np
    import pandas as pd

    numbers = cells.numbers("int", 0, "i8")
    missing = np.fromiter(map(not_, cells.texts), dtype=bool, count=len(cells.texts))
    return pd.arrays.IntegerArray(numbers, missing)


def _float(cells: _Cells) -> Any:
    return cells.numbers("float", math.nan, "f8")


_CONVERT: dict[str, Callable[[_Cells], Any]] = {"text": _text, "int": _int, "float": _float}


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or "_" in text or not text.isascii():
        raise ValueError(text)
    return value


def _whole(text: str) -> int:
    if "_" in text or not text.isascii() or abs(value := int(text)) >= 2**63:
        raise ValueError(text)
    return value


_PARSE: dict[str, tuple[Callable[[str], Any], str]] = {
    "text": (str, ""),
    "int": (_whole, "must be a whole number or empty"),
    "float": (_finite, "must be a finite number or empty"),
}
"""How a cell of each kind is read, and the rule that it must keep."""


def _check_layers(path: Path, frame: pd.DataFrame) -> None:
    """Every row's dimensions make a layer, and its operator is that layer's.

    What holds at two batch sizes holds between them: of rows that differ in N alone those of the least and
    the largest are looked at, and row by row only where something is wrong.
    """
    if _are_layers(frame):
        return
    for line, (op, *dims) in enumerate(frame[["op", *DIMENSIONS]].itertuples(index=False), start=2):
        try:
            _check_layer(op, dims)
        except UserError as error:
            raise UserError(f"line {line}", str(error), where=path) from None


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
