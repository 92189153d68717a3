"""What the page is about: a study of each card's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from dibench.show.blocks import Figure, Note, Section, Sentence

if TYPE_CHECKING:
    import pandas as pd

    from dibench.show.svg import Drawn
    from dibench.study.findings.ladder import Fit
    from dibench.study.findings.whole import Findings

Json = Mapping[str, Any]

AS_ONE = "all cards as one"
"""What stands for a card's name where cards of one model are joined."""


@attrs.frozen
class Study:
    """One card: its rows, and what they say."""

    rows: pd.DataFrame
    """Of its layers, as `rows.page_rows` makes them."""
    fit: Fit | None = None
    used: pd.DataFrame | None = None
    """The rows of the fit with its predictions, likewise from `rows.page_rows`."""
    why_not: str = ""
    """Why there is no fit."""
    check: Study | None = None
    """The fit of modelled energy, a check of the pipeline."""
    found: Findings | None = None
    """What answers the questions beside the fit."""
    card: str = ""
    """Its name where the page shows several."""

    def ident(self, name: str) -> str:
        """The name of a figure, of this card's own where there are several.

        >>> Study(rows=None, card="NVIDIA H100 (GPU-2f)").ident("lattice")
        'lattice-nvidia-h100-gpu-2f'
        """
        return f"{name}-{slug(self.card).lower()}" if self.card else name


def section_of(
    ident: str,
    short: str,
    question: str,
    lines: Sequence[str],
    figures: Sequence[Figure] = (),
    notes: Sequence[str] = (),
) -> Section:
    """A section of paragraphs, then figures, then small print."""
    return Section(ident, short, question, [*map(Sentence, lines), *figures, *map(Note, notes)])


def panel(title: str, lines: Sequence[str], svg: Drawn, card: str = "") -> Figure:
    """A figure that is drawn already."""
    return Figure(svg.name, title, lambda: svg, lines, card)


def slug(text: str) -> str:
    """A text as a part of a name.

    >>> slug("torchvision:resnet50 at batch 8")
    'torchvision-resnet50-at-batch-8'
    """
    kept = "".join(ch if (ch.isalnum() and ch.isascii()) or ch == "_" else "-" for ch in text)
    return "-".join(filter(None, kept.split("-")))[:80]
