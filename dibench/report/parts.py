"""What the page is made of: a study of the rows, and sections of panels that answer one question each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import pandas as pd

    from dibench.report.svg import Drawn


@attrs.frozen
class Study:
    """A fit as the page needs it: the dictionary of `Fit.to_json()` and the rows of `Fit.to_frame()`.

    Where there is no fit, `why_not` says why. `check` is the fit of modelled energy, a check of the pipeline.
    """

    fit: Mapping[str, Any] | None = None
    used: pd.DataFrame | None = None
    why_not: str = ""
    check: Study | None = None
    generality: Mapping[str, Any] | None = None
    """`Generality.to_json()`, where the rows allow it."""
    cards: Mapping[str, Any] | None = None
    """`Cards.to_json()` of a table with several; the rest of the page is about the card with most rows."""


@attrs.frozen
class Panel:
    """One figure: an anchor, a title that asks or states, lines beside it, the drawing."""

    ident: str
    title: str
    lines: Sequence[str]
    svg: Drawn


@attrs.frozen
class Section:
    """One question of the page with its figures."""

    ident: str
    short: str
    question: str
    lines: Sequence[str]
    panels: Sequence[Panel] = ()
    notes: Sequence[str] = ()
    wide: bool = False
    """One panel below the other, each as wide as the page."""
