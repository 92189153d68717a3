"""What a person is told, on a terminal or a page: headlines, sentences, tables, figures and notes.

One module a question builds these from findings, once. `terminal`, `html` and `markdown` render them; none
changes a word or a number. Text may hold `code` in backticks and **strong** words; everything else is taken
as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from dibench.show.svg import Drawn

INTERVAL = re.compile(r"\((?:95% )?[−+]?[\d.,]+[%×]? to [−+]?[\d.,]+[%×]?\)")
"""In a text, `(0.19 to 0.71)`: no line ends within it."""

Tone = Literal["", "good", "bad", "warn", "quiet"]
"""How text is meant: a sure answer, bad news, one to be careful with, or one that can be skipped."""


@attrs.frozen
class Headline:
    """The answer, in one sentence."""

    text: str
    tone: Tone = ""


@attrs.frozen
class Sentence:
    """A paragraph."""

    text: str
    tone: Tone = ""


@attrs.frozen
class Note:
    """Small print."""

    text: str


@attrs.frozen
class Cell:
    """A cell of a table that needs more than its text."""

    text: str
    tone: Tone = ""
    strong: bool = False


@attrs.frozen
class Column:
    """One column of a table."""

    name: str
    text: bool = False
    """Words, set at the left; else a number, set at the right."""
    rank: int = 0
    """Where there is no room for all, the columns with the highest rank are left out first; 0: never."""
    wraps: bool = False
    """Whether a cell may go on in a second line."""
    page_only: bool = False


def columns(
    *names: str,
    text: Collection[str] = (),
    wraps: Collection[str] = (),
    ranks: Mapping[str, int] | None = None,
    page_only: Collection[str] = (),
) -> tuple[Column, ...]:
    """Columns by name; the first one and those in `text` hold words, `ranks` says which can be left out.

    >>> [column.name for column in columns("operator", "rows", "says", text=["says"]) if column.text]
    ['operator', 'says']
    """
    return tuple(
        Column(
            name,
            text=number == 0 or name in text,
            rank=(ranks or {}).get(name, 0),
            wraps=name in wraps,
            page_only=name in page_only,
        )
        for number, name in enumerate(names)
    )


@attrs.frozen
class Table:
    """Rows of cells under a caption; the first cell of a row is its heading."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str | Cell]]
    note: str = ""
    best_rows: frozenset[int] = frozenset()
    """Set in bold."""
    narrow: bool = False
    """Few short columns: two such tables fit side by side on a page."""
    page_only: bool = False
    """Too much for a terminal, which leaves it out."""
    as_cards: bool = False
    """A page shows each row as a card: its answer, the text in full, and why."""
    folded: bool = False
    """A long one, which a page shows when its caption is clicked."""


@attrs.frozen
class Figure:
    """A drawing; a terminal, which cannot show it, leaves it out and never draws it."""

    name: str
    title: str
    """Asks or states."""
    draw: Callable[[], Drawn | None]
    """Draws it, once; None where there turns out to be nothing to see."""
    lines: Sequence[str] = ()


Block = Headline | Sentence | Note | Table | Figure


def facts(caption: str, *lines: tuple[str, str]) -> Table:
    """A line for each fact, its name before it; the table has no heads."""
    return Table(caption, columns("", "", text=[""], wraps=[""]), lines)


@attrs.frozen
class Section:
    """One question with what answers it."""

    ident: str
    short: str
    """Its name in a table of contents."""
    question: str
    blocks: Sequence[Block]
    cards: Mapping[str, Sequence[Block]] = attrs.field(factory=dict)
    """After what all cards share, each card's own by its name, where there are several."""


def of_cards(told: Mapping[str, Section | None]) -> list[Section]:
    """One question answered by several cards as one section: words that all of them say stand above, once.

    Args:
        told: by the card's name, which is empty where there is one; None where its rows have no answer.

    >>> both = of_cards({name: Section("", "", "", [Note("of both"), Note(name)]) for name in ("a", "b")})
    >>> both[0].blocks, both[0].cards
    ([Note(text='of both')], {'a': [Note(text='a')], 'b': [Note(text='b')]})
    """
    answers = {card: section for card, section in told.items() if section is not None}
    if "" in answers or not answers:
        return list(answers.values())
    first, *others = answers.values()
    shared = [
        block
        for block in first.blocks
        if not isinstance(block, Figure | Table) and all(block in other.blocks for other in others)
    ]
    own = {name: [one for one in said.blocks if one not in shared] for name, said in answers.items()}
    return [attrs.evolve(first, blocks=shared, cards={name: rest for name, rest in own.items() if rest})]
