"""What a fit hands to those who predict with it: coefficients, their errors, and the measured ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench import intensity
from dibench.study.findings.fitted_model import PREDICTORS, RANGED, PowerAndTime, Predictor, Predictors
from dibench.study.ladder.folds import Folds
from dibench.study.ladder.models import Data, design, per_di_disjoint_slope
from dibench.study.ladder.rungs import Rung, fit_rung
from dibench.study.maths.components import components
from dibench.study.maths.inference import Clustering
from dibench.study.maths.labels import Labels
from dibench.study.maths.scores import rmse_log
from dibench.study.table.columns import counts

if TYPE_CHECKING:
    from dibench.study.ladder.ladder import Ladder

FloatArray = NDArray[np.float64]

IDLE_POWERS = {
    "energy_above_active_idle_j": ("active_idle_power_w",),
    "energy_above_idle_j": ("idle_power_w",),
    "energy_j": ("active_idle_power_w", "idle_power_w"),
}
"""Idle power that each response leaves out or, for gross energy, contains."""


def predictors_of(fit: Ladder) -> Predictors:
    """Every fitted model that needs only a layer's shape; None for one whose errors cannot be estimated."""
    return Predictors(
        models={
            name: predictor_of(rung, fit.data, fit.clusterings, fit.folds)
            for name, rung in fit.fitted.items()
            if name in PREDICTORS
        },
        ranges=_ranges(fit.data.op, counts(fit.selection.frame)),
        constant_power=_constant_power(fit),
    )


def _constant_power(fit: Ladder) -> PowerAndTime | None:
    frame, time = fit.selection.frame, fit.data.time
    if fit.selection.kind == "time" or not (time > 0).all():
        return None
    for column in IDLE_POWERS[fit.selection.response]:
        power = float(frame[column].median()) if column in frame else math.nan
        if power > 0:
            rung = fit_rung("di_weighted", attrs.evolve(fit.data, y=time), fit.clusterings, fit.folds)
            if not isinstance(rung, Rung):
                return None
            found = predictor_of(rung, attrs.evolve(fit.data, y=time), fit.clusterings, fit.folds)
            return None if found is None else PowerAndTime(power, column, found)
    return None


def predictor_of(rung: Rung, data: Data, clusterings: Sequence[Clustering], folds: Folds) -> Predictor | None:
    """What a fitted model predicts with; None where its errors cannot be estimated."""
    columns = gradient(rung.name, data, rung.names, rung.parameters, rung.alpha)
    values = rung.parameters if rung.alpha is None else np.append(rung.parameters, rung.alpha)
    # α at an end of [0, 1] is held there as a coefficient is held at zero.
    free = values > 0 if rung.alpha is None else (values > 0) & np.append(values[:-1] > 0, values[-1] < 1)
    jacobian = columns[:, free] / rung.predicted[:, None]
    residuals = np.log(data.y / rung.predicted)
    found = components(jacobian, residuals, [*clusterings, *folds.clusters])
    if found is None:
        return None
    spreads = np.zeros((len(found.names), len(values), len(values)))
    spreads[np.ix_(np.arange(len(found.names)), free, free)] = found.spreads
    seen = np.isfinite(rung.held_out)
    unseen = rmse_log(data.y[seen], rung.held_out[seen]) if seen.sum() >= 3 else 0.0
    return Predictor(
        names=(*rung.names, *(() if rung.alpha is None else ("alpha",))),
        values=values,
        errors=attrs.evolve(found, spreads=spreads),
        unseen_log=max(math.sqrt(float(found.variances.sum())), unseen),
    )


def gradient(
    model: str, data: Data, names: Sequence[str], parameters: FloatArray, alpha: float | None
) -> FloatArray:
    """∂E/∂(coefficients, α) of each row, (n, k), in the order of `names`; α's column last where it has one.

    The column of an operator without rows is zero. Rows of an operator that `names` lacks get no term for
    their MACs: check first that `e0[op]` is in `names`.
    """
    at = design(model, data, 0.5 if alpha is None else alpha)
    known = dict(zip(at.names, at.columns.T, strict=True))
    nothing = np.zeros(len(data))
    columns = [known.get(name, nothing) for name in names]
    if alpha is not None:
        columns.append(parameters[list(names).index("k")] * per_di_disjoint_slope(data, alpha))
    return np.column_stack(columns)


def _ranges(op: Labels, count: Mapping[str, FloatArray]) -> dict[str, dict[str, tuple[float, float]]]:
    return {
        name: {
            what: (float(count[what][op == name].min()), float(count[what][op == name].max()))
            for what in RANGED
        }
        for name in intensity.OPERATORS
        if (op == name).any()
    }
