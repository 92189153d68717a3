"""The paper's claims and what the rows say of each."""

from __future__ import annotations

from collections.abc import Sequence

from dibench.show.blocks import Cell, Section, Table, Tone, columns
from dibench.study.findings.claims import CONFIRMED, NOT_TESTABLE, REFUTED, UNDECIDED, Claim

_TONES: dict[str, Tone] = {CONFIRMED: "good", REFUTED: "", UNDECIDED: "warn", NOT_TESTABLE: "quiet"}


def section(claims: Sequence[Claim]) -> Section:
    """Each claim with its answer, and with the number or the reason behind it."""
    names = columns(
        *("claim", "answer", "because", "in full", "and"),
        text=("answer", "because", "in full", "and"),
        wraps=("because",),
        page_only=("in full", "and"),
    )
    table = Table("", names, list(map(_row, claims)), as_cards=True)
    return Section("claims", "Claims", "The paper’s claims, on these rows", [table])


def _row(claim: Claim) -> Sequence[str | Cell]:
    because, *more = filter(None, (claim.number, claim.check, claim.why))
    answer = Cell(claim.answer, _TONES[claim.answer], strong=claim.answer == REFUTED)
    return [claim.name, answer, Cell(because, strong=bool(claim.number)), claim.text, "; ".join(more)]
