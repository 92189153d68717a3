"""A table of the CSV contract read into a frame: whole numbers, decimals and text, every cell checked."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from operator import not_
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench.errors import UserError
from dibench.layer import DIMENSIONS, Layer
from dibench.schema import ANCHOR, CHOICES, KINDS, NETWORK, REQUIRED, RESPONSES

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 8_192
"""Rows that are read as text at once: bounds memory."""


def table_of(path: str | Path) -> Path:
    """The table of a sweep's directory; any other path stays."""
    path = Path(path)
    return path / "sweep.csv" if path.is_dir() else path


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
    with _explained(path), path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write the mark
        lines = csv.reader(file, strict=True)
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
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
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
    for name in header:
        if header.count(name) > 1:
            raise UserError("header", "must name each column once", name, where=path)


def _check_lengths(path: Path, header: list[str], rows: list[list[str]], first: int, *, at_end: bool) -> None:
    for line, row in enumerate(rows, start=first):
        if len(row) != len(header):
            last = at_end and line == first + len(rows) - 1
            cut = ", it is cut off" if last and len(row) < len(header) else ""
            rule = f"must have {len(header)} cells as the header has{cut}"
            raise UserError(f"line {line}", rule, len(row), where=path)


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

    def numbers(self, parse: Callable[[str], float], empty: float, rule: str, dtype: str) -> Any:
        """The cells parsed."""
        import numpy as np

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
        legal = CHOICES[cells.name]
        for text in shared:
            if text not in legal:
                raise cells.refused("must be one of " + ", ".join(legal), text)
    return [shared[text] for text in cells.texts]


def _int(cells: _Cells) -> Any:
    import numpy as np
    import pandas as pd

    numbers = cells.numbers(_whole, 0, "must be a whole number or empty", "i8")
    missing = np.fromiter(map(not_, cells.texts), dtype=bool, count=len(cells.texts))
    return pd.arrays.IntegerArray(numbers, missing)


def _float(cells: _Cells) -> Any:
    return cells.numbers(_finite, math.nan, "must be a finite number or empty", "f8")


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
