"""The paper's claims and what the rows say of each: a table on a terminal, cards at the head of the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from dibench.show.blocks import Cell, Table, Tone, columns
from dibench.study.findings.claims import CONFIRMED, NOT_TESTABLE, REFUTED, UNDECIDED, Claim

if TYPE_CHECKING:
    from dibench.show.studies import Study

_MARKS = {CONFIRMED: "yes", REFUTED: "no", UNDECIDED: "open", NOT_TESTABLE: "none"}
_TONES: dict[str, Tone] = {CONFIRMED: "good", REFUTED: "", UNDECIDED: "warn", NOT_TESTABLE: "quiet"}


def table(claims: Sequence[Claim], card: str = "") -> Table:
    """A line for each claim, with the number or the reason behind its answer."""
    rows = [(one.name, _answer(one), one.number or one.check or one.why) for one in claims]
    on = f" on {card}" if card else ""
    names = columns("claim", "answer", "because", text=("answer", "because"), wraps=("because",))
    return Table(f"The paper's claims{on}", names, rows)


def _answer(claim: Claim) -> Cell:
    return Cell(claim.answer, _TONES[claim.answer], strong=claim.answer == REFUTED)


@attrs.frozen
class Answered:
    """A claim as a card of the page."""

    claim: Claim
    mark: str
    """The style of its card."""
    because: str


@attrs.frozen
class OfCard:
    """The claims on one card's rows; its name is empty where there is one."""

    card: str
    claims: Sequence[Answered]


def answers(studies: Sequence[Study]) -> list[OfCard]:
    """By card its claims; none where nothing was fitted."""
    return [
        OfCard(study.card, [_answered(claim) for claim in study.found.claims])
        for study in studies
        if study.found is not None
    ]


def _answered(claim: Claim) -> Answered:
    because = "; ".join(filter(None, (claim.why, claim.check)))
    return Answered(claim, _MARKS[claim.answer], because)
