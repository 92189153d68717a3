"""One rung of the ladder on some rows: coefficients with intervals, and predictions in and out of sample.

Coefficients are fitted without bounds, so that their intervals are honest: one below zero is reported, not
clipped. Predictions come from a fit with coefficients ≥ 0, which is the same fit if none is below zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.study.ladder.alpha import GRID, profile_disjoint
from dibench.study.ladder.folds import Folds
from dibench.study.ladder.models import FULL, Data, Design, Terms, design
from dibench.study.ladder.unseen import Learned, predict_held_out
from dibench.study.maths.estimate import LogFit, condition_number, fit_log
from dibench.study.maths.half_width import half_widths
from dibench.study.maths.inference import Clustering
from dibench.study.maths.scores import aicc

FloatArray = NDArray[np.float64]

NOT_IDENTIFIED = 1e8
"""Above this condition number single coefficients are rounding noise."""


@attrs.frozen
class FittedTerm:
    """A coefficient in joules or seconds per unit; None if the rows cannot give a value or a bound."""

    name: str
    per: str
    value: float | None
    ci_low: float | None
    ci_high: float | None


@attrs.frozen
class Rung:
    """A fitted model."""

    name: str
    k: int
    """Number of coefficients, α of the disjoint form included."""
    coefficients: tuple[FittedTerm, ...]
    below_zero: tuple[str, ...]
    """Coefficients that the free fit puts below zero; predictions hold them at zero."""
    names: tuple[str, ...]
    """Of the columns of its design, and of `parameters`."""
    parameters: FloatArray
    """Of the predictions, none below zero, in joules or seconds per unit."""
    alpha: float | None
    """Of `di_disjoint`, whose design needs it."""
    predicted: FloatArray
    """In sample, (n,)."""
    held_out: FloatArray
    """Each row predicted by a fit without its fold; not a number where that fit lacks its operator."""
    learned: Mapping[str, Learned | None]
    """The fit without each fold, by its name."""
    rss: float
    """Residual sum of squares of log y, of the predictions."""
    aicc: float
    condition: float


@attrs.frozen
class NoRung:
    """A model that these rows cannot be fitted with, and why."""

    name: str
    reason: str


def fit_rung(
    model: str, data: Data, clusterings: Sequence[Clustering], folds: Folds, terms: Terms = FULL
) -> Rung | NoRung:
    """Fit a model of `models.MODELS` to the rows, and again without each fold."""
    timeless = ~(np.isfinite(data.time) & (data.time > 0))
    if model == "time" and timeless.any():
        return NoRung(model, f"{int(timeless.sum())} rows have no time_s above zero")
    uncounted = ~np.isfinite(data.accesses).all(axis=1)
    if model == "effective" and uncounted.any():
        return NoRung(model, f"{int(uncounted.sum())} rows do not count their accesses")
    alpha = profile_disjoint(data, GRID, terms=terms)[0] if model == "di_disjoint" else 0.5
    at = design(model, data, alpha, terms)
    k = len(at.names) + (model == "di_disjoint")
    if len(data) <= k + 1:
        return NoRung(model, f"{len(data)} rows are too few for {k} coefficients")
    free = fit_log(at.columns, data.y)
    bounded = free if (free.parameters >= 0).all() else fit_log(at.columns, data.y, nonnegative=True)
    condition = condition_number(free.jacobian)
    told = condition <= NOT_IDENTIFIED  # above it, signs are noise too
    below_zero = [name for name, value in zip(at.names, free.parameters, strict=True) if told and value < 0]
    held_out, learned = predict_held_out(model, data, folds, terms, bounded.parameters)
    return Rung(
        name=model,
        k=k,
        coefficients=_coefficients(at, free, clusterings, folds.clusters),
        below_zero=tuple(below_zero),
        names=at.names,
        parameters=bounded.parameters,
        alpha=alpha if model == "di_disjoint" else None,
        predicted=at.columns @ bounded.parameters,
        held_out=held_out,
        learned=learned,
        rss=bounded.rss,
        aicc=aicc(bounded.rss, len(data), k),
        condition=condition,
    )


def _coefficients(
    at: Design, fit: LogFit, clusterings: Sequence[Clustering], groups: Sequence[Clustering]
) -> tuple[FittedTerm, ...]:
    """Values with 95% intervals."""
    if condition_number(fit.jacobian) > NOT_IDENTIFIED:
        return tuple(
            FittedTerm(name, per, None, None, None) for name, per in zip(at.names, at.per, strict=True)
        )
    half = half_widths(fit.jacobian, fit.residuals, clusterings, groups)
    return tuple(
        FittedTerm(name, per, float(value), _known(value - width), _known(value + width))
        for name, per, value, width in zip(at.names, at.per, fit.parameters, half, strict=True)
    )


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
