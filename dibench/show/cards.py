"""Several cards: each by itself, their gains over the first, and how their α differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dibench.numbers import UNKNOWN, Bounded, count, interval, p_text, times
from dibench.show.blocks import Block, Headline, Section, Sentence, Table, columns
from dibench.show.verdict import alpha_text

if TYPE_CHECKING:
    from dibench.study.findings.all_findings import CardFindings, Several
    from dibench.study.findings.cards import AlphaDifference, OneModel

_NAMELESS = "the card without device_uuid"


def section(together: Several) -> Section:
    """A line for each card, the joint fit with a gain per card, α between each two, how they are joined."""
    joint = together.compared.joint
    if joint is None:
        why = together.compared.why_not_joint or "the rows do not tell"
        said = [f"Not fitted together: {why}."]
    else:
        gains = ", ".join(map(_gain, joint.cards, joint.gains))
        said = [
            f"Fitted together, {count(joint.rows, 'row')}, with a gain per card: α {interval(joint.alpha)}; "
            f"gains {gains}."
        ]
    said += [
        f"α of {one.first} less that of {one.second}: {_difference(one)}."
        for one in together.compared.differences
    ]
    if together.one_model is not None:
        said.append(f"All cards as one. {gains_text(together.one_model)}")
    else:
        said.append("The cards are not pooled: each stands by itself.")
    told: list[Block] = [_table(together), *map(Sentence, said)]
    return Section("cards", "Cards", "Do all cards say the same?", told)


def brief(together: Several, source: str) -> list[Block]:
    """Of cards that stand each by itself: what each says, how α differs, what to do next; then each card.

    Args:
        together: cards that are not joined.
        source: the tables as `fit` was given them, for commands to copy.
    """
    said: dict[str, list[str]] = {}
    for card in together.cards:
        verdict = "not fitted" if card.fit is None else card.fit.fit.verdict
        said.setdefault(verdict, []).append(card.label)
    each = "; ".join(f"{verdict} on {', '.join(labels)}" for verdict, labels in said.items())
    check = (
        ""
        if any(card.fit and card.fit.fit.evidence for card in together.cards)
        else ("A check of the program, no evidence: ")
    )
    answer = "all cards say the same" if len(said) == 1 else "the cards do not say the same"
    text = f"{check}{answer}: {each}."
    joint = together.compared.joint
    why = together.compared.why_not_joint or "the cards are of several models"
    as_one = "" if joint is None else f"fitted together α is {interval(joint.alpha)}; "
    sure = f"How sure: {as_one}{why}"
    return [
        Headline(text[:1].upper() + text[1:], "warn"),
        Sentence(f"{sure}, so each card stands by itself."),
        Sentence(f"Next: one card by itself, `python -m dibench fit {source} --device NAME`."),
        _table(together),
    ]


def _table(together: Several) -> Table:
    names = columns(
        "card", "rows", "response", "α (95%)", "says",
        text=("response", "α (95%)", "says"), wraps=("card", "says"), ranks={"response": 1},
    )  # fmt: skip
    return Table("Each card on its own", names, [_row(card) for card in together.cards])


def _row(card: CardFindings) -> list[str]:
    if card.fit is None:
        return [card.label, UNKNOWN, UNKNOWN, UNKNOWN, card.why_not]
    fit = card.fit.fit
    response = fit.response if fit.evidence else f"{fit.response}, no measured energy"
    alpha = alpha_text(fit.alpha, reliable=fit.reliable)
    return [card.label, count(fit.rows_used), response, alpha, fit.verdict]


def gains_text(found: OneModel) -> str:
    """What the joules of each card were divided by to stand beside the others, and which cards stayed out."""
    first, *others = found.gains
    gains = ", ".join(f"{_gain(one.uuid or _NAMELESS, one)} from {one.cases} cases" for one in others)
    reference = first.uuid or _NAMELESS
    text = f"Joules divided by each card's gain over {reference}, from what both measured: {gains}."
    before = {one.first: _difference(one) for one in found.alpha_before}
    alike = [
        f"{uuid or _NAMELESS} {told}" for uuid, told in before.items() if uuid not in found.cards_left_out
    ]
    text += f" α less that of {reference}, tested before joining: {'; '.join(alike)}." if alike else ""
    for uuid in found.cards_left_out:
        why = f"its α differs by {before[uuid]}" if uuid in before else "no case in common"
        text += f" Without {uuid or _NAMELESS}: {why}."
    return text


def _difference(one: AlphaDifference) -> str:
    """α of one card less that of another, and how sure it is that they differ."""
    if one.p_holm is None:
        return "not known, too few rows"
    return f"{interval(one.alpha)}, {p_text(one.p_holm)} after Holm"


def _gain(card: str, gain: Bounded) -> str:
    """A card with its joules over those of the card that the others are compared with."""
    if gain.ci_low is None:
        return f"{card} {times(gain.value, 3)}"
    return f"{card} 1×" if gain.ci_low == gain.ci_high else f"{card} {interval(gain)}×"
