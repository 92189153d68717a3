"""Blocks on a terminal, by rich. A table wider than the terminal leaves out what matters least."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from dibench.show.blocks import INTERVAL, Block, Cell, Figure, Headline, Note, Section, Sentence, Table
from dibench.show.characters import plain, visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table as RichTable
    from rich.text import Text

_STYLES = {"": "", "good": "green", "bad": "red", "warn": "yellow", "quiet": "dim"}
_GAP = 2
"""Between columns."""


@attrs.frozen
class _Room:
    """How narrow a column that wraps may become: its longest piece, and no less than that."""

    least: int
    between: str
    """What lies between pieces."""


_EASY = _Room(16, r"[\s/_]+|(?<!\d)\.|\.(?!\d)")
"""A long name, such as cell_stem_0.comb_iter_0_left, may go on in a second line anywhere."""
_JOINT = "\ue000"
"""Stands for a space at which a line must not end, while text is laid out."""
_WORDS, _PIECES = _Room(1, r"\s+"), attrs.evolve(_EASY, least=1)


def show(out: Console, blocks: Iterable[Block | Section]) -> None:
    """Print all in order, an empty line around each table; figures are left out, and never drawn.

    Where the output is no terminal, a table is printed whole, however wide.
    """
    above: Block | None = None
    for block in _in_order(blocks):
        if isinstance(block, Figure) or (isinstance(block, Table) and block.page_only):
            continue
        if isinstance(above, Table) or (isinstance(block, Table) and not isinstance(above, Headline | None)):
            out.print()
        for shown in rendered([_writable(block, out.encoding)]):
            out.print(shown, crop=False)
        above = block


def text(blocks: Iterable[Block | Section]) -> str:
    """What `show` prints, without colours, 110 columns wide."""
    from io import StringIO

    from rich.console import Console

    written = StringIO()
    show(Console(file=written, width=110, force_terminal=False, force_jupyter=False, highlight=False), blocks)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def _in_order(blocks: Iterable[Block | Section]) -> Iterator[Block]:
    """The blocks, of a section its question before, of each of its cards the name."""
    for block in blocks:
        if not isinstance(block, Section):
            yield block
            continue
        yield Headline(block.question)
        yield from block.blocks
        for card, own in block.cards.items():
            yield Headline(card)
            yield from own


def _writable(told: Any, encoding: str) -> Any:
    """A block, or a part of one, in characters that the terminal has and shows, before it is laid out."""
    if isinstance(told, str):
        seen = visible(told)
        return seen if encoding.startswith("utf") else plain(seen, encoding)
    if isinstance(told, list | tuple):
        return tuple(_writable(part, encoding) for part in told)
    if attrs.has(type(told)):
        parts = {field.name: getattr(told, field.name) for field in attrs.fields(type(told))}
        return type(told)(**{name: _writable(part, encoding) for name, part in parts.items()})
    return told


def rendered(blocks: Iterable[Block]) -> Iterator[RenderableType]:
    """Each block as rich shows it, in order, without figures."""
    for block in blocks:
        match block:
            case Headline(text, tone):
                yield _text(text, f"bold {_STYLES[tone]}".strip())
            case Sentence(text, tone):
                yield _text(text, _STYLES[tone])
            case Note(text):
                yield _text(text, "dim")
            case Table(page_only=False):
                yield _TableThatFits(_for_terminal(block))
            case Table() | Figure():
                pass


def _text(text: str, style: str = "") -> _Unbroken:
    """Text with **strong** words; brackets and backticks are shown as they are."""
    from rich.text import Text

    made = Text(style=style)
    for number, part in enumerate(re.split(r"\*\*(.+?)\*\*", _joined(text))):
        made.append(part, style="bold" if number % 2 else None)
    return _Unbroken(made)


def _joined(text: str) -> str:
    """Text whose intervals have no space at which a line could end: `0.40 (0.19 to 0.71)` keeps its bracket.

    >>> _joined("α is 0.40 (0.19 to 0.71) here").replace(_JOINT, "~")
    'α is 0.40 (0.19~to~0.71) here'
    """
    return INTERVAL.sub(lambda found: found[0].replace(" ", _JOINT), text)


@attrs.frozen
class _Unbroken:
    """Text that is laid out with its intervals whole, and printed with the spaces in them."""

    text: Text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        lines = self.text.wrap(
            console,
            options.max_width,
            justify=options.justify,
            overflow=options.overflow,
            no_wrap=options.no_wrap,
        )
        for line in lines:
            line.plain = line.plain.replace(_JOINT, " ")
        yield from lines


def _for_terminal(table: Table) -> Table:
    kept = [number for number, column in enumerate(table.columns) if not column.page_only]
    rows = [[row[number] for number in kept] for row in table.rows]
    return attrs.evolve(table, columns=[table.columns[number] for number in kept], rows=rows)


@attrs.frozen
class _TableThatFits:
    """A table that leaves out columns until the terminal's width holds it."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        table, every, room = self.table, list(range(len(self.table.columns))), _EASY
        kept = every
        if console.is_terminal:
            kept = that_fit(table, options.max_width)
            table, room = _squeezed(table, kept, options.max_width)
        each = [_widths(table, number, room) for number in kept]
        # Wider than the terminal rather than cut by rich, column by column.
        width = options.max_width if console.is_terminal else sum(whole for _, whole in each)
        made = _made(table, kept, _shared(each, width + _GAP))
        if table.caption:
            yield _text(table.caption)
        yield made
        if table.note:
            yield _text(table.note, "dim")
        if len(kept) < len(every):
            left_out = filter(
                None, (table.columns[n].name for n in every if n not in kept)
            )  # a bar has no name
            yield _text(f"No room for: {', '.join(left_out)}.", "dim")


