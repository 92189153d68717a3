"""What a fit knows for predicting layers it has not seen, written into its JSON and read back from it.

Per model: the coefficients that predict (none below zero), their covariance, and how far layers lie from the
curve. Per operator: the range of MACs and elements that was measured; beyond it a prediction is a guess.
All in joules or seconds per unit, so that nothing is rounded on the way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench import intensity
from dibench.errors import UserError
from dibench.study.ladder.models import Data, design, per_di_disjoint_slope
from dibench.study.ladder.rungs import Rung, fit_rung
from dibench.study.maths.inference import Clustering, cluster_covariance, student_quantile
from dibench.study.maths.scores import rmse_log
from dibench.study.table.columns import counts

if TYPE_CHECKING:
    from dibench.study.ladder.fit import Fit

FloatArray = NDArray[np.float64]

RANGED = ("macs", "weights", "inputs", "outputs")
"""What is held against the measured range, operator by operator."""

PREDICTORS = ("macs", "ai", "di_weighted", "di_disjoint")
"""Models that need nothing but a layer's shape."""


IDLE_POWERS = {
    "energy_above_active_idle_j": ("active_idle_power_w",),
    "energy_above_idle_j": ("idle_power_w",),
    "energy_j": ("active_idle_power_w", "idle_power_w"),
}
"""The power that each energy leaves out, or for gross energy holds."""


@attrs.frozen
class ConstantPower:
    """What the device draws whatever it computes, and the fit of time that says for how long."""

    power_w: float
    column: str
    """Of the CSV contract: `active_idle_power_w` or `idle_power_w`."""
    time: Calibration
    """Of weighted DI on the times of the same rows."""


@attrs.frozen
class Calibration:
    """One model of one fit, ready to predict."""

    model: str
    device: str
    dtype: str
    response: str
    """Column of the CSV contract that was fitted: `time_s` or an energy."""
    energy_source: tuple[str, ...]
    measured: bool
    """False for modelled or simulated energy: predictions are then a check of the pipeline."""
    basis: str
    names: tuple[str, ...]
    values: FloatArray
    """(k,) in joules or seconds per unit; α of `di_disjoint` last."""
    covariance: FloatArray
    """(k, k) of `values`, cluster-robust; zero where a coefficient is held at zero."""
    degrees: int
    """Of freedom of Student's t: clusters less one."""
    residual_log: float
    """Standard deviation of log y around the curve, in sample: √(RSS/(n−k))."""
    unseen_log: float
    """The same for layers that the fit has not seen: the held-out error where that is larger."""
    ranges: Mapping[str, Mapping[str, tuple[float, float]]]
    """Least and most of MACs and elements in the rows, by operator."""
    constant_power: ConstantPower | None = None
    """None for a fit of time, and where the rows say no idle power."""

    @property
    def kind(self) -> str:
        """`energy` or `time`."""
        return "time" if self.response == "time_s" else "energy"

    @property
    def unit(self) -> str:
        """`J` or `s`."""
        return "s" if self.kind == "time" else "J"

    @property
    def alpha(self) -> float:
        """Of `di_disjoint`; of no meaning to other models."""
        return float(self.values[-1]) if self.model == "di_disjoint" else 0.5


def calibration_of(fit: Fit) -> dict[str, Any]:
    """The `calibration` of a fit's JSON; a model that cannot predict stands there as None."""
    frame = fit.selection.frame
    return {
        "models": {
            name: calibrate(rung, fit.data, fit.clusterings)
            for name in PREDICTORS
            if isinstance(rung := fit.rungs.get(name), Rung)
        },
        "ranges": _ranges(fit.data.op, counts(frame)),
        "constant_power": _constant_power(fit),
    }


