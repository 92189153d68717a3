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
layers that a library fuses into one. Where it also leaves out multiply-adds of the model (what is no layer,
and layers of operators that the fit lacks), it is partial: the network costs more (`Prediction.covered`).
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
from dibench.study.table.columns import numbers
from dibench.study.table.gain import with_gain
from dibench.study.use.costs import LayerCosts, layer_costs
from dibench.study.use.sums import sum_interval

if TYPE_CHECKING:
    import pandas as pd

    from dibench.models import Model
    from dibench.models.model import MacShare
    from dibench.study.findings.comparison import PaceApart
    from dibench.study.findings.fitted_model import FittedModel, Origin, Predictor


ALIKE = 0.01
"""How far two counts of one network's MACs may differ."""


def predict(
    networks: Sequence[Model],
    fit: FittedModel,
    *,
    measured: pd.DataFrame | None = None,
    pace_apart: PaceApart | None = None,
) -> Predictions:
    """Cost of every layer, operator and network.

    Args:
        networks: each at its batch size.
        fit: one model of a fit.
        measured: a table with whole networks (rows of op `network`), to hold the predictions against.
        pace_apart: how far the machine's pace was from the fit's when they were measured, where their times
            are stated at the fit's (`paces`).

    Raises:
        UserError: no layer of a network can be predicted, or no row of `measured` is a whole network on the
        fit's device, in its data type and response.
    """
    costs = layer_costs([layer for network in networks for layer in network.layers], fit)
    parts, end = list[LayerCosts](), 0
    for network in networks:
        begin, end = end, end + len(network.layers)
        parts.append(costs.part(begin, end))
        _check_any(network, parts[-1], fit)
    checked, otherwise = tuple[MeasuredNetwork, ...](), tuple[str, ...]()
    if measured is not None:
        sums = [
            (_sensed(part, fit, pace_apart), _share(network, part))
            for network, part in zip(networks, parts, strict=True)
        ]
        checked, otherwise = _measured(measured, networks, sums, fit.origin)
    return Predictions(
        origin=fit.origin,
        scatter=Scatter(fit.predictor.residual_log, fit.predictor.network_log),
        predictions=tuple(_prediction(*one, fit) for one in zip(networks, parts, strict=True)),
        measured_networks=checked,
        measured_otherwise=otherwise,
        pace_apart=pace_apart,
    )


def _sensed(costs: LayerCosts, fit: FittedModel, apart: PaceApart | None) -> PredictedCost:
    """The sum of the known layers as the fit's sensor would show it, with what the pace leaves open."""
    return sensed_sum(costs, costs.known, fit.predictor).widened(0.0 if apart is None else apart.half_log)


def _check_any(network: Model, costs: LayerCosts, fit: FittedModel) -> None:
    """Refuse a network of which nothing can be predicted: its cost is not zero."""
    if costs.known.any():
        return
    if network.layers:
        lacking = ", ".join(sorted({layer.op for layer in network.layers}))
        raise UserError(
            network.name, f"must have a layer that the fit can predict: it has no rows of {lacking}"
        )
    rule = "must have a layer to predict"
    if network.not_covered:
        first = network.not_covered[0]
        rule += f": {len(network.not_covered)} not covered, such as {first.op}, {first.reason}"
    else:
        rule += ": it has no convolution and no product that dibench knows"
    raise UserError(network.name, rule)


def _share(network: Model, costs: LayerCosts) -> MacShare:
    """Of a network's multiply-adds, those of the layers that have a prediction."""
    known = zip(costs.layers, costs.known.tolist(), strict=True)
    return network.share(sum(layer.macs for layer, predicted in known if predicted))


def _prediction(network: Model, costs: LayerCosts, fit: FittedModel) -> Prediction:
    op = np.array([layer.op for layer in costs.layers])
    present = [name for name in OPERATORS if (op == name).any()]
    by_operator = {
        name: _total(costs, rows, fit)
        for name in present
        if (rows := costs.known & (op == name)).any()
    }  # fmt: skip
    total = _total(costs, costs.known, fit)
    return Prediction(
        network=network.name,
        batch=network.batch,
        unit=fit.origin.unit,
        total=total,
        per_inference=total.per(network.batch),
        covered=_share(network, costs),
        by_operator=by_operator,
        unpredicted_operators=tuple(name for name in present if name not in by_operator),
        coverage=network.coverage,
        not_covered=network.not_covered,
        layers=_layers(costs, fit.origin.gain_accuracy),
    )


