"""Where a network's cost comes from, and which changes of its design would save most of it.

A saving is a difference of two predictions of one fit, so their errors are correlated: coefficient errors
enter by the difference of the gradients, and what stays in the network cancels. Residuals of shapes that
leave or enter do not. A difference may have either sign: its 95% interval is by Student's t, not lognormal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.study.findings.plain import plain
from dibench.study.maths.inference import student_quantile
from dibench.study.use.predict import Estimate, LayerCosts, Prediction, layer_costs, predict, residual_square
from dibench.study.use.redesign import changes

if TYPE_CHECKING:
    from dibench.layer import Layer
    from dibench.models import Model
    from dibench.study.findings.fitted_model import FittedModel

FloatArray = NDArray[np.float64]


CONSTANT = "constant power"


@attrs.frozen
class Saving:
    """What one change saves per inference, in joules or seconds; negative where it costs."""

    knob: str
    setting: str
    where: str
    saved: Estimate
    share: float
    """Of the cost of one inference."""
    macs: float
    """Multiply-adds per inference after the change, relative to before."""
    outside: bool
    """Whether a layer that enters lies outside the range that was measured."""

    @property
    def certain(self) -> bool:
        """Whether the interval holds savings only."""
        return self.saved.low > 0


@attrs.frozen
class Explanation:
    """A network's prediction, and the changes that save, most first."""

    prediction: Prediction
    savings: tuple[Saving, ...]
    """Changes with a saving above zero."""
    costlier: int
    """Changes that save nothing by this model."""
    unpredictable: Mapping[str, int]
    """Changes that would need an operator the fit lacks, by operator."""
    terms: Mapping[str, FloatArray]
    """What each layer's cost is made of, (n,) each; constant power among it where the fit knows it."""

    def dominant(self, row: int) -> str:
        """The term of a layer that costs most."""
        return max(self.terms, key=lambda term: float(self.terms[term][row]))


def explain(
    network: Model, fit: FittedModel, *, batches: Sequence[Model] = (), dtypes: Sequence[FittedModel] = ()
) -> Explanation:
    """Explain a network's cost and rank the changes.

    Args:
        network: at the batch it is used with.
        fit: one model of a fit.
        batches: the same network at other batch sizes.
        dtypes: the same model fitted to other data types on the same device.
    """
    (prediction,) = predict([network], fit)
    possible = changes(network.layers)
    added = [layer for change in possible for layer in change.added]
    others = [layer for other in batches for layer in other.layers]
    costs = layer_costs([*network.layers, *added, *others], fit)
    savings: list[Saving] = []
    lacking: dict[str, int] = {}
    end = len(network.layers)
    for change in possible:
        rows = np.arange(end, end + len(change.added))
        end += len(change.added)
        missing = {costs.layers[row].op for row in rows if not costs.known[row]}
        if missing or not costs.known[list(change.removed)].all():
            for op in missing:
                lacking[op] = lacking.get(op, 0) + 1
            continue
        sign = np.zeros(len(costs.layers))
        np.add.at(sign, list(change.removed), 1.0 / network.batch)
        sign[rows] -= 1.0 / network.batch
        savings.append(_saving(change.knob, change.setting, change.where, sign, costs, prediction, fit, rows))
    for other in batches:
        rows = np.arange(end, end + len(other.layers))
        end += len(other.layers)
        sign = np.zeros(len(costs.layers))
        sign[: len(network.layers)] = 1.0 / network.batch
        sign[rows] -= 1.0 / other.batch
        sign[~costs.known] = 0.0
        setting = f"{other.batch} in place of {network.batch}"
        savings.append(_saving("batch", setting, "the whole network", sign, costs, prediction, fit, rows))
    savings += [_by_dtype(network, prediction, fit, other) for other in dtypes]
    worth = sorted((one for one in savings if one.saved.value > 0), key=lambda one: -one.saved.value)
    terms = with_constant_power(prediction.costs, fit)
    return Explanation(prediction, tuple(worth), len(savings) - len(worth), lacking, terms)


