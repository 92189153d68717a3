"""What a whole network costs beyond its layers, fitted to networks that were measured whole.

A whole network is taken to cost c·L + a·Y + b·n: L is the predicted sum of its layers, Y the outputs of these
(what normalisations, activations and additions pass over) and n their number (each calls the framework
several times). c, a and b are not below zero, fitted to log cost. Fewer networks than three a coefficient
tell c alone. What errors have in common is told apart as in a fit of layers (`maths.components`): for rows,
networks and architecture families. So the interval is of a network of a family that was not measured, and
how often it holds is counted by leaving out each family in turn.

The errors of the layers' own fit are in it too, as they are in what was measured over what was predicted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.intervals import t_975
from dibench.numbers import count
from dibench.study.findings.between_layers import Between, WholeCost, WholeCosts
from dibench.study.findings.fitted_model import Predictor
from dibench.study.findings.prediction import PredictedCost
from dibench.study.maths.components import components
from dibench.study.maths.estimate import fit_log
from dibench.study.maths.inference import clustering
from dibench.study.maths.scores import rmse_log
from dibench.study.table.families import family_of, given_families
from dibench.study.table.gain import with_gain
from dibench.study.use.predict import predict
from dibench.study.use.sums import layer_intervals

if TYPE_CHECKING:
    import pandas as pd

    from dibench.models import Model
    from dibench.study.findings.fitted_model import FittedModel
    from dibench.study.findings.prediction import Prediction, Predictions

FloatArray = NDArray[np.float64]
Mask = NDArray[np.bool_]
Names = NDArray[np.str_]

TERMS = ("layers", "elements", "calls")
FEWEST_NETWORKS, FEWEST_FAMILIES = 5, 3
"""As for the held-out error of whole networks in a fit."""
NETWORKS_A_TERM = 3


def whole_costs(
    found: Predictions, others: Sequence[Model], measured: pd.DataFrame, fit: FittedModel
) -> WholeCosts:
    """What the predicted networks cost with what runs between their layers.

    Args:
        found: predictions of their layers by `fit`.
        others: the networks that were measured; a network does not tell of itself.
        measured: the table with whole networks (rows of op `network`).
        fit: one model of a fit.

    Raises:
        UserError: as `predict` does.
    """
    known, not_used = known_of(others, measured, fit)
    between = _between(known) if known.is_enough else None
    if between is None:
        return WholeCosts(between=None, not_used=not_used, reason=known.lacking)
    accuracy = fit.origin.gain_accuracy
    whole = [one for one in found.predictions if not one.covered.partial]
    open_log = 0.0 if found.pace_apart is None else t_975(math.inf) * found.pace_apart.common_sd
    made = [cost for one in whole if (cost := _whole(one, known, accuracy, open_log)) is not None]
    partly = (_only_partly(one) for one in found.predictions if one.covered.partial)
    return WholeCosts(
        between=between, predicted=tuple(made), not_used=tuple(dict.fromkeys((*partly, *not_used)))
    )


def _only_partly(one: Prediction) -> str:
    return f"{one.network}, batch {one.batch}: layers of only {one.covered.text} can be predicted"


def _whole(one: Prediction, known: Known, accuracy: float | None, open_log: float) -> WholeCost | None:
    """One network by all others that were measured; None where these are too few.

    `open_log` is what the machine's pace leaves open in all of these: the half-width of a logarithm.
    """
    others = known.only(known.network != one.network)
    if not others.is_enough:
        return None
    predictor = fit_known(others)
    terms = np.array([_terms(one)])
    total = PredictedCost(*(float(values[0]) for values in predict_whole(terms, predictor)))
    mean, low, high = attrs.astuple(total.widened(open_log))
    parts = terms[0, : len(predictor.names)] * predictor.values
    parts *= mean / parts.sum()
    own = known.cost[(known.network == one.network) & (known.batch == one.batch)]
    return WholeCost(
        network=one.network,
        batch=one.batch,
        unit=one.unit,
        layers=one.total,
        total=PredictedCost(mean, *with_gain(mean, low, high, accuracy)),
        factor=PredictedCost(mean, low, high).per(one.total.value),
        terms=dict(zip(predictor.names, parts.tolist(), strict=True)),
        others=others.networks,
        measured=float(own[0]) if len(own) else None,
        inside=bool(low <= own[0] <= high) if len(own) else None,
    )


def _between(known: Known) -> Between:
    """The fit to all, and how well fits without a family predict it."""
    predictor = fit_known(known)
    factor = known.cost / known.terms[:, 0]
    inside = np.zeros(len(known.cost), dtype=bool)
    told = np.zeros(len(known.cost), dtype=bool)
    for family in np.unique(known.family):
        out = known.family == family
        rest = known.only(~out)
        if rest.is_enough:
            told |= out
            _, low, high = predict_whole(known.terms[out], fit_known(rest))
            inside[out] = (low <= known.cost[out]) & (known.cost[out] <= high)
    return Between(
        coefficients=dict(zip(predictor.names, predictor.values.tolist(), strict=True)),
        measurements=int(told.sum()),
        networks=known.networks,
        families=known.families,
        factors=(float(factor.min()), float(np.exp(np.log(factor).mean())), float(factor.max())),
        unseen=predictor.unseen_log,
        inside=int(inside.sum()),
    )


@attrs.frozen(eq=False)
class Known:
    """Measured networks: arrays of length n."""

    network: Names
    batch: NDArray[np.intp]
    family: Names
    terms: FloatArray
    """(n, 3): what `TERMS` multiply."""
    cost: FloatArray
    """As measured."""

    def only(self, rows: Mask) -> Known:
        """Some of them."""
        return Known(
            self.network[rows], self.batch[rows], self.family[rows], self.terms[rows], self.cost[rows]
        )

    @property
    def networks(self) -> int:
        """Different ones."""
        return len(np.unique(self.network))

    @property
    def families(self) -> int:
        """Different ones."""
        return len(np.unique(self.family))

    @property
    def is_enough(self) -> bool:
        """Whether they can tell of a network of another family."""
        return self.networks >= FEWEST_NETWORKS and self.families >= FEWEST_FAMILIES

    @property
    def lacking(self) -> str:
        """Why they are not enough."""
        families = "1 family" if self.families == 1 else f"{self.families} families"
        return (
            f"{count(self.networks, 'measured network')} of {families} cannot tell it: it takes "
            f"{FEWEST_NETWORKS} networks of {FEWEST_FAMILIES} families"
        )


def known_of(
    others: Sequence[Model], measured: pd.DataFrame, fit: FittedModel
) -> tuple[Known, tuple[str, ...]]:
    """The measured networks whose layers can all be predicted, and why others cannot be used."""
    operators = {name.partition("[")[2].rstrip("]") for name in fit.predictor.names if "[" in name}
    usable = [one for one in others if operators.intersection(layer.op for layer in one.layers)]
    not_used = [
        f"{one.name}, batch {one.batch}: none of it can be predicted" for one in others if one not in usable
    ]
    found = predict(usable, fit, measured=measured)
    costs = {(one.network, one.batch): one.measured for one in found.measured_networks}
    families = given_families(measured)
    kept = []
    for one in found.predictions:
        if one.covered.partial:
            not_used.append(_only_partly(one))
        elif (one.network, one.batch) in costs:
            kept.append(one)
    return Known(
        network=np.array([one.network for one in kept], dtype=np.str_),
        batch=np.array([one.batch for one in kept], dtype=np.intp),
        family=np.array([families.get(one.network) or family_of(one.network) for one in kept], dtype=np.str_),
        terms=np.array([_terms(one) for one in kept]).reshape(-1, len(TERMS)),
        cost=np.array([costs[one.network, one.batch] for one in kept]),
    ), (*not_used, *found.measured_otherwise)


def _terms(one: Prediction) -> tuple[float, ...]:
    return one.total.value, float(sum(cost.layer.outputs for cost in one.layers)), float(len(one.layers))


def fit_known(known: Known) -> Predictor:
    """c, a and b with their errors; how far families that were left out lie from the fit is in them."""
    predictor = _fit(known)
    unseen = np.full(len(known.cost), np.nan)
    for family in np.unique(known.family):
        out = known.family == family
        rest = known.only(~out)
        if rest.is_enough:
            unseen[out] = known.terms[out, : len(predictor.names)] @ _fit(rest, predictor.names).values
    seen = np.isfinite(unseen)
    error = rmse_log(known.cost[seen], unseen[seen]) if seen.any() else 0.0
    return attrs.evolve(predictor, unseen_log=max(predictor.residual_log, error))


def _fit(known: Known, names: tuple[str, ...] = ()) -> Predictor:
    names = names or TERMS[: 3 if known.networks >= NETWORKS_A_TERM * len(TERMS) else 1]
    columns = known.terms[:, : len(names)]
    fitted = fit_log(columns, known.cost, nonnegative=True)
    free = fitted.parameters > 0
    labels = {"network": known.network, "family": known.family}
    clusterings = [clustering(name, own, draws=1, seed=0) for name, own in labels.items()]
    errors = components(fitted.jacobian[:, free], fitted.residuals, clusterings)
    assert errors is not None
    spreads = np.zeros((len(errors.names), len(names), len(names)))
    spreads[np.ix_(np.arange(len(errors.names)), free, free)] = errors.spreads
    return Predictor(
        names=names,
        values=fitted.parameters,
        errors=attrs.evolve(errors, spreads=spreads),
        unseen_log=math.sqrt(float(errors.variances.sum())),
    )


def predict_whole(terms: FloatArray, predictor: Predictor) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Means and 95% intervals of measurements, each (n,), of networks with these terms (n, 3)."""
    lift = float(np.exp(predictor.residual_log**2 / 2))  # the fit is of the median
    slope = lift * terms[:, : len(predictor.names)]
    mean = slope @ predictor.values
    return mean, *layer_intervals(mean, slope, predictor)
