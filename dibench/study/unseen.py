"""What fits that never saw a family say of it: α and the energy of every row, family by family.

A fold drops a family's networks *and* every shape that stands in any of them, at every batch; α of both
forms of DI is fitted anew in each. A network is then predicted by the fold of its own family, whichever
network first lent its shapes a name.
"""

from __future__ import annotations

import math

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench import networks
from dibench.study.alpha import COARSE_GRID, profile_disjoint
from dibench.study.estimate import fit_log
from dibench.study.folds import family_shapes
from dibench.study.minimise import LOOSE
from dibench.study.models import Data, design, per_di_disjoint

FloatArray = NDArray[np.float64]

COMPARED = ("macs", "ai", "di_weighted", "di_disjoint")


@attrs.frozen
class Unseen:
    """A family as predicted from the rows that share no shape with it."""

    family: str
    alpha: dict[str, float]
    """`di_weighted`, `di_disjoint`; not a number where the rows left say nothing of reuse."""
    predicted: dict[str, FloatArray]
    """By model of `COMPARED`, the response of every row (n,); not a number where it cannot be predicted."""
    elements: dict[str, FloatArray]
    """M / index of every row (n,): W + A, 2·(α·W + (1−α)·A), and M / DI of the disjoint form."""


def predict_families(data: Data) -> dict[str, Unseen]:
    """Every family with a row of its own, predicted by fits to what is left without it."""
    found = {}
    for family in networks.FAMILIES:
        own = np.isin(data.layer, sorted(family_shapes(family)))
        if own.any():
            found[family] = _predict(family, data, data.only(~own))
    return found


def _predict(family: str, data: Data, train: Data) -> Unseen:
    alpha = {"di_weighted": math.nan, "di_disjoint": math.nan}
    predicted = {model: np.full(len(data), np.nan) for model in COMPARED}
    for model in COMPARED:
        if len(train) < 2:
            continue
        at = profile_disjoint(train, COARSE_GRID)[0] if model == "di_disjoint" else 0.5
        learned = design(model, train, at)
        if len(train) <= len(learned.names):
            continue
        theta = fit_log(learned.columns, train.y, nonnegative=True, tolerance=LOOSE).parameters
        known = dict(zip(learned.names, theta.tolist(), strict=True))
        if model == "di_weighted" and known["e_w"] + known["e_a"] > 0:
            alpha[model] = known["e_w"] / (known["e_w"] + known["e_a"])
        if model == "di_disjoint" and known["k"] > 0:
            alpha[model] = at
        everywhere = design(model, data, at)
        value = everywhere.columns @ np.array([known.get(name, 0.0) for name in everywhere.names])
        # An operator that the fold took away has no e0: its rows cannot be predicted.
        predicted[model] = np.where(np.isin(data.op, train.op) & (value > 0), value, np.nan)
    return Unseen(family, alpha, predicted, _elements(data, alpha))


def _elements(data: Data, alpha: dict[str, float]) -> dict[str, FloatArray]:
    weighted, disjoint = alpha["di_weighted"], alpha["di_disjoint"]
    return {
        "ai": data.weights + data.activations,
        "di_weighted": 2 * (weighted * data.weights + (1 - weighted) * data.activations),
        "di_disjoint": (
            np.full(len(data), np.nan) if math.isnan(disjoint) else per_di_disjoint(data, disjoint)
        ),
    }
