"""What networks will cost on the fitted device, layer by layer, with intervals.

**A layer.** The curve z·θ of the fit is the median of layers of one shape; joules add up, so what is given is
the mean, z·θ·exp(s²/2), s the standard deviation of log residuals. Its 95% interval holds a *measurement* of
the layer: coefficient errors from their covariance, and the distance from the curve of layers that the fit
has not seen.

**A total.** Coefficient errors are shared by all layers: their gradients are added before the covariance is
applied, so they do not average out. Residuals are not shared and do: variances are added, over *different*
shapes, as layers of one shape run the same kernel and err alike. The sum is taken as lognormal (Fenton
1960), so that a total of one layer is that layer. Not part of it: what runs between layers (activations,
pooling, additions, memory management), and layers of which the network's library fuses several into one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.intensity import OPERATORS
from dibench.layer import DIMENSIONS
from dibench.study.findings.fitted_model import RANGED, FittedModel
from dibench.study.findings.plain import plain
from dibench.study.ladder.models import Data, data_of
from dibench.study.ladder.predictors import gradient
from dibench.study.maths.inference import student_quantile
from dibench.study.table.columns import counts

if TYPE_CHECKING:
    from dibench.layer import Layer
    from dibench.models import Model

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

TERMS = ("MACs", "weights", "inputs", "outputs", "reuse", "launch")
"""What a layer's cost is made of. `reuse` is k·M/DI of the disjoint form, which no data type owns alone."""


@attrs.frozen
class Estimate:
    """A mean with the 95% interval of a measurement, in joules or seconds."""

    value: float
    low: float
    high: float

    def per(self, number: float) -> Estimate:
        """The same divided by a number."""
        return Estimate(self.value / number, self.low / number, self.high / number)


@attrs.frozen
class LayerCosts:
    """Layers and what they cost: arrays of length n, not a number where the fit lacks the operator."""

    layers: tuple[Layer, ...]
    mean: FloatArray
    low: FloatArray
    high: FloatArray
    terms: Mapping[str, FloatArray]
    """Parts of `mean` by term of `TERMS`; only terms that the model has."""
    gradient: FloatArray
    """(n, k): derivatives of `mean` by the coefficients."""
    shape: IntArray
    """A number for each layer, equal for layers of equal shape."""
    outside: tuple[str, ...]
    """How far a layer lies outside the measured range, as `weights 3.1× above`; empty inside."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which layers have a prediction."""
        return np.isfinite(self.mean)


@attrs.frozen
class Prediction:
    """One network at one batch size."""

    network: Model
    costs: LayerCosts
    total: Estimate
    """Of the layers that have a prediction."""
    by_operator: Mapping[str, Estimate]
    unpredicted: tuple[str, ...]
    """Operators of the network that the fit has not seen; their layers are in no total."""

    @property
    def per_inference(self) -> Estimate:
        """The total of one of the images of the batch."""
        return self.total.per(self.network.batch)


def predict(networks: Sequence[Model], fit: FittedModel) -> list[Prediction]:
    """Cost of every layer, operator and network; all networks in one pass of array operations."""
    layers = [layer for network in networks for layer in network.layers]
    costs = layer_costs(layers, fit)
    ends = np.cumsum([len(network.layers) for network in networks]).tolist()
    begins = [0, *ends[:-1]]
    return [
        _prediction(network, _part(costs, begin, end), fit)
        for network, begin, end in zip(networks, begins, ends, strict=True)
    ]


def as_json(found: Prediction, fit: FittedModel) -> dict[str, Any]:
    """A prediction as plain values, in joules or seconds; None for what the fit cannot predict."""
    costs = found.costs
    made: dict[str, Any] = plain(
        {
            "network": found.network.name,
            "batch": found.network.batch,
            "unit": fit.unit,
            "total": attrs.asdict(found.total),
            "per_inference": attrs.asdict(found.per_inference),
            "by_operator": {op: attrs.asdict(part) for op, part in found.by_operator.items()},
            "unpredicted_operators": found.unpredicted,
            "coverage": found.network.coverage,
            "not_covered": [attrs.asdict(part) for part in found.network.not_covered],
            "layers": [
                {
                    "name": layer.name,
                    "op": layer.op,
                    **layer.dims,
                    "value": costs.mean[row],
                    "low": costs.low[row],
                    "high": costs.high[row],
                    "terms": {term: values[row] for term, values in costs.terms.items()},
                    "outside": costs.outside[row],
                }
                for row, layer in enumerate(costs.layers)
            ],
        }
    )
    return made


def layer_costs(layers: Sequence[Layer], fit: FittedModel) -> LayerCosts:
    """Each layer's cost by itself."""
    data, count, shape = _data(layers, fit)
    parameters = fit.values[:-1] if fit.model == "di_disjoint" else fit.values
    names = fit.names[: len(parameters)]
    alpha = fit.alpha if fit.model == "di_disjoint" else None
    calibrated = np.isin(data.op, [op for op in OPERATORS if f"e0[{op}]" in names])
    # Of a lognormal layer the mean lies above the curve.
    lift = float(np.exp(fit.residual_log**2 / 2))
    slope = lift * gradient(fit.model, data, names, parameters, alpha)
    mean = np.where(calibrated, slope[:, : len(parameters)] @ parameters, np.nan)
    variance = np.einsum("ij,jk,ik->i", slope, fit.covariance, slope)
    low, high = lognormal_interval(mean, variance, mean**2, fit)
    return LayerCosts(
        layers=tuple(layers),
        mean=mean,
        low=low,
        high=high,
        terms=_terms(names, slope[:, : len(parameters)] * parameters, count, calibrated),
        gradient=slope,
        shape=shape,
        outside=tuple(_outside(data, count, fit)),
    )


