"""What layers cost by one model of a fit, as arrays, with all that sums and differences of them need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.intensity import OPERATORS
from dibench.layer import DIMENSIONS
from dibench.study.findings.fitted_model import RANGED, FittedModel
from dibench.study.ladder.models import Data, data_of
from dibench.study.ladder.predictors import gradient
from dibench.study.table.columns import counts
from dibench.study.use.sums import layer_intervals

if TYPE_CHECKING:
    from dibench.layer import Layer

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

TERMS = ("MACs", "weights", "inputs", "outputs", "reuse", "launch")
"""What a layer's cost is made of. `reuse` is k·M/DI of the disjoint form, which no data type owns alone."""

_PARTS = {
    "e": ("weights", "inputs", "outputs"),
    "e_w": ("weights",),
    "e_a": ("inputs", "outputs"),
    "e_x": ("inputs",),
    "e_y": ("outputs",),
    "k": ("reuse",),
    "e_launch": ("launch",),
}
"""The terms among which a coefficient's part is shared, in proportion to their elements."""


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

    def part(self, begin: int, end: int) -> LayerCosts:
        """Layers from `begin` to before `end`."""
        some = slice(begin, end)
        return LayerCosts(
            layers=self.layers[some],
            mean=self.mean[some],
            low=self.low[some],
            high=self.high[some],
            terms={term: values[some] for term, values in self.terms.items()},
            gradient=self.gradient[some],
            shape=self.shape[some],
            outside=self.outside[some],
        )


def layer_costs(layers: Sequence[Layer], fit: FittedModel) -> LayerCosts:
    """Each layer's cost by itself."""
    data, count, shape = _data(layers, fit)
    model, predictor = fit.origin.model, fit.predictor
    parameters, alpha = predictor.values, None
    if model == "di_disjoint":
        parameters, alpha = parameters[:-1], float(parameters[-1])
    names = predictor.names[: len(parameters)]
    known = np.isin(data.op, operators_of(fit))
    # The curve is the median of lognormal layers; their mean lies above it.
    lift = float(np.exp(predictor.residual_log**2 / 2))
    slope = lift * gradient(model, data, names, parameters, alpha)
    mean = np.where(known, slope[:, : len(parameters)] @ parameters, np.nan)
    low, high = layer_intervals(mean, slope, predictor)
    return LayerCosts(
        layers=tuple(layers),
        mean=mean,
        low=low,
        high=high,
        terms=_terms(names, slope[:, : len(parameters)] * parameters, count, known),
        gradient=slope,
        shape=shape,
        outside=tuple(_outside(data, count, fit)),
    )


def operators_of(fit: FittedModel) -> list[str]:
    """The operators that a fit can predict."""
    return [op for op in OPERATORS if f"e0[{op}]" in fit.predictor.names]


def _data(layers: Sequence[Layer], fit: FittedModel) -> tuple[Data, dict[str, FloatArray], IntArray]:
    """The layers as the models of the study see rows, their counts, and a number for each shape."""
    import pandas as pd

    shapes = [layer.shape for layer in layers]
    frame = pd.DataFrame(np.array(shapes, dtype=np.int64).reshape(-1, len(DIMENSIONS)), columns=DIMENSIONS)
    frame["op"] = [layer.op for layer in layers]
    frame[fit.origin.response] = np.nan
    numbers: dict[tuple[int, ...], int] = {}
    shape = np.array([numbers.setdefault(one, len(numbers)) for one in shapes], dtype=np.intp)
    return data_of(frame, fit.origin.response), counts(frame), shape


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
