"""Every question put to one table, or to several cards: what `fit --json` writes and the report shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from dibench.errors import UserError
from dibench.study.findings.all_findings import CardFindings, Findings, Several
from dibench.study.findings.generality import Generality
from dibench.study.ladder.findings import findings_of
from dibench.study.ladder.ladder import SEED, Ladder, fit_ladder
from dibench.study.maths.inference import DRAWS
from dibench.study.questions.choices import choices
from dibench.study.questions.claims import claims
from dibench.study.questions.devices import card_ladders, compare
from dibench.study.questions.generality import generality
from dibench.study.questions.lattice import lattice
from dibench.study.questions.one_model import one_model
from dibench.study.questions.peer import peers
from dibench.study.questions.twins import twins
from dibench.study.questions.whole_networks import networks_of
from dibench.study.table.columns import studied
from dibench.study.table.rows import Choice

if TYPE_CHECKING:
    import pandas as pd


def of_table(
    frame: pd.DataFrame,
    *,
    draws: int = DRAWS,
    seed: int = SEED,
    subsets: int | None = None,
    networks: bool | None = None,
    **chosen: Unpack[Choice],
) -> Findings:
    """The fit of a table with twins, reuse lattice, whole networks, a library beside, the paper's claims, and
    the verdict under other choices.

    Args:
        frame: a table of the CSV contract, of one card unless `device` is chosen.
        draws, seed: of the bootstraps.
        subsets: drawn for the study of generality; None leaves it out.
        networks: as of `fit`.
        chosen: `device`, `backend`, `dtype`, as of `fit`.

    Raises:
        UserError: no row can be fitted; the message says why.
    """
    return _of_one(studied(frame), draws, seed, subsets, networks, **chosen)


def _of_one(
    frame: pd.DataFrame,
    draws: int,
    seed: int,
    subsets: int | None,
    networks: bool | None,
    **chosen: Unpack[Choice],
) -> Findings:
    ladder = fit_ladder(frame, draws=draws, seed=seed, networks=networks, **chosen)
    return _answers(frame, ladder, subsets, **chosen)


def of_cards(
    frame: pd.DataFrame,
    *,
    draws: int = DRAWS,
    seed: int = SEED,
    subsets: int | None = None,
    networks: bool | None = None,
    **chosen: Unpack[Choice],
) -> Several:
    """Each card of a table, the cards compared, and all as one where they are of one model.

    Generality, where asked for, is studied for all as one, else for the card of the most rows.

    Args:
        frame: a table of the CSV contract with several cards.
        draws, seed, subsets, networks, chosen: as of `of_table`.
    """
    frame = studied(frame)
    ladders = card_ladders(frame, draws=draws, seed=seed, networks=networks, **chosen)
    joined = one_model(frame)
    together = None
    if joined is not None:
        try:
            together = _of_one(joined.frame, draws, seed, subsets, networks, **chosen)
        except UserError:  # nothing that can be fitted: the cards say why
            joined = None
    most = max(ladders, key=lambda card: len(card.rows))
    cards = []
    for card in ladders:
        drawn = subsets if together is None and card is most else None
        found = None if card.ladder is None else _answers(card.rows, card.ladder, drawn, **chosen)
        cards.append(CardFindings(card.device, card.uuid, card.label, card.why_not, found, card.rows))
    return Several(together, tuple(cards), compare(ladders), joined)


def _answers(frame: pd.DataFrame, ladder: Ladder, subsets: int | None, **chosen: Unpack[Choice]) -> Findings:
    fit = findings_of(ladder)
    networks = networks_of(frame, ladder, **chosen)
    others = choices(frame, ladder, **chosen)
    if ladder.selection.networks:  # no layers that could be twins, or lie on a lattice
        return Findings(fit, None, None, networks, None, claims(fit, networks), others)
    pairs = twins(frame, fit.alpha.weighted, **chosen)
    return Findings(
        fit=fit,
        twins=pairs,
        lattice=lattice(frame, **chosen),
        networks=networks,
        peer=peers(frame),
        claims=claims(fit, networks, pairs),
        choices=others,
        generality=None if subsets is None else _generality(frame, ladder, subsets, **chosen),
    )


def _generality(
    frame: pd.DataFrame, ladder: Ladder, subsets: int, **chosen: Unpack[Choice]
) -> Generality | None:
    """Of subsets of one size, nearest to half of the set; None where there is nothing to study."""
    try:
        return generality(frame, subsets=subsets, ladder=ladder, half_only=True, **chosen)
    except UserError:
        return None
