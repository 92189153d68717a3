"""What the page is about: of each card its rows, as the figures read them, and what the study found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import pandas as pd

    from dibench.study.findings.all_findings import Findings, Several
    from dibench.study.findings.described import Described
    from dibench.study.findings.ladder import Fit
    from dibench.study.findings.prediction import NetworkCosts

AS_ONE = "all cards as one"
"""What stands for a card's name where cards of one model are joined."""


@attrs.frozen
class Study:
    """One card: its rows, and what they say."""

    rows: pd.DataFrame
    """Of its layers, with what follows from their columns: of `study.table.layers`."""
    used: pd.DataFrame
    """The rows of the fit with its predictions, likewise; without a fit, those of the fastest kernels."""
    medians: Mapping[str, float]
    """Of these by operator, the response per MAC."""
    fit: Fit | None = None
    why_not: str = ""
    """Why there is no fit."""
    check: Study | None = None
    """The fit of modelled energy, a check of the pipeline."""
    found: Findings | None = None
    """What answers the questions beside the fit."""
    card: str = ""
    """Its name where the page shows several."""


@attrs.frozen
class Contents:
    """All that the page shows."""

    studies: Sequence[Study]
    """Of each card; that which the page is about first."""
    described: Described
    """Of the first study."""
    several: Several | None = None
    """What several cards say together."""
    costs: NetworkCosts | None = None
    """Of two networks, by the fit of the first study."""
