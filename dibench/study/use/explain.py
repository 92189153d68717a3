"""Where a network's cost comes from, and which changes of its design would save most of it.

A saving is a difference of two predictions of one fit, so their errors are correlated: errors of the
coefficients enter by the difference of the gradients, and what stays in the network cancels. Residuals of
shapes that leave or enter do not cancel. A difference may have either sign, so its 95% interval is by
Student's t, not lognormal.

Of a network whose total is partial only changes of single layers are told, as what they save and not as a
share of the cost: the rest of the network stays as it is, whatever it costs. A change of batch or data type
changes that rest, too, so its saving is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.errors import UserError
from dibench.study.findings.explanation import DrawnPower, Explanation, Saving
from dibench.study.findings.prediction import NetworkCosts, PredictedCost, Prediction
from dibench.study.maths.inference import student_quantile
from dibench.study.table.gain import with_gain
from dibench.study.use.costs import LayerCosts, layer_costs, operators_of
from dibench.study.use.predict import predict
from dibench.study.use.redesign import changes
from dibench.study.use.sums import sum_degrees, sum_variance

if TYPE_CHECKING:
    from dibench.layer import Layer
    from dibench.models import Model
    from dibench.study.findings.fitted_model import FittedModel, Predictor

FloatArray = NDArray[np.float64]

CONSTANT = "constant power"
"""The term of what the device draws whatever it computes."""


BATCHES = (1, 8, 32)
"""Batch sizes that are tried as a change."""


def other_batches(load: Callable[[int], Model], own: int) -> tuple[list[Model], dict[int, UserError]]:
    """A network at the other sizes of BATCHES, and why it cannot be had at some.

    Args:
        load: gives the network at a batch size; it refuses where a file, or a given shape, fixes the batch.
        own: the size that it is used with.
    """
    found, refused = [], dict[int, UserError]()
    for size in BATCHES:
        if size == own:
            continue
        try:
            found.append(load(size))
        except UserError as error:
            refused[size] = error
    return found, refused


def explain(
    network: Model, fit: FittedModel, *, batches: Sequence[Model] = (), dtypes: Sequence[FittedModel] = ()
) -> Explanation:
    """Explain a network's cost and rank the changes of its design.

    Args:
        network: at the batch it is used with.
        fit: one model of a fit.
        batches: the same network at other batch sizes.
        dtypes: the same model fitted to other data types on the same device.
    """
    (prediction,) = predict([network], fit).predictions
    possible = changes(network.layers)
    new = [*(change.added for change in possible), *(other.layers for other in batches)]
    pool = _Pool.of(network, [layer for layers in new for layer in layers], fit, prediction)
    savings, lacking = [], dict[str, int]()
    end = len(network.layers)
    for change in possible:
        entering = np.arange(end, end := end + len(change.added))
        missing = {pool.costs.layers[row].op for row in entering if not pool.costs.known[row]}
        for op in missing:
            lacking[op] = lacking.get(op, 0) + 1
        if not missing and pool.costs.known[list(change.removed)].all():
            sign = np.zeros(len(pool.costs.layers))
            np.add.at(sign, list(change.removed), 1.0 / network.batch)
            sign[entering] -= 1.0 / network.batch
            savings.append(pool.saving((change.knob, change.setting, change.where), sign, entering))
    own = pool.costs.part(0, len(network.layers))
    partial = prediction.covered.partial
    for other in () if partial else batches:
        entering = np.arange(end, end := end + len(other.layers))
        sign = np.zeros(len(pool.costs.layers))
        sign[: len(network.layers)] = 1.0 / network.batch
        sign[entering] -= 1.0 / other.batch
        setting = f"{other.batch} in place of {network.batch}"
        savings.append(pool.saving(("batch", setting, "the whole network"), sign, entering))
    for another in () if partial else dtypes:
        after = layer_costs(network.layers, another)
        for op in {layer.op for layer, known in zip(after.layers, after.known, strict=True) if not known}:
            lacking[op] = lacking.get(op, 0) + 1
        if after.known.all():
            savings.append(_by_dtype(network, own, after, fit, another))
    worth = sorted((one for one in savings if one.saved.value > 0), key=lambda one: -one.saved.value)
    terms = _with_constant_power(own, fit)
    power = fit.constant_power
    return Explanation(
        origin=fit.origin,
        prediction=prediction,
        terms=_plain(terms),
        dominant=_dominant(terms, own.known),
        constant_power=None if power is None else DrawnPower(power.power_w, power.column),
        savings=tuple(worth),
        changes_that_save_nothing=len(savings) - len(worth),
        changes_not_predictable=lacking,
        whole_network_changes_left_out=len(batches) + len(dtypes) if partial else 0,
    )


def network_costs(networks: Sequence[Model], fit: FittedModel) -> NetworkCosts:
    """What each network will cost, and what the cost of each of its layers is made of.

    Networks of which the fit can predict no layer are left out.
    """
    operators = operators_of(fit)
    networks = [one for one in networks if any(layer.op in operators for layer in one.layers)]
    found = predict(networks, fit).predictions
    terms = [_with_constant_power(layer_costs(network.layers, fit), fit) for network in networks]
    return NetworkCosts(origin=fit.origin, predictions=found, terms=tuple(map(_plain, terms)))


def _plain(terms: Mapping[str, FloatArray]) -> dict[str, tuple[float, ...]]:
    return {term: tuple(values.tolist()) for term, values in terms.items()}


def _dominant(terms: Mapping[str, FloatArray], known: NDArray[np.bool_]) -> tuple[str | None, ...]:
    """The term of each layer that costs most."""
    names, values = list(terms), np.stack(list(terms.values()))
    return tuple(
        names[int(values[:, row].argmax())] if here else None for row, here in enumerate(known.tolist())
    )


def _with_constant_power(costs: LayerCosts, fit: FittedModel) -> Mapping[str, FloatArray]:
    """The terms of layers with what the device draws whatever it computes: power times predicted time.

    Energy above idle leaves constant power out, so it comes on top. Gross energy holds it in every term, in
    proportion to the term's share of time: it is taken out of the terms, as far as they hold it.
    """
    if fit.constant_power is None:
        return costs.terms
    power = fit.constant_power.power_w
    times = layer_costs(costs.layers, fit.of_time(fit.constant_power.time)).terms
    if fit.origin.response != "energy_j":
        return {**costs.terms, CONSTANT: power * np.add.reduce(list(times.values()))}
    held = {term: np.minimum(power * times[term], costs.terms[term]) for term in costs.terms if term in times}
    rest = {term: values - held.get(term, 0.0) for term, values in costs.terms.items()}
    return {**rest, CONSTANT: np.add.reduce(list(held.values()))}


@attrs.frozen
class _Pool:
    """Layers of a network, then all that may take their place; what a change leaves of the whole."""

    costs: LayerCosts
    predictor: Predictor
    macs: float | None
    """Of one inference before a change, as `cost`; None where not all are known."""
    cost: float | None
    """None where the network's total is partial."""
    gain_accuracy: float | None

    @classmethod
    def of(cls, network: Model, new: Sequence[Layer], fit: FittedModel, before: Prediction) -> _Pool:
        costs = layer_costs([*network.layers, *new], fit)
        covered = before.covered
        macs = None if covered.macs_unknown else covered.macs_known / network.batch
        cost = None if covered.partial else before.per_inference.value
        return cls(costs, fit.predictor, macs, cost, fit.origin.gain_accuracy)

    def saving(self, change: tuple[str, str, str], sign: FloatArray, entering: NDArray[np.intp]) -> Saving:
        """What a change saves: a weighted sum of layers' costs.

        Args:
            change: knob, setting and where.
            sign: weight of each layer, positive for what leaves and negative for what enters.
            entering: positions of the layers that enter.
        """
        knob, setting, where = change
        rows, costs = sign != 0, self.costs
        amount = sign[rows] * costs.mean[rows]
        slope = sign[rows] @ costs.gradient[rows]
        of_sum = (costs.shape[rows], amount, slope, self.predictor)
        saved = _symmetric(
            float(amount.sum()), sum_variance(*of_sum), sum_degrees(*of_sum), self.gain_accuracy
        )
        macs = float(sum(sign[row] * costs.layers[row].macs for row in np.flatnonzero(sign).tolist()))
        return Saving(
            knob=knob,
            setting=setting,
            where=where,
            saved=saved,
            share=None if self.cost is None else saved.value / self.cost,
            macs=None if self.macs is None else 1 - macs / self.macs,
            outside=any(costs.outside[row] for row in entering),
            certain=saved.low > 0,
        )