def _layers(costs: LayerCosts, accuracy: float | None) -> tuple[LayerCost, ...]:
    means = costs.mean.tolist()
    ends = [
        with_gain(mean, low, high, accuracy)
        for mean, low, high in zip(means, costs.low.tolist(), costs.high.tolist(), strict=True)
    ]
    columns = [means, [low for low, _ in ends], [high for _, high in ends]]
    parts = zip(*(values.tolist() for values in costs.terms.values()), strict=True)
    terms = [dict(zip(costs.terms, one, strict=True)) for one in parts]
    return tuple(map(LayerCost, costs.layers, *columns, terms, costs.outside))


def _total(costs: LayerCosts, rows: NDArray[np.bool_], fit: FittedModel) -> PredictedCost:
    """The sum of some layers; zero where there is none."""
    sensed = sensed_sum(costs, rows, fit.predictor)
    ends = with_gain(sensed.value, sensed.low, sensed.high, fit.origin.gain_accuracy)
    return PredictedCost(sensed.value, *ends)


def sensed_sum(costs: LayerCosts, rows: NDArray[np.bool_], predictor: Predictor) -> PredictedCost:
    """The sum of some layers as the fit's own sensor would show it, without its gain; zero of no layer."""
    if not rows.any():
        return PredictedCost(0.0, 0.0, 0.0)
    amount, slope = costs.mean[rows], costs.gradient[rows].sum(axis=0)
    return PredictedCost(float(amount.sum()), *sum_interval(costs.shape[rows], amount, slope, predictor))


def _measured(
    frame: pd.DataFrame,
    networks: Sequence[Model],
    sums: Sequence[tuple[PredictedCost, MacShare]],
    fit: Origin,
) -> tuple[tuple[MeasuredNetwork, ...], tuple[str, ...]]:
    """Of each network the last usable row of it, on the fit's device, in its data type and response.

    A row's name counts from its last colon: `torchvision:resnet50` is `resnet50`. At another batch or of
    another image it is another network.

    Args:
        frame: with whole networks.
        networks: that were predicted.
        sums: what the fit's sensor would show for each (its gain is in the measurement, too), and over which
            part of the network.
        fit: where the prediction comes from.

    Returns:
        What was measured, and why a network that was measured is not compared.
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
    found, otherwise = [], []
    for network, (sensed, covered) in zip(networks, sums, strict=True):
        own = rows[(name == network.name) & (rows["N"] == network.batch)]
        same = own[_of_this_image(own, network)]
        if same.empty:
            otherwise += (
                [f"{network.name}, batch {network.batch}: {_other(own, network)}"] if len(own) else []
            )
            continue
        last = same.iloc[-1]
        measured = float(last[fit.response])
        found.append(
            MeasuredNetwork(
                network=network.name,
                batch=network.batch,
                backend=str(last.get("backend", "")),
                measured=measured,
                ratio=sensed.value / measured,
                inside=None if covered.partial else sensed.low <= measured <= sensed.high,
                covered=covered,
            )
        )
    return tuple(found), tuple(otherwise)


_IMAGE = ("C", "H", "W")


def _of_this_image(rows: pd.DataFrame, network: Model) -> NDArray[np.bool_]:
    """Which rows of a network took an input of its size; of a row that does not say, its MACs do."""
    size, macs = np.column_stack([numbers(rows, dim) for dim in _IMAGE]), numbers(rows, "macs")
    known = np.isfinite(size).all(axis=1)
    alike = known & (size == (network.image or (0, 0, 0))).all(axis=1)
    # Tools may count the MACs of a network a little differently; another image changes them by far more.
    return np.asarray(alike | (~known & (np.abs(macs / network.macs - 1) < ALIKE)))


def _other(rows: pd.DataFrame, network: Model) -> str:
    """What was measured in place of this network."""
    sizes = {"×".join(str(row[dim]) for dim in _IMAGE) for _, row in rows[list(_IMAGE)].dropna().iterrows()}
    if not sizes or network.image is None:
        return "its rows say neither the size of its input (C, H, W) nor its MACs as predicted"
    return f"measured with {', '.join(sorted(sizes))}, predicted with {'×'.join(map(str, network.image))}"
