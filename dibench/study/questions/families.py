"""Architecture families as the units of evidence: AI against DI on families that a fit has not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from dibench.study.ladder.folds import FEWEST_FAMILIES
from dibench.study.ladder.models import Data
from dibench.study.ladder.unseen import Unseen
from dibench.study.maths.inference import student_quantile
from dibench.study.maths.sign_flips import flips


@attrs.frozen
class FamilyDifference:
    """Held-out root mean square log errors on one family's layers."""

    family: str
    rows: int
    errors: dict[str, float]


@attrs.frozen
class Evidence:
    """AI against one form of DI over families: mean of error(AI) − error(DI), positive where DI errs less."""

    model: str
    families: int
    mean: float
    ci_low: float | None
    ci_high: float | None
    sign_flip_p: float | None
    """Exact, two-sided."""

    @property
    def decision(self) -> str:
        """`DI`, `AI` or `undecided`: whether the interval excludes zero."""
        if self.ci_low is None or self.ci_high is None:
            return "undecided"
        return "DI" if self.ci_low > 0 else "AI" if self.ci_high < 0 else "undecided"


def family_differences(data: Data, unseen: Mapping[str, Unseen]) -> tuple[FamilyDifference, ...]:
    """Errors on each family's layers of the fits that never saw them, rows that every model predicts.

    Families that leave too few rows to learn from are no evidence.
    """
    found = []
    for family, fold in unseen.items():
        own = fold.rows & fold.enough
        for predicted in fold.predicted.values():
            own = own & np.isfinite(predicted)
        if own.any():
            errors = {
                model: float(np.sqrt(np.mean(np.log(predicted[own] / data.y[own]) ** 2)))
                for model, predicted in fold.predicted.items()
            }
            found.append(FamilyDifference(family, int(own.sum()), errors))
    return tuple(found)


def evidence_of(families: Sequence[FamilyDifference]) -> tuple[Evidence, ...]:
    """AI against both forms of DI."""
    return tuple(_evidence(model, families) for model in ("di_weighted", "di_disjoint"))


def _evidence(model: str, families: Sequence[FamilyDifference]) -> Evidence:
    """Student's interval over families and the exact sign-flip test; none for fewer than three families."""
    difference = np.array([one.errors["ai"] - one.errors[model] for one in families])
    n = len(difference)
    mean = float(difference.mean()) if n else math.nan
    if n < FEWEST_FAMILIES:
        return Evidence(model, n, mean, None, None, None)
    half = student_quantile(n - 1) * float(difference.std(ddof=1)) / math.sqrt(n)
    return Evidence(model, n, mean, mean - half, mean + half, flips(difference).p_value)
