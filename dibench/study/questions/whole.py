"""Every analysis of one table put together: what `fit --json` writes and the report draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import attrs

from dibench.errors import UserError
from dibench.study.findings.plain import plain
from dibench.study.ladder.fit import SEED, Fit, fit
from dibench.study.maths.inference import DRAWS
from dibench.study.questions import claims
from dibench.study.questions.devices import Cards, fit_cards, rows_of
from dibench.study.questions.lattice import lattice
from dibench.study.questions.one_model import OneModel, one_model
from dibench.study.questions.peer import peers
from dibench.study.questions.twins import agreement, twins
from dibench.study.questions.whole_networks import networks_of
from dibench.study.table.rows import Choice

if TYPE_CHECKING:
    import pandas as pd


def figures(frame: pd.DataFrame, found: Fit, **chosen: Unpack[Choice]) -> dict[str, Any]:
    """A fit's figures with `twins`, `lattice`, `peer` (None without such rows), `networks` and `claims`.

    Args:
        frame: the table that was fitted.
        found: its fit.
        chosen: `device`, `backend`, `dtype` of the fit.
    """
    values = found.to_json()
    values["twins"] = twin_figures(frame, values["alpha"]["weighted"], **chosen)
    lattices = lattice(frame, **chosen)
    values["lattice"] = None if lattices is None else lattices.to_json()
    values["networks"] = plain(networks_of(frame, found, **chosen))
    beside = peers(frame)
    values["peer"] = None if beside is None else beside.to_json()
    values["claims"] = claims.as_json(claims.claims(values))
    return values


@attrs.frozen
class Several:
    """Several cards: each by itself, and all as one where they are of one model."""

    cards: Cards
    joined: OneModel | None
    fit: Fit | None
    """Of the joined rows; None where they are not joined, or cannot be fitted."""
    figures: dict[str, Any]
    """`Cards.to_json()` with all `figures` of each card as its `fit`; those of the joined rows beside."""


def several(frame: pd.DataFrame, *, draws: int = DRAWS, seed: int = SEED, **chosen: Any) -> Several:
    """Fit each card of a table, and all of them as one.

    Args:
        frame: a table of the CSV contract with several cards.
        draws, seed: of the bootstraps.
        chosen: `backend`, `dtype`, as of `fit`.
    """
    cards, joined = fit_cards(frame, draws=draws, seed=seed, **chosen), one_model(frame)
    values = cards.to_json()
    for card, told in zip(cards.cards, values["cards"], strict=True):
        if card.fit is not None:
            told["fit"] = figures(rows_of(frame, card.device, card.uuid), card.fit, **chosen)
    if joined is None:
        return Several(cards, None, None, values)
    try:
        found = fit(joined.frame, draws=draws, seed=seed, **chosen)
        whole = figures(joined.frame, found, **chosen)
    except UserError:  # nothing that can be fitted: the cards say why
        return Several(cards, None, None, values)
    return Several(cards, joined, found, {**whole, **values, **joined.to_json()})


def twin_figures(
    frame: pd.DataFrame, alpha: dict[str, Any] | None, **chosen: Unpack[Choice]
) -> dict[str, Any] | None:
    """The twins of a table, each with what fitted α says of it; None where there are none."""
    result = twins(frame, **chosen)
    if result is None:
        return None
    values = result.to_json()
    for response, kinds in result.responses.items():
        for entry, shown in zip(kinds["twins"], values["responses"][response]["twins"], strict=True):
            shown["fitted_alpha"] = "no comparison" if alpha is None else agreement(entry, alpha)
    return values
