"""The verdict under every reasonable choice of rows, data type, response and terms: a specification curve.

Simonsohn, Simmons and Nelson, "Specification curve analysis" (Nature Human Behaviour 2020).
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from dibench.study.findings.estimate import Alpha, AlphaByFamily


@attrs.frozen
class ReasonableChoice:
    """One choice, and what its rows say by the rule of the verdict."""

    changes: tuple[str, ...]
    """What differs from the fit, such as `without fc (convolutions only)`; empty for the fit itself."""
    rows: int
    """That it leaves."""
    response: str
    """The column that is explained."""
    alpha: Alpha
    alpha_by_family: AlphaByFamily
    verdict: str
    brief: str
    """Its first reason in three words."""

    @property
    def bounded(self) -> bool:
        """Whether α has both ends of its interval."""
        return None not in (self.alpha.ci_low, self.alpha.ci_high)

    @property
    def name(self) -> str:
        """The changes in a line."""
        return ", ".join(self.changes) or "as fitted"


@attrs.frozen
class Choices:
    """All choices by α, those where it is not bounded on both sides last."""

    answers: Mapping[str, int]
    """Choices by verdict, the most frequent first; `DI`, `AI` and `undecided` always."""
    changes: tuple[str, ...]
    """Every change that some choice makes."""
    choices: tuple[ReasonableChoice, ...]
    too_few: tuple[str, ...]
    """Choices that leave fewer rows than a fit needs."""
    at_most: int | None
    """Rows taken at random of a choice that has more; None where none has."""

    @property
    def most(self) -> str:
        """The most frequent verdict."""
        return next(iter(self.answers))

    def of(self, verdict: str) -> tuple[ReasonableChoice, ...]:
        """The choices with that verdict."""
        return tuple(one for one in self.choices if one.verdict == verdict)

    def common(self, verdict: str) -> tuple[str, ...]:
        """Changes that all choices of a verdict make."""
        shared = set.intersection(*(set(one.changes) for one in self.of(verdict)))
        return tuple(change for change in self.changes if change in shared)

    def only(self, verdict: str) -> bool:
        """Whether no other choice makes the changes that all choices of a verdict make."""
        shared = set(self.common(verdict))
        return not any(shared <= set(one.changes) for one in self.choices if one.verdict != verdict)
