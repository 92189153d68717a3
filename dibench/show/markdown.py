"""Blocks as Markdown, for a README beside a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from dibench.show.blocks import Block, Cell, Figure, Headline, Note, Section, Sentence, Table
from dibench.show.characters import visible

_CODE = re.compile(r"(`[^`]+`)")


def markdown(blocks: Iterable[Block | Section], figures: str = "") -> str:
    """A document: a paragraph for each block, notes as items of a list.

    Figures are links to SVG files of their names in the folder `figures`; without one they are left out.

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
    for paragraph in _paragraphs(blocks, figures):
        item = paragraph.startswith("- ")
        text += ("\n" if item and before.startswith("- ") else "\n\n" if text else "") + paragraph
        before = paragraph
    return text + "\n"


def escaped(text: str) -> str:
    """Text whose HTML, links and images are shown, not obeyed; **strong** words and `code` stay.

    Names of devices and drivers are other people's.

    >>> print(escaped("**Two** rows of `a<b` on <script>![x](http://x)"))
    **Two** rows of `a<b` on &lt;script&gt;!\\[x\\](http://x)
    """
    text = visible(re.sub(r"[\r\n\t]+", " ", text))
    parts = (
        [text] if "``" in text or "\\`" in text else _CODE.split(text)
    )  # else ` may not mean what it seems
    return "".join(part if number % 2 else _harmless(part) for number, part in enumerate(parts))


def _harmless(text: str) -> str:
    for sign, shown in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("[", "\\["), ("]", "\\]")):
        text = text.replace(sign, shown)
    return text


def _paragraphs(blocks: Iterable[Block | Section], figures: str) -> Iterator[str]:
    for block in blocks:
        match block:
            case Headline(text):
                yield f"# {escaped(text)}"
            case Sentence(text):
                yield escaped(text)
            case Note(text):
                yield f"- {escaped(text)}"
            case Table():
                yield _table(block)
            case Section():
                yield f"## {escaped(block.question)}"
                yield from _paragraphs(block.blocks, figures)
            case Figure(name, title) if figures:
                yield f"![{escaped(title)}]({figures}/{name}.svg)"


def _table(table: Table) -> str:
    lines = [f"{escaped(table.caption)}\n"] if table.caption else []
    lines += [_line([column.name for column in table.columns]), "|---" * len(table.columns) + "|"]
    return "\n".join([*lines, *map(_line, table.rows)])


def _line(cells: Sequence[str | Cell]) -> str:
    texts = (cell if isinstance(cell, str) else cell.text for cell in cells)
    return "| " + " | ".join(escaped(text).replace("|", "\\|") for text in texts) + " |"
