"""Blocks as Markdown, for a README beside a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dibench.show.blocks import Block, Cell, Figure, Headline, Note, Section, Sentence, Table


def markdown(blocks: Iterable[Block | Section]) -> str:
    """A document: a paragraph for each block, notes as items of a list; figures are left out.

    >>> blocks = Headline("A card"), Sentence("Two rows."), Note("no twins"), Note("no lattice")
    >>> print(markdown(blocks), end="")
    # A card
    <BLANKLINE>
    Two rows.
    <BLANKLINE>
    - no twins
    - no lattice
    """
    text, before = "", ""
    for paragraph in _paragraphs(blocks):
        item = paragraph.startswith("- ")
        text += ("\n" if item and before.startswith("- ") else "\n\n" if text else "") + paragraph
        before = paragraph
    return text + "\n"


def _paragraphs(blocks: Iterable[Block | Section]) -> Iterator[str]:
    for block in blocks:
        match block:
            case Headline(text):
                yield f"# {text}"
            case Sentence(text):
                yield text
            case Note(text):
                yield f"- {text}"
            case Table():
                yield _table(block)
            case Section():
                yield f"## {block.question}"
                yield from _paragraphs(block.blocks)
            case Figure():
                pass


def _table(table: Table) -> str:
    lines = [f"{table.caption}\n"] if table.caption else []
    lines += [_line([column.name for column in table.columns]), "|---" * len(table.columns) + "|"]
    return "\n".join([*lines, *map(_line, table.rows)])


def _line(cells: Sequence[str | Cell]) -> str:
    texts = (cell if isinstance(cell, str) else cell.text for cell in cells)
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"
