"""The paper's claims as the page begins with them: the claim, what these rows say of it, the number, why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dibench.show.parts import Study

_MARKS = {"confirmed": "yes", "refuted": "no", "undecided": "open", "not testable": "none"}


def answers(studies: Sequence[Study]) -> list[dict[str, Any]]:
    """By card, whose name is empty where there is one, its claims; none where nothing was fitted."""
    return [{"card": study.card, "claims": _claims(study)} for study in studies if _claims(study)]


def _claims(study: Study) -> list[dict[str, str]]:
    return [
        {
            **claim,
            "mark": _MARKS[claim["answer"]],
            "because": "; ".join(filter(None, (claim["why"], claim["check"]))),
        }
        for claim in (study.fit or {}).get("claims") or ()
    ]
