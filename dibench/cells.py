"""A table's file as lines of cells: CSV by commas, semicolons or tabs, plain or gzipped, or Parquet.

What pandas, R and spreadsheets write is understood where it has one meaning: a mark at the beginning (of
UTF-16, too), blank lines, an index without a name, `32.0` where a whole number stands, `NaN` and its like
where nothing is known, and decimal commas where semicolons separate.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import attrs

from dibench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

MISSING = frozenset(
    ("", "nan", "NaN", "NAN", "-nan", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaT", "null", "NULL", "None")
)
"""Cells in which a number, or a text of the contract, is not known; `none` is a word of the contract."""

SEPARATORS = (",", ";", "\t")


@attrs.frozen
class Lines:
    """The header of a table and, one after the other, its lines that are not blank."""

    path: Path
    header: list[str]
    decimal: str
    """What begins the decimals: `.`, or `,` where semicolons separate; `.` is then understood, too."""
    cells: Iterator[tuple[int, list[str]]]
    """The number of a line in the file, from 2 on, and as many cells as the header has."""


@contextmanager
def open_table(path: Path, *, whole: bool = False, content: bytes | None = None) -> Iterator[Lines]:
    """The lines of a table, read as they are asked for. Columns without a name are left out.

    Lines of a Parquet file are counted as those of the CSV file that has the same rows.

    Args:
        path: of the file; its first bytes say what it is, not its name.
        whole: leave out a last line that lacks its end: a killed program was writing it.
        content: of the file, where it is known already.

    Raises:
        UserError: the file is missing, no table, or cut off, names a column twice, or a cell holds a newline;
            also while lines are read. An empty file has an empty header.
    """
    try:
        with path.open("rb") if content is None else io.BufferedReader(io.BytesIO(content)) as raw:
            start = raw.peek(4)[:4]
            if start == b"PAR1":
                rows = _of_parquet(path, raw)
                _, names = next(rows)
                yield _checked(path, names, ".", rows)
                return
            plain = gzip.GzipFile(fileobj=raw) if start[:2] == b"\x1f\x8b" else raw
            encoding = encoding_of(plain.peek(4))
            with io.TextIOWrapper(cast(IO[bytes], plain), encoding=encoding, newline="") as file:
                yield _of_text(path, _ended(file) if whole else file)
    except FileNotFoundError:
        raise UserError("", "no such file", where=path) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError("", f"is gzipped, and cut off or damaged: {error}", where=path) from None
    except OSError as error:
        raise UserError("", f"cannot be read: {error.strerror}", where=path) from None
    except UnicodeError as error:
        raise UserError("", f"is not a CSV file in UTF-8: {error}; save it as one", where=path) from None


def encoding_of(start: bytes) -> str:
    """The encoding of a text by its first bytes: UTF-8, or UTF-16 where it has its mark.

    >>> encoding_of(b"op,N"), encoding_of("op".encode("utf-16"))
    ('utf-8-sig', 'utf-16')
    """
    return "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def _ended(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if line.endswith("\n"))


def _of_text(path: Path, lines: Iterable[str]) -> Lines:
    lines = iter(lines)
    first = next(lines, "")
    separator = max(SEPARATORS, key=first.count)
    rows = _split(path, chain([first], lines), separator)
    number, names = next(rows, (0, []))
    if number > 1:
        raise UserError("line 1", "must be the header, it is blank", where=path)
    return _checked(path, names, "," if separator == ";" else ".", rows)


def _split(path: Path, lines: Iterable[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """Each line that is not blank with its number."""
    reader = csv.reader(lines, strict=True, delimiter=separator, skipinitialspace=True)
    before = 0
    try:
        for row in reader:
            if reader.line_num > before + 1:
                raise UserError(f"line {before + 1}", "must have no newline inside a cell", where=path)
            before += 1
            if any(row):
                yield before, row
    except csv.Error as error:
        raise UserError(f"line {before + 1}", f"is not a CSV file in UTF-8: {error}", where=path) from None


def _checked(path: Path, names: list[str], decimal: str, rows: Iterator[tuple[int, list[str]]]) -> Lines:
    """The header, each name once, and every line as long as it is."""
    names = [name.strip() for name in names]
    header = [name for name in names if name]
    for name, times in Counter(header).items():
        if times > 1:
            raise UserError("header", "must name each column once", name, where=path)
    return Lines(path, header, decimal, _named(path, names, rows))


def _named(
    path: Path, names: list[str], rows: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, list[str]]]:
    kept = None if all(names) else [at for at, name in enumerate(names) if name]
    for number, cells in rows:
        if len(cells) != len(names):
            cut = ", it is cut off" if len(cells) < len(names) and next(rows, None) is None else ""
            rule = f"must have {len(names)} cells as the header has{cut}"
            raise UserError(f"line {number}", rule, len(cells), where=path)
        yield number, cells if kept is None else [cells[at] for at in kept]


def _of_parquet(path: Path, raw: IO[bytes]) -> Iterator[tuple[int, list[str]]]:
    frame = _parquet_frame(path, io.BytesIO(raw.read()))
    yield 1, [str(name) for name in frame.columns]
    columns = [[_cell_text(cell) for cell in frame[name].tolist()] for name in frame.columns]
    for number, cells in enumerate(zip(*columns, strict=True), start=2):
        for cell in cells:
            if "\n" in cell or "\r" in cell:
                raise UserError(f"line {number}", "must have no newline inside a cell", cell, where=path)
        if any(cells):
            yield number, list(cells)


def _parquet_frame(path: Path, content: io.BytesIO) -> pd.DataFrame:
    """The columns, and those of an index that has names."""
    import pandas as pd

    try:
        frame = pd.read_parquet(content)
    except ImportError:
        rule = "is a Parquet file, which needs pyarrow: pip install pyarrow"
        raise UserError("", rule, where=path) from None
    except (ValueError, TypeError, OSError, NotImplementedError) as error:
        rule = f"is not a Parquet file that can be read: {' '.join(str(error).split())}"
        raise UserError("", rule, where=path) from None
    named = [name for name in frame.index.names if name is not None]
    return frame.reset_index(level=named) if named else frame


def _cell_text(cell: Any) -> str:
    import pandas as pd

    if cell is None or cell is pd.NA or cell is pd.NaT:
        return ""
    if isinstance(cell, float):
        return "" if math.isnan(cell) else repr(cell)
    return str(cell)


def parse_whole(text: str, decimal: str = ".") -> int:
    """A whole number of 64 bits, also as pandas writes one in a column with gaps.

    Raises:
        ValueError: it is none.

    >>> parse_whole("32"), parse_whole("32.0"), parse_whole("1.5e3"), parse_whole("32,0", ",")
    (32, 32, 1500, 32)
    """
    _check_ascii(text)
    try:
        value = int(text)
    except ValueError:
        try:
            number = Decimal(text.strip().replace(decimal, "."))
        except InvalidOperation:
            raise ValueError(text) from None
        if not number.is_finite() or number.adjusted() > 18 or number != number.to_integral_value():
            raise ValueError(text) from None
        value = int(number)
    if abs(value) >= 2**63:
        raise ValueError(text)
    return value


def parse_number(text: str, decimal: str = ".") -> float:
    """A finite number.

    Raises:
        ValueError: it is none.

    >>> parse_number("0.25"), parse_number("1,5e-3", ",")
    (0.25, 0.0015)
    """
    _check_ascii(text)
    value = float(text.replace(decimal, "."))
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _check_ascii(text: str) -> None:
    """Refuse what Python reads as a number and no other program does."""
    if "_" in text or not text.isascii():
        raise ValueError(text)