def _constant_power(fit: Fit) -> dict[str, Any] | None:
    frame, time = fit.selection.frame, fit.data.time
    if fit.selection.kind == "time" or not (time > 0).all():
        return None
    for column in IDLE_POWERS[fit.selection.response]:
        power = float(frame[column].median()) if column in frame else math.nan
        if power > 0:
            rung = fit_rung("di_weighted", attrs.evolve(fit.data, y=time), fit.clusterings, fit.folds)
            if not isinstance(rung, Rung):
                return None
            entry = calibrate(rung, attrs.evolve(fit.data, y=time), fit.clusterings)
            return None if entry is None else {"power_w": power, "column": column, "time": entry}
    return None


def calibrate(rung: Rung, data: Data, clusterings: Sequence[Clustering]) -> dict[str, Any] | None:
    """What a fitted model predicts with, as plain values; None where its errors cannot be estimated."""
    columns = gradient(rung.name, data, rung.names, rung.parameters, rung.alpha)
    values = rung.parameters if rung.alpha is None else np.append(rung.parameters, rung.alpha)
    # α at an end of [0, 1] is held there as a coefficient is held at zero.
    free = values > 0 if rung.alpha is None else (values > 0) & np.append(values[:-1] > 0, values[-1] < 1)
    jacobian = columns[:, free] / rung.predicted[:, None]
    residuals = np.log(data.y / rung.predicted)
    found = _widest(jacobian, residuals, clusterings)
    if found is None:
        return None
    covariance = np.zeros((len(values), len(values)))
    covariance[np.ix_(free, free)], degrees = found
    residual = math.sqrt(float(residuals @ residuals) / (len(residuals) - int(free.sum())))
    seen = np.isfinite(rung.held_out)
    unseen = rmse_log(data.y[seen], rung.held_out[seen]) if seen.sum() >= 3 else 0.0
    return {
        "names": [*rung.names, *([] if rung.alpha is None else ["alpha"])],
        "values": values.tolist(),
        "covariance": covariance.tolist(),
        "degrees": degrees,
        "residual_log": residual,
        "unseen_log": max(residual, unseen),
    }


def gradient(
    model: str, data: Data, names: Sequence[str], parameters: FloatArray, alpha: float | None
) -> FloatArray:
    """∂E/∂(coefficients, α) of each row, (n, k), in the order of `names`; α's column last where it has one.

    A column is zero where the rows have no such operator; rows of an operator that `names` lacks get no term
    for their MACs, so ask `e0[op]` first.
    """
    at = design(model, data, 0.5 if alpha is None else alpha)
    known = dict(zip(at.names, at.columns.T, strict=True))
    nothing = np.zeros(len(data))
    columns = [known.get(name, nothing) for name in names]
    if alpha is not None:
        columns.append(parameters[list(names).index("k")] * per_di_disjoint_slope(data, alpha))
    return np.column_stack(columns)


def _widest(
    jacobian: FloatArray, residuals: FloatArray, clusterings: Sequence[Clustering]
) -> tuple[FloatArray, int] | None:
    """Covariance and degrees of freedom by the clustering that makes predictions least certain."""
    best: tuple[FloatArray, int] | None = None
    most = -1.0
    for clusters in clusterings:
        covariance = cluster_covariance(jacobian, residuals, clusters)
        if covariance is None:
            continue
        degrees = clusters.size - 1
        variance = float(np.einsum("ij,jk,ik->", jacobian, covariance, jacobian))
        width = student_quantile(degrees) ** 2 * variance
        if width > most:
            best, most = (covariance, degrees), width
    return best


def _ranges(op: NDArray[np.str_], count: Mapping[str, FloatArray]) -> dict[str, dict[str, list[float]]]:
    return {
        name: {
            what: [float(count[what][op == name].min()), float(count[what][op == name].max())]
            for what in RANGED
        }
        for name in intensity.OPERATORS
        if (op == name).any()
    }