def _symmetric(value: float, variance: float, degrees: float, accuracy: float | None) -> PredictedCost:
    half = student_quantile(degrees) * float(np.sqrt(variance))
    return PredictedCost(value, *with_gain(value, value - half, value + half, accuracy))


def _by_dtype(
    network: Model, before: LayerCosts, after: LayerCosts, fit: FittedModel, other: FittedModel
) -> Saving:
    """The saving of another data type. Its fit errs by itself, so variances add."""
    sums = _sum(before, fit.predictor), _sum(after, other.predictor)
    variance = sum(sum_variance(*one) for one in sums)
    cost = float(before.mean.sum()) / network.batch
    amount = cost - float(after.mean.sum()) / network.batch
    degrees = min(sum_degrees(*one) for one in sums)
    saved = _symmetric(amount, variance / network.batch**2, degrees, fit.origin.gain_accuracy)
    return Saving(
        knob="dtype",
        setting=f"{other.origin.dtype} in place of {fit.origin.dtype}",
        where="the whole network",
        saved=saved,
        share=amount / cost,
        macs=1.0,
        outside=any(after.outside),
        certain=saved.low > 0,
    )


def _sum(
    costs: LayerCosts, predictor: Predictor
) -> tuple[NDArray[np.intp], FloatArray, FloatArray, Predictor]:
    """Layers that all have a prediction, as `sums` takes them."""
    return costs.shape, costs.mean, costs.gradient.sum(axis=0), predictor
