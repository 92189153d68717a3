"""What `fit` shows of one table, in its order: verdict, claims, models, operators, unseen families, rows."""

from __future__ import annotations

from collections.abc import Iterator

from dibench.show import cards, claims, fit_tables, held_out, networks, peer, verdict
from dibench.show.blocks import Block, Headline, Note, Sentence
from dibench.show.lattice import blocks as lattice_blocks
from dibench.show.twins import blocks as twins_blocks
from dibench.study.findings.all_findings import Findings, Several


def blocks(found: Findings | Several) -> list[Block]:
    """The fit on one screen; of several cards each by itself, and all as one where they are of one model."""
    return _cards(found) if isinstance(found, Several) else _one(found)


def parts(found: Findings | Several, *, twins: bool, lattice: bool) -> Iterator[Block]:
    """Twins, lattice, or both; of each card by itself where there are several that are not one."""
    one = found.joined if isinstance(found, Several) else found
    shown = [("", "", one)]
    if one is None and isinstance(found, Several):
        shown = [(card.label, card.why_not, card.fit) for card in found.cards]
    for label, why_not, own in shown:
        if label:
            yield Headline(label)
        if own is None:
            yield Sentence(why_not)
            continue
        if twins:
            yield from twins_blocks(own.twins)
        if lattice:
            yield from lattice_blocks(own.lattice)


def _one(found: Findings) -> list[Block]:
    """All that one table says, but for twins and lattice."""
    fit = found.fit
    shown: list[Block] = [*verdict.blocks(fit), claims.table(found.claims), fit_tables.models(fit)]
    shown += map(Note, fit_tables.not_fitted(fit))
    shown += verdict.numbers(fit)
    coefficients = fit_tables.coefficients_text(fit, "di_weighted")
    if coefficients and fit.determined:
        shown.append(Sentence(coefficients))
    shown += [fit_tables.by_operator(fit), *held_out.blocks(fit.held_out)]
    if fit.determined:
        shown.append(Sentence(fit_tables.sensitivity_text(fit)))
    shown += [*networks.blocks(found.networks), *peer.blocks(found.peer)]
    shown += map(Sentence, fit_tables.rows_text(fit))
    return shown if fit.pipeline_check is None else [*shown, *verdict.pipeline_check(fit.pipeline_check)]


def _cards(found: Several) -> list[Block]:
    """The cards compared, then all as one; where they are not taken for one, the claims on each."""
    shown = cards.blocks(found)
    if found.joined is not None:
        return [*shown, *_one(found.joined)]
    shown += [claims.table(card.fit.claims, card.label) for card in found.cards if card.fit is not None]
    return [*shown, Sentence("One card in full: --device NAME. Twins, lattice: --twins, --lattice")]
