"""Files of a sweep that something else wrote to between two runs, brought back into the form it writes.

What an editor or a spreadsheet saves is read where it has one meaning: a mark at the beginning, UTF-16, CRLF,
semicolons or tabs, columns moved or added, no newline at the end. A table with other cells than a sweep
writes is kept beside under another name. A last line without its end is kept if it is whole; else a killed
program was writing it, and it is cut off.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator
from pathlib import Path

from dibench import cells, files
from dibench.errors import UserError
from dibench.numbers import count
from dibench.schema import NAMES
from dibench.sweep import record
from dibench.sweep.manifest import free_stamp
from dibench.sweep.visit_book import NO_VISIT, Entry
from dibench.table import HEADER, read_rows

_REMEDY = f"Mend it, or move the file away: its rows are written again from {record.VISITS}, or measured"


def mend_visits(path: Path) -> list[str]:
    """Bring `visits.jsonl` back into its form, if it is there; what was done, each in a line.

    Raises:
        UserError: it is no text, or cannot be read or written.
    """
    data = _content(path)
    text, told = _ended(path, _text(data), _is_visit, "its case is visited again unless it has its row")
    if (content := _bytes(path, text)) != data:
        files.replace_file(path, content)
    return told


def mend_table(path: Path) -> list[str]:
    """Bring `sweep.csv` back into its form, if it is there; what was done, each in a line.

    Raises:
        UserError: it is no such table, or cannot be read or written.
    """
    data = _content(path)
    if HEADER.startswith(data):  # torn in its first line
        return []
    with remedied():
        text, told = _ended(path, _text(data), _is_row, "its row is written again")
        content = _bytes(path, text)
        if content.startswith(HEADER):
            if content != data:
                files.replace_file(path, content)
            return told
        rows = list(read_rows(path, NAMES, content))
    aside = path.with_name(f"sweep-edited-{free_stamp(path.parent)}.csv")
    files.replace_file(aside, data)
    record.write(path, rows)
    read = f"{path.name} was edited: {count(len(rows), 'row')} of it are read, and it is kept as {aside.name}"
    return [*told, read]


@contextlib.contextmanager
def remedied() -> Iterator[None]:
    """Let an error with a table say what to do that costs nothing measured."""
    try:
        yield
    except UserError as error:
        value = () if error.value is None else (error.value,)
        raise UserError(error.field, f"{error.rule}. {_REMEDY}", *value, where=error.where) from None


def _content(path: Path) -> bytes:
    """Of the file; nothing where there is none."""
    with files.explained(path, doing="read"):
        return path.read_bytes() if path.exists() else b""


def _text(data: bytes) -> str:
    """Of the data, with our newlines; bytes that are no text, such as a torn character, stay as they are."""
    encoding = cells.encoding_of(data)
    text = data.decode(encoding, "replace" if encoding == "utf-16" else "surrogateescape")
    return text.replace("\r\n", "\n")


def _bytes(path: Path, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise UserError(f"line {line}", "must be text in UTF-8", where=path) from None


def _ended(path: Path, text: str, is_whole: Callable[[str, str], bool], then: str) -> tuple[str, list[str]]:
    """The text with its last line ended, or without it; what was done."""
    whole, newline, last = text.rpartition("\n")
    if not last:
        return text, []
    if is_whole(whole.partition("\n")[0], last):
        return f"{text}\n", []
    told = f"{count(len(last.encode()), 'byte')} of a last line without end are cut off {path.name}: {then}"
    return whole + newline, [told]


def _is_visit(first: str, last: str) -> bool:
    try:
        Entry.of_line(last)
    except NO_VISIT:
        return False
    return True


def _is_row(header: str, last: str) -> bool:
    """Whether a line has all its cells. The last cell of a sweep's own rows is empty, so it is not torn."""
    separator = max(cells.SEPARATORS, key=header.count)
    try:
        found = [len(next(csv.reader([line], strict=True, delimiter=separator))) for line in (header, last)]
    except (csv.Error, StopIteration):
        return False
    return found[0] == found[1]
