"""Blocks on a terminal: each as something that rich prints. Nothing here prints by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from dibench.show.blocks import Block, Cell, Figure, Headline, Note, Sentence, Table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table as RichTable
    from rich.text import Text

_STYLES = {"": "", "good": "green", "warn": "yellow", "quiet": "dim"}


def rendered(blocks: Iterable[Block]) -> Iterator[RenderableType]:
    """Each block as rich shows it, in order; figures are left out."""
    for block in blocks:
        match block:
            case Headline(text, tone):
                yield _text(text, f"bold {_STYLES[tone]}".strip())
            case Sentence(text, tone):
                yield _text(text, _STYLES[tone])
            case Note(text):
                yield _text(text, "dim")
            case Table():
                yield _table(block)
            case Figure():
                pass


def _text(text: str, style: str = "") -> Text:
    """Text with **strong** words; brackets and backticks are shown as they are."""
    from rich.text import Text

    made = Text(style=style)
    for number, part in enumerate(re.split(r"\*\*(.+?)\*\*", text)):
        made.append(part, style="bold" if number % 2 else None)
    return made


def _table(table: Table) -> RichTable:
    from rich.table import Table as RichTable

    made = RichTable(box=None, header_style="bold", title=_text(table.caption) if table.caption else None,
                     title_justify="left", caption=_text(table.note, "dim") if table.note else None,
                     caption_justify="left")  # fmt: skip
    for number, column in enumerate(table.columns):
        no_wrap = number == 0 and not column.wraps
        made.add_column(column.name, justify="left" if column.text else "right", no_wrap=no_wrap)
    for number, row in enumerate(table.rows):
        made.add_row(*map(_cell, row), style="bold" if number in table.best_rows else None)
    return made


def _cell(cell: str | Cell) -> Text:
    if isinstance(cell, str):
        return _text(cell)
    return _text(cell.text, " ".join(filter(None, ("bold" if cell.strong else "", _STYLES[cell.tone]))))