def that_fit(table: Table, width: int) -> list[int]:
    """Which columns are shown in so many characters, by number: those of the highest rank go first.

    >>> from dibench.show.blocks import columns
    >>> ranked = columns("operator", "rows", "p", ranks={"rows": 2, "p": 1})
    >>> wide = Table("", ranked, [["standard", "1 234", "0.042"]])
    >>> that_fit(wide, 80), that_fit(wide, 20), that_fit(wide, 10), that_fit(wide, 1)
    ([0, 1, 2], [0, 2], [0], [0])
    """
    kept = list(range(len(table.columns)))
    while _least(table, kept) > width:
        last = max(kept, key=lambda number: (table.columns[number].rank, number))
        if table.columns[last].rank == 0:
            break
        kept.remove(last)
    return kept


def _squeezed(table: Table, kept: Sequence[int], width: int) -> tuple[Table, _Room]:
    """A table whose words take more lines where it is too wide still, and how narrow they may become.

    First in the columns that wrap anyway, then in every column of words; numbers stay whole.
    """
    words = attrs.evolve(table, columns=[attrs.evolve(c, wraps=c.wraps or c.text) for c in table.columns])
    ways = ((table, _EASY), (table, _WORDS), (words, _WORDS), (words, _PIECES))
    fitting = (way for way in ways if _least(way[0], kept, way[1]) <= width)
    return next(fitting, ways[-1])


def _least(table: Table, kept: Iterable[int], room: _Room = _EASY) -> int:
    """Characters that these columns need."""
    return sum(_widths(table, number, room)[0] for number in kept) - _GAP


def _widths(table: Table, number: int, room: _Room = _EASY) -> tuple[int, int]:
    """Characters that a column and the gap after it need so that no number breaks, and for one line each.

    A column that wraps needs only the room that is given.
    """
    from rich.cells import cell_len

    lines = [table.columns[number].name, *(_words(row[number]) for row in table.rows)]
    whole = max(map(cell_len, lines))
    if not table.columns[number].wraps:
        return whole + _GAP, whole + _GAP
    longest = max(cell_len(word) for line in lines for word in re.split(room.between, line))
    return min(whole, max(longest, room.least)) + _GAP, whole + _GAP


def _shared(each: Sequence[tuple[int, int]], width: int) -> list[int]:
    """Of each column the width, from what it needs up to one line each: what is left goes to the narrowest.

    >>> _shared([(5, 5), (4, 9), (6, 30)], 25), _shared([(5, 5), (4, 9)], 5)
    ([5, 9, 11], [5, 4])
    """
    made = [least for least, _ in each]
    for _ in range(width - sum(made)):
        growing = [number for number, (_, whole) in enumerate(each) if made[number] < whole]
        if not growing:
            break
        made[min(growing, key=made.__getitem__)] += 1
    return made


def _made(table: Table, kept: Sequence[int], widths: Sequence[int]) -> RichTable:
    from rich.table import Table as RichTable

    made = RichTable(box=None, header_style="bold", padding=(0, _GAP, 0, 0), pad_edge=False)
    made.show_header = any(column.name for column in table.columns)
    made.width = sum(widths) - _GAP
    for number, width in zip(kept, widths, strict=True):
        column = table.columns[number]
        made.add_column(
            column.name,
            justify="left" if column.text else "right",
            no_wrap=not column.wraps,
            overflow="fold",  # a name without spaces is never cut
            width=width - _GAP,
        )
    for number, row in enumerate(table.rows):
        cells = [_cell(row[column]) for column in kept]
        made.add_row(*cells, style="bold" if number in table.best_rows else None)
    return made


def _words(cell: str | Cell) -> str:
    return _joined((cell if isinstance(cell, str) else cell.text).replace("**", ""))


def _cell(cell: str | Cell) -> _Unbroken:
    if isinstance(cell, str):
        return _text(cell)
    return _text(cell.text, " ".join(filter(None, ("bold" if cell.strong else "", _STYLES[cell.tone]))))
