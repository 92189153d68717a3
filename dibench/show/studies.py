"""What the page is about: of each card its rows, as the figures read them, and what the study found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from dibench.schema import LIBRARY, NO_LAYER
from dibench.show.page_rows import page_rows

if TYPE_CHECKING:
    import pandas as pd

    from dibench.study.findings.all_findings import Findings, Several
    from dibench.study.findings.ladder import Fit
    from dibench.study.findings.prediction import NetworkCosts

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


@attrs.frozen
class Contents:
    """All that the page shows."""

    studies: Sequence[Study]
    """Of each card; that which the page is about first."""
    several: Several | None = None
    """What several cards say together."""
    costs: NetworkCosts | None = None
    """Of two networks, by the fit of the first study."""


def studies_of(found: Several) -> list[Study]:
    """Of several cards: all as one where they are joined, then each; else that of the most rows first."""
    cards = found.cards
    if found.joined is None:
        cards = tuple(sorted(cards, key=lambda card: -len(card.rows)))
    studies = [study_of(card.rows, card.fit, why_not=card.why_not, card=card.label) for card in cards]
    if found.joined is not None and found.one_model is not None:
        studies.insert(0, study_of(found.one_model.frame, found.joined, card=AS_ONE))
    return studies


def study_of(table: pd.DataFrame, found: Findings | None, *, why_not: str = "", card: str = "") -> Study:
    """One card's rows with what was found of them.

    Args:
        table: its rows, of the CSV contract.
        found: None where they could not be fitted.
        why_not: then, the reason.
        card: its name where the page shows several.
    """
    rows = layers_of(table)
    if found is None:
        return Study(rows, why_not=why_not, card=card)
    fit, check = found.fit, None
    if fit.pipeline_check is not None:
        used = page_rows(fit.pipeline_check.to_frame())
        check = Study(used, fit.pipeline_check, used)
    return Study(rows, fit, page_rows(fit.to_frame()), check=check, found=found, card=card)


def layers_of(table: pd.DataFrame) -> pd.DataFrame:
    """Layers by our kernels; by a library where nothing else ran: beside ours it has a table of its own."""
    layers = table[~table["op"].isin(NO_LAYER)]
    theirs = (layers["backend"] == LIBRARY) if "backend" in layers else layers["op"].isna()
    return page_rows(layers if theirs.all() else layers[~theirs])
