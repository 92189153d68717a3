"""What several cards say: each by itself, compared, and as one where they are of one model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from dibench.study.findings.estimate import Estimate
from dibench.study.findings.plain import HIDDEN

if TYPE_CHECKING:
    import pandas as pd


@attrs.frozen
class Joint:
    """Common coefficients and a gain per card."""

    cards: tuple[str, ...]
    rows: int
    alpha: Estimate
    gains: tuple[Estimate, ...]
    """Of each card over the first, whose gain is one."""
    clusters: int


@attrs.frozen
class AlphaDifference:
    """α of one card less that of another; rows of one layer or network are one cluster on both."""

    first: str
    second: str
    alpha: Estimate
    p_value: float | None
    """Two-sided, of no difference."""
    p_holm: float | None
    """Adjusted over all differences that were tested together."""

    @property
    def significant(self) -> bool:
        """Whether the two are not the same."""
        return self.p_holm is not None and self.p_holm < 0.05


@attrs.frozen
class CardsCompared:
    """Cards fitted together, and α compared between each two."""

    joint: Joint | None
    why_not_joint: str
    differences: tuple[AlphaDifference, ...]


@attrs.frozen
class Gain:
    """A card's joules over the reference's, from so many cases that both measured."""

    uuid: str
    value: float
    ci_low: float | None
    ci_high: float | None
    cases: int


@attrs.frozen(eq=False)
class OneModel:
    """The rows of all cards, and what each card's joules were divided by."""

    frame: pd.DataFrame = attrs.field(metadata=HIDDEN)
    gains: tuple[Gain, ...]
    cards_left_out: tuple[str, ...]
    """UUIDs of cards that share no case with the reference, or whose α is another."""
    alpha_before: tuple[AlphaDifference, ...]
    """α of each other card that shares cases less that of the reference, tested before joining."""
