"""What `fit` shows of one table, in its order: verdict, claims, models, operators, unseen families, rows."""

from __future__ import annotations

from dibench.numbers import count
from dibench.show import cards, choices, claims, fit_in_brief, fit_tables, networks, peer, verdict
from dibench.show.blocks import Block, Section, Sentence, of_cards
from dibench.show.lattice import section as lattice_section
from dibench.show.response import response_of
from dibench.show.twins import section as twins_section
from dibench.study.findings.all_findings import Findings, Several
from dibench.study.findings.ladder import Fit


def blocks(found: Findings | Several) -> list[Block | Section]:
    """All that a fit says; of several cards each by itself, and all as one where they are of one model."""
    return _cards(found) if isinstance(found, Several) else _one(found)


def brief(found: Findings | Several, source: str) -> list[Block | Section]:
    """What is shown first: of several cards how they compare, of all as one or of one table the answer."""
    if isinstance(found, Findings):
        return [*fit_in_brief.blocks(found, source)]
    return (
        [*cards.brief(found, source)]
        if found.joined is None
        else [*fit_in_brief.blocks(found.joined, source)]
    )


def parts(
    found: Findings | Several, *, twins: bool = False, lattice: bool = False, other_choices: bool = False
) -> list[Block | Section]:
    """What was asked for, of each card by itself where there are several that are not one."""
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
    if other_choices:
        told = {card: choices.section(fit.choices, card) for card, fit in fits.items() if fit.choices}
        shown += of_cards(told) or [Sentence("There is no other choice of rows, response or terms.")]
    return shown


def in_a_line(fit: Fit) -> str:
    """`Fit of 116 layers, measured time, AMD EPYC: undecided, α 0.40 (0.19 to 0.71)`."""
    rows = count(fit.rows_used, fit.rows_are.removesuffix("s"))
    response = response_of(fit)
    about = ", ".join(filter(None, [f"{response.adjective} {response.name}", fit.setting.get("device", "")]))
    return f"Fit of {rows}, {about}: {fit.verdict}, α {verdict.alpha_text(fit.alpha, reliable=fit.reliable)}"


def of_fit(fit: Fit) -> list[Block | Section]:
    """All that a fit says by itself, without the questions beside it."""
    checked = [] if fit.pipeline_check is None else verdict.pipeline_check(fit.pipeline_check)
    return [*verdict.section(fit).blocks, *fit_tables.section(fit).blocks, *checked]


def _one(found: Findings) -> list[Block | Section]:
    """All that one table says, but for twins and lattice; on one screen only the claims need a heading."""
    fit = found.fit
    asked = [fit_tables.section(fit), networks.section(found.networks, fit.held_out.networks)]
    asked += [] if found.peer is None else [peer.section(found.peer)]
    others = [] if found.choices is None else choices.short(found.choices).blocks
    shown: list[Block | Section] = [*verdict.section(fit).blocks, *others, claims.section(found.claims)]
    shown += [block for section in asked for block in section.blocks]
    return shown if fit.pipeline_check is None else [*shown, *verdict.pipeline_check(fit.pipeline_check)]


def _cards(found: Several) -> list[Block | Section]:
    """The cards compared, then all as one; where they are not taken for one, the claims on each."""
    if found.joined is not None:
        return [cards.section(found), *_one(found.joined)]
    fits = {one.label: one.fit for one in found.cards if one.fit}
    asked = of_cards({card: claims.section(fit.claims) for card, fit in fits.items()})
    asked += of_cards({card: choices.short(fit.choices) for card, fit in fits.items() if fit.choices})
    hint = Sentence("One card in full: --device NAME. More of each: --twins, --lattice, --choices")
    return [cards.section(found), *asked, hint]
