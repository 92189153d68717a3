"""What networks will cost on the fitted device, layer by layer, with intervals.

**A layer.** The curve z·θ of the fit is the median of layers of one shape. Joules add up, so the mean is
given: z·θ·exp(s²/2), where s is the standard deviation of log residuals. Its 95% interval holds a
*measurement* of the layer: it takes in the errors of the coefficients, by their covariance, and how far
layers that the fit has not seen lie from its curve.

**A total.** All layers share the errors of the coefficients, so these do not average out: gradients are
added before the covariance is applied. Neither does what all layers of a network or of its family have in
common. The rest averages out over *different* shapes; layers of one shape run the same kernel and err alike
(`sums`). The sum is taken as lognormal (Fenton 1960), so the total of one layer equals that layer. A total
leaves out what runs between layers (activations, pooling, additions, memory management) and does not know of
layers that a library fuses into one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dibench.errors import UserError
from dibench.intensity import OPERATORS
from dibench.schema import NETWORK
from dibench.study.findings.prediction import (
    LayerCost,
    MeasuredNetwork,
    PredictedCost,
    Prediction,
    Predictions,
    Scatter,
)
from dibench.study.use.costs import LayerCosts, layer_costs
from dibench.study.use.sums import sum_interval

if TYPE_CHECKING:
    import pandas as pd

    from dibench.models import Model
    from dibench.study.findings.fitted_model import FittedModel, Origin, Predictor


def predict(
    networks: Sequence[Model], fit: FittedModel, *, measured: pd.DataFrame | None = None
) -> Predictions:
    """Cost of every layer, operator and network.

    Args:
        networks: each at its batch size.
        fit: one model of a fit.
        measured: a table with whole networks (rows of op `network`), to hold the predictions against.

    Raises:
        UserError: no row of `measured` is a whole network on the fit's device, in its data type and response.
    """
    costs = layer_costs([layer for network in networks for layer in network.layers], fit)
    found, end = [], 0
    for network in networks:
        begin, end = end, end + len(network.layers)
        found.append(_prediction(network, costs.part(begin, end), fit))
    checked = () if measured is None else _measured(measured, found, fit.origin)
    return Predictions(
        origin=fit.origin,
        scatter=Scatter(fit.predictor.residual_log, fit.predictor.network_log),
        predictions=tuple(found),
        measured_networks=checked,
    )


def _prediction(network: Model, costs: LayerCosts, fit: FittedModel) -> Prediction:
    op = np.array([layer.op for layer in costs.layers])
    present = [name for name in OPERATORS if (op == name).any()]
    by_operator = {
        name: _total(costs, rows, fit.predictor)
        for name in present
        if (rows := costs.known & (op == name)).any()
    }  # fmt: skip
    total = _total(costs, costs.known, fit.predictor)
    return Prediction(
        network=network.name,
        batch=network.batch,
        unit=fit.origin.unit,
        total=total,
        per_inference=total.per(network.batch),
        by_operator=by_operator,
        unpredicted_operators=tuple(name for name in present if name not in by_operator),
        coverage=network.coverage,
        not_covered=network.not_covered,
        layers=_layers(costs),
    )


def _layers(costs: LayerCosts) -> tuple[LayerCost, ...]:
    columns = [values.tolist() for values in (costs.mean, costs.low, costs.high)]
    parts = zip(*(values.tolist() for values in costs.terms.values()), strict=True)
    terms = [dict(zip(costs.terms, one, strict=True)) for one in parts]
    return tuple(map(LayerCost, costs.layers, *columns, terms, costs.outside))


def _total(costs: LayerCosts, rows: NDArray[np.bool_], predictor: Predictor) -> PredictedCost:
    """The sum of some layers; zero where there is none."""
    if not rows.any():
        return PredictedCost(0.0, 0.0, 0.0)
    amount, slope = costs.mean[rows], costs.gradient[rows].sum(axis=0)
    return PredictedCost(float(amount.sum()), *sum_interval(costs.shape[rows], amount, slope, predictor))


def _measured(
    frame: pd.DataFrame, predictions: Sequence[Prediction], fit: Origin
) -> tuple[MeasuredNetwork, ...]:
    """Of each network the last usable row at its batch, on the fit's device, in its data type and response.

    A row's name counts from its last colon: `torchvision:resnet50` is `resnet50`.
    """
    rows = frame[frame["op"] == NETWORK]
    usable = rows["status"].isin(("ok", "flagged")) & (rows["dtype"] == fit.dtype)
    if "device" in rows:
        usable &= rows["device"] == fit.device
    if not fit.is_time:
        usable &= rows["energy_source"].isin(fit.energy_source)
    usable &= (rows[fit.response] > 0) if fit.response in rows else False
    rows = rows[usable]
    if rows.empty:
        rule = f"must have whole networks (op network) on {fit.device}, {fit.dtype}, with {fit.response}"
        raise UserError("--measured", rule)
    name = rows["name"].fillna("").str.rpartition(":")[2]
    found = []
    for one in predictions:
        own = rows[(name == one.network) & (rows["N"] == one.batch)]
        if own.empty:
            continue
        last = own.iloc[-1]
        measured = float(last[fit.response])
        found.append(
            MeasuredNetwork(
                network=one.network,
                batch=one.batch,
                backend=str(last.get("backend", "")),
                measured=measured,
                ratio=one.total.value / measured,
                inside=one.total.low <= measured <= one.total.high,
            )
        )
    return tuple(found)
