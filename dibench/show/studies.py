"""From a sweep's table to what the page is about: each card's rows and fit, and the cards together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from dibench.errors import UserError
from dibench.schema import LIBRARY, NO_LAYER
from dibench.show.parts import AS_ONE, Study
from dibench.show.rows import page_rows
from dibench.study import cards_in
from dibench.study.questions import whole
from dibench.study.table.columns import texts

if TYPE_CHECKING:
    import pandas as pd

    from dibench.study.findings.whole import Card, Findings, Several

SUBSETS = 2_000
"""Of networks and of layers that the page's distributions are drawn from."""


def studies_of(table: pd.DataFrame) -> tuple[list[Study], Several | None]:
    """What the page is about first: of several cards all as one, or that of the most rows; then each card.

    Args:
        table: of the CSV contract.

    Returns:
        The studies, and what several cards say together; None of one card.
    """
    if len(cards_in(table)) < 2:
        return [_one_card(table)], None
    found = whole.several(table, subsets=SUBSETS)
    cards = found.cards
    if found.joined is None:
        cards = tuple(sorted(cards, key=lambda card: -len(card.rows)))
    studies = [attrs.evolve(_of_card(card), card=card.label) for card in cards]
    if found.joined is not None and found.one_model is not None:
        joined = _study(found.one_model.frame, found.joined)
        studies.insert(0, attrs.evolve(joined, card=AS_ONE))
    return studies, found


def _of_card(card: Card) -> Study:
    if card.fit is None:
        return Study(layers_of(card.rows), why_not=card.why_not)
    return _study(card.rows, card.fit)


def _one_card(table: pd.DataFrame) -> Study:
    try:
        return _study(table, whole.whole(table, subsets=SUBSETS))
    except UserError as error:
        return Study(layers_of(table), why_not=str(error))


def _study(table: pd.DataFrame, found: Findings) -> Study:
    check = found.fit.pipeline_check
    checked = None
    if check is not None:
        used = page_rows(check.to_frame())
        checked = Study(used, check, used)
    return Study(layers_of(table), found.fit, page_rows(found.fit.to_frame()), check=checked, found=found)


def layers_of(table: pd.DataFrame) -> pd.DataFrame:
    """Layers by our kernels; by a library where nothing else ran: beside ours it has a table of its own."""
    layers = table[~table["op"].isin(NO_LAYER)]
    theirs = texts(layers, "backend") == LIBRARY
    return page_rows(layers if theirs.all() else layers[~theirs])