def lognormal_interval(
    mean: FloatArray, coefficient_variance: FloatArray, residual_square: FloatArray, fit: FittedModel
) -> tuple[FloatArray, FloatArray]:
    """95% interval of sums: their means, variance from coefficients, and Σ (mean of each shape)²."""
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = coefficient_variance + residual_square * np.expm1(fit.unseen_log**2)
        width = student_quantile(fit.degrees) * np.sqrt(np.log1p(spread / mean**2))
        centre = mean / np.sqrt(1 + residual_square * np.expm1(fit.residual_log**2) / mean**2)
        return centre * np.exp(-width), centre * np.exp(width)


def total_of(costs: LayerCosts, rows: NDArray[np.bool_], fit: FittedModel) -> Estimate:
    """The sum of some layers; zero where there is none."""
    if not rows.any():
        return Estimate(0.0, 0.0, 0.0)
    mean = np.array([costs.mean[rows].sum()])
    slope = costs.gradient[rows].sum(axis=0)
    square = residual_square(costs.shape[rows], costs.mean[rows])
    low, high = lognormal_interval(mean, np.array([slope @ fit.covariance @ slope]), np.array([square]), fit)
    return Estimate(float(mean[0]), float(low[0]), float(high[0]))


def residual_square(shape: IntArray, amount: FloatArray) -> float:
    """Σ over shapes of (sum of the amounts of that shape)²: layers of one shape err alike."""
    _, member = np.unique(shape, return_inverse=True)
    together = np.bincount(member, amount)
    return float(together @ together)


def _prediction(network: Model, costs: LayerCosts, fit: FittedModel) -> Prediction:
    op = np.array([layer.op for layer in costs.layers])
    present = [name for name in OPERATORS if (op == name).any()]
    return Prediction(
        network=network,
        costs=costs,
        total=total_of(costs, costs.known, fit),
        by_operator={
            name: total_of(costs, costs.known & (op == name), fit)
            for name in present
            if (costs.known & (op == name)).any()
        },
        unpredicted=tuple(name for name in present if not (costs.known & (op == name)).any()),
    )


def _part(costs: LayerCosts, begin: int, end: int) -> LayerCosts:
    some = slice(begin, end)
    return LayerCosts(
        layers=costs.layers[some],
        mean=costs.mean[some],
        low=costs.low[some],
        high=costs.high[some],
        terms={term: values[some] for term, values in costs.terms.items()},
        gradient=costs.gradient[some],
        shape=costs.shape[some],
        outside=costs.outside[some],
    )


def _data(layers: Sequence[Layer], fit: FittedModel) -> tuple[Data, dict[str, FloatArray], IntArray]:
    """The layers as the models of the study see rows, their counts, and a number for each shape."""
    import pandas as pd

    shapes = [layer.shape for layer in layers]
    frame = pd.DataFrame(np.array(shapes, dtype=np.int64).reshape(-1, len(DIMENSIONS)), columns=DIMENSIONS)
    frame["op"] = [layer.op for layer in layers]
    frame[fit.response] = np.nan
    numbers: dict[tuple[int, ...], int] = {}
    shape = np.array([numbers.setdefault(one, len(numbers)) for one in shapes], dtype=np.intp)
    return data_of(frame, fit.response), counts(frame), shape


_PARTS = {
    "e": ("weights", "inputs", "outputs"),
    "e_w": ("weights",),
    "e_a": ("inputs", "outputs"),
    "e_x": ("inputs",),
    "e_y": ("outputs",),
    "k": ("reuse",),
    "e_launch": ("launch",),
}
"""Which terms a coefficient's product is shared among, in proportion to their elements."""


def _terms(
    names: Sequence[str], products: FloatArray, count: Mapping[str, FloatArray], known: NDArray[np.bool_]
) -> dict[str, FloatArray]:
    found: dict[str, FloatArray] = {}
    ones = np.ones(len(products))
    for name, product in zip(names, products.T, strict=True):
        elements = {part: count.get(part, ones) for part in _PARTS.get(name, ("MACs",))}
        whole = np.add.reduce(list(elements.values()))
        for part, number in elements.items():
            share = np.where(known, product * number / whole, np.nan)
            found[part] = found.get(part, np.zeros(len(products))) + share
    return {term: found[term] for term in TERMS if term in found}


def _outside(data: Data, count: Mapping[str, FloatArray], fit: FittedModel) -> list[str]:
    said: list[list[str]] = [[] for _ in range(len(data))]
    for op, own in fit.ranges.items():
        rows = np.flatnonzero(data.op == op)
        for what in RANGED:
            least, most = own[what]
            values = count[what][rows]
            for row, value in zip(rows[values > most], values[values > most], strict=True):
                said[row].append(f"{what} {value / most:.3g}× above")
            for row, value in zip(rows[values < least], values[values < least], strict=True):
                said[row].append(f"{what} {least / value:.3g}× below")
    return [", ".join(words) for words in said]
