"""Architecture families as the units of evidence: AI against DI on families that a fit has not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from dibench.study.findings.generality import FamilyDifference
from dibench.study.findings.networks import Evidence
from dibench.study.ladder.folds import FEWEST_FAMILIES
from dibench.study.ladder.models import Data
from dibench.study.ladder.unseen import Unseen
from dibench.study.maths.inference import student_quantile
from dibench.study.maths.sign_flips import flips
from dibench.study.questions.correlation import decision


def family_differences(data: Data, unseen: Mapping[str, Unseen]) -> tuple[FamilyDifference, ...]:
    """Errors on each family's layers, of fits that have not seen them, over rows that every model predicts.

    Families that leave too few rows to fit, or are of too few layers, are no evidence and are left out.
    """
    found = []
    for family, fold in unseen.items():
        own = fold.rows & fold.counts
        for predicted in fold.predicted.values():
            own = own & np.isfinite(predicted)
        if own.any():
            errors = {
                model: float(np.sqrt(np.mean(np.log(predicted[own] / data.y[own]) ** 2)))
                for model, predicted in fold.predicted.items()
            }
            found.append(FamilyDifference(family, int(own.sum()), errors))
    return tuple(found)


def evidence_of(families: Sequence[FamilyDifference]) -> dict[str, Evidence]:
    """AI against each form of DI."""
    return {model: _evidence(model, families) for model in ("di_weighted", "di_disjoint")}


def _evidence(model: str, families: Sequence[FamilyDifference]) -> Evidence:
    """Student's interval over families and the exact sign-flip test; none for fewer than three families."""
    difference = np.array([one.errors["ai"] - one.errors[model] for one in families])
    n, rows = len(difference), tuple(one.rows for one in families)
    mean = float(difference.mean()) if n else math.nan
    if n < FEWEST_FAMILIES:
        return Evidence(model, n, rows, mean, None, None, None, "undecided")
    half = student_quantile(n - 1) * float(difference.std(ddof=1)) / math.sqrt(n)
    low, high = mean - half, mean + half
    return Evidence(model, n, rows, mean, low, high, flips(difference).p_value, decision(low, high))
