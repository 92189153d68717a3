"""Blocks as HTML: each question a `<section>`, its figures drawn here and grouped by card.

`fragment` is what a notebook shows of a result: the same blocks by the same templates, without figures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING

import attrs
import jinja2
from markupsafe import Markup, escape

from dibench.intensity import OPERATORS
from dibench.show.blocks import INTERVAL, Block, Cell, Column, Figure, Section, Table
from dibench.show.svg import fragment_style

if TYPE_CHECKING:
    from dibench.show.svg import Drawn


@attrs.frozen
class Shown:
    """A figure with its drawing."""

    figure: Figure
    svg: Drawn

    @property
    def ident(self) -> str:
        """Its anchor on the page."""
        return f"figure-{self.svg.name}"


@attrs.frozen
class PagePart:
    """Blocks of one kind that follow each other: `figures`, `tables`, or text."""

    kind: str
    blocks: Sequence[Block] = ()
    figures: Sequence[Shown] = ()


@attrs.frozen
class Question:
    """A section, drawn."""

    section: Section
    parts: Sequence[PagePart]
    cards: Mapping[str, Sequence[PagePart]]

    @property
    def figures(self) -> list[Shown]:
        """All of its figures, in order."""
        return [one for parts in (self.parts, *self.cards.values()) for part in parts for one in part.figures]


def draw(figure: Figure) -> Shown | None:
    """The figure drawn; None where there is nothing to see."""
    svg = figure.draw()
    return None if svg is None else Shown(figure, svg)


def question(section: Section) -> Question:
    """The section with its figures drawn; those with nothing to see are left out."""
    return Question(section, parts(section.blocks), {c: parts(own) for c, own in section.cards.items()})


def parts(blocks: Sequence[Block]) -> list[PagePart]:
    """Blocks grouped by kind, their figures drawn."""
    made = []
    for kind, grouped in groupby(blocks, _kind):
        own = list(grouped)
        figures = [shown for block in own if isinstance(block, Figure) and (shown := draw(block))]
        if figures or kind != "figures":
            made.append(PagePart(kind, own, figures))
    return made


def _kind(block: Block) -> str:
    if isinstance(block, Figure):
        return "figures"
    return "tables" if isinstance(block, Table) else "text"


def fragment(blocks: Iterable[Block | Section]) -> str:
    """Blocks as a piece of HTML with a small style, without figures and what only a page has room for."""
    shown: list[Question | PagePart] = []
    for is_section, own in groupby(blocks, lambda block: isinstance(block, Section)):
        if is_section:
            shown += [_in_short(section) for section in own if isinstance(section, Section)]
        else:
            shown += parts(_short([block for block in own if not isinstance(block, Section)]))
    css = Markup(fragment_style())
    return environment().get_template("fragment.html.jinja").render(parts=shown, css=css)


def _in_short(section: Section) -> Question:
    cards = {card: _short(own) for card, own in section.cards.items()}
    return question(attrs.evolve(section, blocks=_short(section.blocks), cards=cards))


def _short(blocks: Sequence[Block]) -> list[Block]:
    return [
        block
        for block in blocks
        if not (isinstance(block, Figure) or (isinstance(block, Table) and block.page_only))
    ]


@cache
def environment() -> jinja2.Environment:
    """The page's templates, with what they need to show blocks."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("dibench.show"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {
        "inline": inline,
        "unbroken": unbroken,
        "cell": _cell,
        "classes": _classes,
        "kind_of": lambda block: type(block).__name__,
    }
    made.globals["operators"] = OPERATORS
    return made


def inline(text: str) -> Markup:
    """Text with `code` and **strong** words.

    >>> inline("run `a < b` **now**")
    Markup('run <code>a &lt; b</code> <strong>now</strong>')
    """
    marked = re.sub("`(.+?)`", r"<code>\1</code>", str(unbroken(text)))
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", marked))


def unbroken(text: str) -> Markup:
    """Text in which no line ends within an interval.

    >>> unbroken("α 0.40 (0.19 to 0.71)")
    Markup('α 0.40 <span class="whole">(0.19 to 0.71)</span>')
    """
    return Markup(INTERVAL.sub(r'<span class="whole">\g<0></span>', str(escape(text))))


def _cell(cell: str | Cell) -> Cell:
    return Cell(cell) if isinstance(cell, str) else cell


def _classes(styled: Column | Cell) -> Markup:
    """The attribute `class` of a column's cells, or of a cell's own text; empty where they are plain."""
    if isinstance(styled, Column):
        names = ["text" if styled.text else "", "wraps" if styled.wraps else ""]
    else:
        names = [styled.tone, "strong" if styled.strong else ""]
    joined = " ".join(filter(None, names))
    return Markup(f' class="{joined}"') if joined else Markup()