def read_calibration(figures: Mapping[str, Any], model: str, *, where: object = "") -> Calibration:
    """One model of the JSON that `fit` wrote, checked.

    Args:
        figures: the JSON.
        model: one of `PREDICTORS`.
        where: what messages call the file.

    Raises:
        UserError: it is no fit, lacks the model, or holds what no fit writes; the message names the field.
    """
    if model not in PREDICTORS:
        raise UserError("--model", "must be one of " + ", ".join(PREDICTORS), model)
    if "calibration" not in figures or "setting" not in figures:
        raise UserError("calibration", "must be there: write the file with `fit … --json FILE`", where=where)
    try:
        entry = figures["calibration"]["models"].get(model)
        if entry is None:
            reason = (figures["models"].get(model) or {}).get("reason") or "too few rows or clusters"
            raise UserError(f"calibration of {model}", f"is not in this fit: {reason}", where=where)
        found = _read(figures, model, entry)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        rule = f"is not what `fit` writes ({type(error).__name__}: {error})"
        raise UserError("calibration", rule, where=where) from None
    _check(found, where)
    if found.constant_power is not None:
        _check(found.constant_power.time, where)
    return found


def _read(figures: Mapping[str, Any], model: str, entry: Mapping[str, Any]) -> Calibration:
    setting = figures["setting"]
    found = Calibration(
        model=model,
        device=str(setting.get("device") or "a device without name"),
        dtype=str(setting.get("dtype") or ""),
        response=str(figures["response"]),
        energy_source=tuple(map(str, figures["energy_source"])),
        measured=bool(figures["response_measured"]),
        basis=str(figures["basis"]),
        **_fitted(entry),
        ranges={
            str(op): {what: (float(own[what][0]), float(own[what][1])) for what in RANGED}
            for op, own in figures["calibration"]["ranges"].items()
        },
    )
    power = figures["calibration"]["constant_power"]
    if power is None:
        return found
    time = attrs.evolve(found, model="di_weighted", response="time_s", **_fitted(power["time"]))
    watts = float(_numbers([power["power_w"]])[0])
    return attrs.evolve(found, constant_power=ConstantPower(watts, str(power["column"]), time))


def _fitted(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "names": tuple(map(str, entry["names"])),
        "values": _numbers(entry["values"]),
        "covariance": _numbers(entry["covariance"]),
        "degrees": int(entry["degrees"]),
        "residual_log": float(_numbers([entry["residual_log"]])[0]),
        "unseen_log": float(_numbers([entry["unseen_log"]])[0]),
    }


def _numbers(values: Any) -> FloatArray:
    """As an array; text, null and booleans are no numbers, whatever NumPy makes of them."""
    if any(isinstance(value, (str, bool)) or value is None for value in np.ravel(np.array(values, object))):
        raise ValueError("must be numbers")
    return np.array(values, dtype=np.float64)


def _check(found: Calibration, where: object) -> None:
    k = len(found.names)
    rules = (
        ("values", found.values.shape == (k,), f"must be {k} numbers, one for each name"),
        ("covariance", found.covariance.shape == (k, k), f"must be {k} × {k} numbers"),
        ("values", bool(np.isfinite(found.values).all()), "must be finite"),
        ("covariance", bool(np.isfinite(found.covariance).all()), "must be finite"),
        ("values", bool((found.values >= 0).all()), "must not be below zero"),
        ("degrees", found.degrees >= 1, "must be at least 1"),
        ("residual_log", 0 <= found.residual_log < 10, "must be from 0 to 10"),
        ("unseen_log", 0 <= found.unseen_log < 10, "must be from 0 to 10"),
    )
    for field, holds, rule in rules:
        if not holds:
            raise UserError(f"calibration of {found.model}: {field}", rule, where=where)
    size = max(float(np.abs(found.covariance).max()), 1e-300)
    scale = np.sqrt(np.abs(np.diagonal(found.covariance)))
    if (
        not np.allclose(found.covariance, found.covariance.T, rtol=1e-6, atol=1e-9 * size)
        or (np.abs(found.covariance) > np.outer(scale, scale) * (1 + 1e-6) + 1e-300).any()
    ):
        field = f"calibration of {found.model}: covariance"
        raise UserError(field, "must be a covariance: symmetric, correlations within ±1", where=where)
