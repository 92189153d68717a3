"""What the rows say of each claim of the paper."""

from __future__ import annotations

import attrs

CONFIRMED, REFUTED, UNDECIDED, NOT_TESTABLE = "confirmed", "refuted", "undecided", "not testable"


@attrs.frozen
class Claim:
    """One claim and what is known of it."""

    name: str
    text: str
    """The claim, in our words."""
    answer: str
    """One of the four."""
    number: str
    """The figure behind the answer; empty where there is none."""
    why: str
    """In a sentence."""
    check: str = ""
    """Where it is not testable: what the rule says of the rows that there are."""


@attrs.frozen
class Answers:
    """What a fit's JSON answers, read back: its verdict and claims; empty of cards that cannot be joined."""

    basis: str = ""
    verdict_text: str = ""
    claims: tuple[Claim, ...] = ()
