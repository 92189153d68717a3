"""What the page is made of: a study of each card's rows, and sections of panels that answer one question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import pandas as pd

    from dibench.show.svg import Drawn

Json = Mapping[str, Any]

AS_ONE = "all cards as one"
"""What stands for a card's name where cards of one model are joined."""


@attrs.frozen
class Study:
    """One card: its rows, and what they say."""

    rows: pd.DataFrame
    """Of its layers, as `rows.page_rows` makes them."""
    fit: Json | None = None
    """The figures of `study.whole.figures`: a fit with twins, lattice, networks and claims."""
    used: pd.DataFrame | None = None
    """The rows of the fit with its predictions, likewise from `rows.page_rows`."""
    why_not: str = ""
    """Why there is no fit."""
    check: Study | None = None
    """The fit of modelled energy, a check of the pipeline."""
    generality: Json | None = None
    """`Generality.to_json()`, where the rows allow it."""
    card: str = ""
    """Its name where the page shows several."""

    def ident(self, name: str) -> str:
        """The name of a figure, of this card's own where there are several.

        >>> Study(rows=None, card="NVIDIA H100 (GPU-2f)").ident("lattice")
        'lattice-nvidia-h100-gpu-2f'
        """
        return f"{name}-{slug(self.card).lower()}" if self.card else name


@attrs.frozen
class Panel:
    """One figure: a title that asks or states, lines beside it, the drawing."""

    title: str
    lines: Sequence[str]
    svg: Drawn
    card: str = ""
    """Which card it shows, where the page shows several."""

    @property
    def ident(self) -> str:
        """Its anchor on the page."""
        return f"figure-{self.svg.name}"


@attrs.frozen
class Section:
    """One question of the page with its figures."""

    ident: str
    short: str
    question: str
    lines: Sequence[str]
    panels: Sequence[Panel] = ()
    notes: Sequence[str] = ()

    @property
    def by_card(self) -> dict[str, list[Panel]]:
        """The panels in order, apart for each card."""
        groups: dict[str, list[Panel]] = {}
        for panel in self.panels:
            groups.setdefault(panel.card, []).append(panel)
        return groups


def slug(text: str) -> str:
    """A text as a part of a name.

    >>> slug("torchvision:resnet50 at batch 8")
    'torchvision-resnet50-at-batch-8'
    """
    kept = "".join(ch if (ch.isalnum() and ch.isascii()) or ch == "_" else "-" for ch in text)
    return "-".join(filter(None, kept.split("-")))[:80]