def with_constant_power(costs: LayerCosts, fit: FittedModel) -> Mapping[str, FloatArray]:
    """The terms of layers with what the device draws whatever it computes: power times predicted time.

    Energy above idle leaves it out, so it stands on top. In gross energy it is part of every term, in
    proportion to the term's share of time: it is taken out of them, as far as they hold it.
    """
    if fit.constant_power is None:
        return costs.terms
    power = fit.constant_power.power_w
    times = layer_costs(costs.layers, fit.constant_power.time).terms
    if fit.response != "energy_j":
        return {**costs.terms, CONSTANT: power * np.add.reduce(list(times.values()))}
    held = {term: np.minimum(power * times[term], costs.terms[term]) for term in costs.terms if term in times}
    rest = {term: values - held.get(term, 0.0) for term, values in costs.terms.items()}
    return {**rest, CONSTANT: np.add.reduce(list(held.values()))}


def _saving(
    knob: str,
    setting: str,
    where: str,
    sign: FloatArray,
    costs: LayerCosts,
    before: Prediction,
    fit: FittedModel,
    added: NDArray[np.intp],
) -> Saving:
    """A weighted sum of layers' costs, positive for what leaves and negative for what enters."""
    rows = sign != 0
    amount = sign[rows] * costs.mean[rows]
    slope = sign[rows] @ costs.gradient[rows]
    variance = slope @ fit.covariance @ slope
    variance += residual_square(costs.shape[rows], amount) * np.expm1(fit.unseen_log**2)
    return Saving(
        knob=knob,
        setting=setting,
        where=where,
        saved=_symmetric(float(amount.sum()), float(variance), fit.degrees),
        share=float(amount.sum()) / before.per_inference.value,
        macs=1 - _macs(sign, costs.layers) / (before.network.macs / before.network.batch),
        outside=any(costs.outside[row] for row in added),
    )


def _macs(sign: FloatArray, layers: Sequence[Layer]) -> float:
    return float(sum(sign[row] * layers[row].macs for row in np.flatnonzero(sign).tolist()))


def _symmetric(value: float, variance: float, degrees: int) -> Estimate:
    half = student_quantile(degrees) * float(np.sqrt(variance))
    return Estimate(value, value - half, value + half)


def _by_dtype(network: Model, before: Prediction, fit: FittedModel, other: FittedModel) -> Saving:
    """Another fit: its errors are its own, so variances add."""
    (after,) = predict([network], other)
    variance = _variance(before, fit) + _variance(after, other)
    saved = before.per_inference.value - after.per_inference.value
    return Saving(
        knob="dtype",
        setting=f"{other.dtype} in place of {fit.dtype}",
        where="the whole network",
        saved=_symmetric(saved, variance / network.batch**2, min(fit.degrees, other.degrees)),
        share=saved / before.per_inference.value,
        macs=1.0,
        outside=any(after.costs.outside),
    )


def _variance(found: Prediction, fit: FittedModel) -> float:
    costs = found.costs
    slope = costs.gradient[costs.known].sum(axis=0)
    square = residual_square(costs.shape[costs.known], costs.mean[costs.known])
    return float(slope @ fit.covariance @ slope + square * np.expm1(fit.unseen_log**2))


def as_json(found: Explanation) -> dict[str, Any]:
    """The ranked changes as plain values, in joules or seconds per inference."""
    made: dict[str, Any] = plain(
        {
            "terms": {term: values.tolist() for term, values in found.terms.items()},
            "dominant": [
                found.dominant(row) if found.prediction.costs.known[row] else None
                for row in range(len(found.prediction.costs.layers))
            ],
            "savings": [{**attrs.asdict(one), "certain": one.certain} for one in found.savings],
            "changes_that_save_nothing": found.costlier,
            "changes_not_predictable": found.unpredictable,
        }
    )
    return made
