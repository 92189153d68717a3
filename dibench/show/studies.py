"""From a sweep's table to what the page is about: each card's rows and fit, and the cards together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from dibench.errors import UserError
from dibench.schema import LIBRARY, NO_LAYER
from dibench.show.parts import AS_ONE, Json, Study
from dibench.show.rows import page_rows
from dibench.study import cards_in, fit, rows_of
from dibench.study.questions import whole
from dibench.study.questions.generality import generality
from dibench.study.table.columns import texts

if TYPE_CHECKING:
    import pandas as pd

    from dibench.study import Fit

SUBSETS = 2_000
"""Of networks and of layers that the page's distributions are drawn from."""


def studies_of(table: pd.DataFrame) -> tuple[list[Study], Json | None]:
    """What the page is about first: of several cards all as one, or that of the most rows; then each card.

    Args:
        table: of the CSV contract.

    Returns:
        The studies, and of several cards `whole.Several.figures`.
    """
    if len(cards_in(table)) < 2:
        return [_one_card(table)], None
    found = whole.several(table)
    studies = []
    for card, told in zip(found.cards.cards, found.figures["cards"], strict=True):
        own = rows_of(table, card.device, card.uuid)
        if card.fit is None:
            study = Study(layers_of(own), why_not=card.why_not)
        else:
            study = _study(own, card.fit, told["fit"])
        studies.append(attrs.evolve(study, card=card.label))
    if found.joined is not None and found.fit is not None:
        joined = _study(found.joined.frame, found.fit, found.figures)
        studies.insert(0, attrs.evolve(joined, card=AS_ONE))
        return _with_generality(studies, found.joined.frame, found.fit), found.figures
    studies.sort(key=lambda study: -len(study.rows))
    first = next(card for card in found.cards.cards if card.label == studies[0].card)
    own = rows_of(table, first.device, first.uuid)
    return _with_generality(studies, own, first.fit), found.figures


def _with_generality(studies: list[Study], table: pd.DataFrame, found: Fit | None) -> list[Study]:
    """Resampled for the first alone: of the others nothing of it is shown."""
    return [attrs.evolve(studies[0], generality=_generality(table, found)), *studies[1:]]


def _one_card(table: pd.DataFrame) -> Study:
    try:
        found = fit(table)
        figures = whole.figures(table, found)
    except UserError as error:
        return Study(layers_of(table), why_not=str(error))
    return attrs.evolve(_study(table, found, figures), generality=_generality(table, found))


def _study(table: pd.DataFrame, found: Fit, figures: Json) -> Study:
    check = found.pipeline_check
    checked = None
    if check is not None:
        used = page_rows(check.to_frame())
        checked = Study(used, figures["pipeline_check"], used)
    return Study(layers_of(table), figures, page_rows(found.to_frame()), check=checked)


def layers_of(table: pd.DataFrame) -> pd.DataFrame:
    """Layers by our kernels; by a library where nothing else ran: beside ours it has a table of its own."""
    layers = table[~table["op"].isin(NO_LAYER)]
    theirs = texts(layers, "backend") == LIBRARY
    return page_rows(layers if theirs.all() else layers[~theirs])


def _generality(table: pd.DataFrame, found: Fit | None) -> Mapping[str, Any] | None:
    """With fewer subsets than the verb `generality`, enough to draw; None where there is nothing to study."""
    if found is None:
        return None
    try:
        return generality(table, subsets=SUBSETS, fit=found, half_only=True).to_json()
    except UserError:
        return None
