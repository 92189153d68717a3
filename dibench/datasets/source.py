"""What a source of published measurements says of itself, and the book that its reader keeps of lines."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs

from dibench.case_ids import id_of
from dibench.errors import UserError
from dibench.layer import Layer
from dibench.schema import Row

T = TypeVar("T")


@attrs.frozen
class Unread:
    """A line that its reader did not understand."""

    file: str
    line: int
    why: str


@attrs.define
class Ledger:
    """What became of every line: part of a row, left out for a reason, or not read.

    >>> book = Ledger()
    >>> for line, text in book.numbered("a.log", ["3", "", "x"]):
    ...     if text.isdigit():
    ...         book.used += 1
    ...     elif not text:
    ...         book.leave("empty")
    ...     else:
    ...         book.refuse("a.log", line, "must be a number")
    >>> book.lines, book.used, dict(book.left_out), book.unread
    (3, 1, {'empty': 1}, [Unread(file='a.log', line=3, why='must be a number')])
    """

    lines: int = 0
    used: int = 0
    """Lines whose figures are in a row."""
    left_out: Counter[str] = attrs.field(factory=Counter)
    """Lines that were understood and are in no row, by reason."""
    unread: list[Unread] = attrs.field(factory=list)
    files: list[Path] = attrs.field(factory=list)
    """The files that were read."""
    notes: list[str] = attrs.field(factory=list)
    """What else a user must know of this reading."""

    def numbered(self, file: str, lines: Iterable[T], first: int = 1) -> Iterator[tuple[int, T]]:
        """Lines with their number in the file, each counted."""
        for number, line in enumerate(lines, start=first):
            self.lines += 1
            yield number, line

    def leave(self, why: str, lines: int = 1) -> None:
        """Lines that were understood, and why they are in no row."""
        self.left_out[why] += lines

    def refuse(self, file: str, line: int, why: object) -> None:
        """A line that was not understood, and why; a KeyError says which column is missing."""
        self.unread.append(Unread(file, line, f"must have {why}" if isinstance(why, KeyError) else str(why)))

    def check(self, source: str) -> None:
        """
        Raises:
            UserError: the reader lost lines, which is a mistake in it.
        """
        known = self.used + self.left_out.total() + len(self.unread)
        if known != self.lines:
            rule = f"its reader must say what became of all {self.lines} lines, says it of {known}"
            raise UserError("", rule, where=source)


Reader = Callable[[Path, Ledger], Iterable[Row]]
"""From a clone, or the folder in it that holds the files, to rows; it keeps the book."""


@attrs.frozen(kw_only=True)
class Source:
    """One source of published measurements; each text is a line that a person reads."""

    name: str
    """As the command line takes it."""
    title: str
    url: str
    """Of the repository that is cloned."""
    commit: str
    """At which its files were read when this reader was written."""
    licence: str
    """Of the data; `none stated` where their authors say nothing."""
    devices: Sequence[str]
    sensor: str
    """Which sensor, how it was read, and over how long."""
    energy_source: str
    """As the rows have it: `external:SENSOR`, or `none` where only time was measured."""
    gain_accuracy_pct: float | None = None
    """How far the sensor's gain may be off, as its maker or authors state it; None: nobody does. Each row has
    it in that column."""
    measured: str
    """What: layers or networks, of which batch and data type."""
    format: str
    """The files that are read, and those that are not."""
    answers: Sequence[str]
    """What these rows can tell."""
    limits: Sequence[str]
    """What they cannot, and why."""
    beside: Sequence[str] = ()
    """Further commands that get what the clone lacks."""
    read: Reader

    @property
    def commands(self) -> list[str]:
        """What a user types to get the files."""
        return [f"git clone {self.url}", *self.beside]


def csv_lines(path: Path, ledger: Ledger) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines of a CSV file, by column, with their numbers, each counted; the file is noted as read.

    Raises:
        UserError: it is no CSV file in UTF-8.
    """
    ledger.files.append(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from ledger.numbered(path.name, csv.DictReader(file, restval=""), first=2)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError("", f"is not a CSV file in UTF-8: {error}", where=path) from None


def locate(source: str, root: Path, folders: Sequence[str], pattern: str) -> list[Path]:
    """The files of a pattern in the first of these folders of a clone that has any, sorted.

    Args:
        source: where the clone comes from, for the message.
        root: what the user gave: the clone, or the folder in it.
        folders: relative to the root, such as `("results", "")`.
        pattern: of file names, as `Path.glob` takes it.
    """
    if not root.is_dir():
        raise UserError("PATH", f"must be a clone of {source}", str(root))
    for folder in folders:
        if found := sorted(path for path in (root / folder).glob(pattern) if path.is_file()):
            return found
    return []


def missing(source: str, root: Path, what: str) -> UserError:
    """What to raise where a clone has none of the files."""
    return UserError("PATH", f"must be a clone of {source}: it has no {what}", str(root))


def cells_of(layer: Layer) -> dict[str, Any]:
    """The cells of a row that follow from its layer."""
    counts = {name: getattr(layer, name) for name in ("macs", "weights", "inputs", "outputs", "ai")}
    return {"op": layer.op, **layer.dims, **counts}


def case_id(*parts: object) -> str:
    """An id that is the same for the same parts.

    >>> case_id("gpu-layers", 1) == case_id("gpu-layers", 1) != case_id("gpu-layers", 2)
    True
    """
    return id_of(json.dumps(parts, default=str))
