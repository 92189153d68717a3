"""What `fit` shows of one table, in its order: verdict, claims, models, operators, unseen families, rows."""

from __future__ import annotations

from dibench.show import cards, claims, fit_tables, held_out, networks, peer, verdict
from dibench.show.blocks import Block, Note, Section, Sentence, of_cards
from dibench.show.lattice import section as lattice_section
from dibench.show.twins import section as twins_section
from dibench.study.findings.all_findings import Findings, Several
from dibench.study.findings.ladder import Fit


def blocks(found: Findings | Several) -> list[Block | Section]:
    """The fit on one screen; of several cards each by itself, and all as one where they are of one model."""
    return _cards(found) if isinstance(found, Several) else _one(found)


def parts(found: Findings | Several, *, twins: bool, lattice: bool) -> list[Block | Section]:
    """Twins, lattice, or both; of each card by itself where there are several that are not one."""
    one = found.joined if isinstance(found, Several) else found
    cards = {"": one}
    shown: list[Block | Section] = []
    if isinstance(found, Several) and one is None:
        cards = {card.label: card.fit for card in found.cards}
        shown += [Sentence(f"{one.label}: {one.why_not}") for one in found.cards if one.fit is None]
    fits = {card: fit for card, fit in cards.items() if fit is not None}
    if twins:
        shown += of_cards({card: twins_section(fit.twins, card) for card, fit in fits.items()})
    if lattice:
        shown += of_cards({card: lattice_section(fit.lattice, card) for card, fit in fits.items()})
    return shown


def summary(fit: Fit) -> list[Block]:
    """Verdict, the ladder and α: what a notebook shows."""
    return [*verdict.blocks(fit), *_ladder(fit)]


def _ladder(fit: Fit) -> list[Block]:
    return [fit_tables.models(fit), *map(Note, fit_tables.not_fitted(fit)), *verdict.numbers(fit)]


def _one(found: Findings) -> list[Block | Section]:
    """All that one table says, but for twins and lattice."""
    fit = found.fit
    shown: list[Block | Section] = [*verdict.blocks(fit), claims.table(found.claims), *_ladder(fit)]
    coefficients = fit_tables.coefficients_text(fit, "di_weighted")
    if coefficients and fit.determined:
        shown.append(Sentence(coefficients))
    shown += [fit_tables.by_operator(fit), *held_out.blocks(fit.held_out)]
    if fit.determined:
        shown.append(Sentence(fit_tables.sensitivity_text(fit)))
    shown += [networks.section(found.networks, fit.held_out.networks), *peer.blocks(found.peer)]
    shown += map(Sentence, fit_tables.rows_text(fit))
    return shown if fit.pipeline_check is None else [*shown, *verdict.pipeline_check(fit.pipeline_check)]


def _cards(found: Several) -> list[Block | Section]:
    """The cards compared, then all as one; where they are not taken for one, the claims on each."""
    shown: list[Block | Section] = [*cards.blocks(found)]
    if found.joined is not None:
        return [*shown, *_one(found.joined)]
    shown += [claims.table(card.fit.claims, card.label) for card in found.cards if card.fit is not None]
    return [*shown, Sentence("One card in full: --device NAME. Twins, lattice: --twins, --lattice")]
