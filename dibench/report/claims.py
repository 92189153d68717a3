"""The paper's claims as the page begins with them: the claim, what these rows say of it, the number, why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MARKS = {"confirmed": "yes", "refuted": "no", "undecided": "open", "not testable": "none"}


def cards(figures: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """One card a claim; none where nothing was fitted."""
    return [
        {
            **claim,
            "mark": _MARKS[claim["answer"]],
            "because": "; ".join(filter(None, (claim["why"], claim["check"]))),
        }
        for claim in (figures or {}).get("claims") or ()
    ]
