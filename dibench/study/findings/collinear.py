"""Which terms of a model the rows cannot tell apart, and what that leaves open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

CLOSE = 0.9
"""Correlation of two counts from which it is told as the cause."""

_COSTS = {"e": "an element", "e_w": "a weight", "e_a": "an activation", "e_launch": "a launch"}


@attrs.frozen
class Collinear:
    """Of weighted DI: the condition number, and where it comes from."""

    condition: float | None
    """Of the Jacobian, columns at unit length; None where it has no bound."""
    terms: tuple[str, ...]
    """Coefficients of which more than half of the variance is due to near dependencies (Belsley, Kuh and
    Welsch 1980): each can stand in for the others. None where the condition number does no harm."""
    correlations: Mapping[str, float | None]
    """Pearson's, over the rows, of each two of the counts M, W and A."""

    @property
    def text(self) -> str:
        """What goes together, and which question that leaves open; empty where nothing does."""
        if not self.terms:
            return ""
        close = sorted(
            (f"{pair} go together (r {value:.{6 if abs(value) > 0.999 else 3}f})", -abs(value))
            for pair, value in self.correlations.items()
            if value is not None and abs(value) >= CLOSE
        )
        told = _and([term.replace("e0", "e₀") for term in self.terms])
        costs = _and(list(dict.fromkeys(_COSTS.get(term, "a multiply-add") for term in self.terms)))
        alpha = ", and with it α," if {"e_w", "e_a"} & set(self.terms) else ""
        cause = f"{'; '.join(pair for pair, _ in close)}, so " if close else ""
        return f"{cause}{told} stand in for each other: what {costs} cost{alpha} stays open whatever R² is"


def _and(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
