"""What networks cost through PyTorch's library beside what they cost through our kernels.

Two fits of one device, in one data type and response: of our kernels, and of the same layers through the
library (backend `torch`). Each predicts by itself, so the errors of a ratio are those of both: distances of
the ends of their intervals from the values, in logarithms and as squares. What a network does alike to both
is in both intervals, which makes that of the ratio too wide rather than too narrow. The gain of the sensor is
in neither, as both fits have the same one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np

from dibench.errors import UserError
from dibench.intensity import OPERATORS
from dibench.schema import LIBRARY
from dibench.study.findings.prediction import BesideLibrary, Library, PredictedCost, Prediction, Predictions
from dibench.study.use.costs import layer_costs
from dibench.study.use.predict import predict, sensed_sum

if TYPE_CHECKING:
    import pandas as pd

    from dibench.models import Model
    from dibench.study.findings.comparison import PaceApart
    from dibench.study.findings.fitted_model import FittedModel

_ALIKE = ("device", "dtype", "response")
"""What both fits must be of; of joules also the same source."""


def predict_beside(
    networks: Sequence[Model],
    fit: FittedModel,
    library: FittedModel,
    *,
    measured: pd.DataFrame | None = None,
    pace_apart: PaceApart | None = None,
) -> Predictions:
    """`predict` by a fit of our kernels, with the library's costs beside them.

    Args:
        networks: each at its batch size.
        fit: one model of a fit of our kernels.
        library: the same model of a fit of rows of the library.
        measured: a table with whole networks, to hold both against.
        pace_apart: as of `predict`.

    Raises:
        UserError: the fits are not of the same device, data type and response, or not of ours and the
        library; or what `predict` refuses.
    """
    check_library(fit, library)
    ours = predict(networks, fit, measured=measured, pace_apart=pace_apart)
    try:
        theirs = predict(networks, library, measured=measured, pace_apart=pace_apart)
    except UserError as error:
        raise UserError(error.field, error.rule, where="--library") from None
    beside = tuple(
        _beside(network, own, other, fit, library)
        for network, own, other in zip(networks, ours.predictions, theirs.predictions, strict=True)
    )
    found = Library(origin=library.origin, beside=beside, measured_networks=theirs.measured_networks)
    return attrs.evolve(ours, library=found)


def check_library(fit: FittedModel, library: FittedModel) -> None:
    """Refuse fits that cannot stand beside each other.

    Raises:
        UserError: they differ in more than what ran the layers, or not in that.
    """
    own, theirs = fit.origin, library.origin
    if theirs.backend != LIBRARY:
        rule = f"must be a fit of rows of PyTorch's library, `fit CSV --backend {LIBRARY} --json FILE`"
        raise UserError("--library", rule, f"backend {theirs.backend or 'not given'}")
    if own.backend == LIBRARY:
        raise UserError(
            "--fit", "must be a fit of our kernels where --library is given", f"backend {LIBRARY}"
        )
    for what in _ALIKE if own.is_time else (*_ALIKE, "energy_source"):
        mine, other = getattr(own, what), getattr(theirs, what)
        if mine != other:
            raise UserError("--library", f"must have the {what} of --fit, {_text(mine)}", _text(other))


def _text(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value) or "not given"


def _beside(
    network: Model, ours: Prediction, theirs: Prediction, fit: FittedModel, library: FittedModel
) -> BesideLibrary:
    sums = [(layer_costs(network.layers, one), one.predictor) for one in (fit, library)]
    op = np.array([layer.op for layer in network.layers])

    def ratio(which: str | None) -> PredictedCost:
        own, other = (
            sensed_sum(costs, costs.known if which is None else costs.known & (op == which), predictor)
            for costs, predictor in sums
        )
        return _ratio(other, own)

    partial = ours.covered.partial or theirs.covered.partial
    return BesideLibrary(
        prediction=theirs,
        ratio=None if partial else ratio(None),
        ratio_by_operator={
            name: ratio(name) for name in OPERATORS if name in ours.by_operator and name in theirs.by_operator
        },
    )


def _ratio(upper: PredictedCost, lower: PredictedCost) -> PredictedCost:
    """A quotient of two lognormal sums that err independently.

    >>> one, two = PredictedCost(4.0, 2.0, 8.0), PredictedCost(2.0, 2.0, 2.0)
    >>> _ratio(one, two)
    PredictedCost(value=2.0, low=1.0, high=4.0)
    """
    value = upper.value / lower.value
    down = math.hypot(math.log(upper.value / upper.low), math.log(lower.high / lower.value))
    up = math.hypot(math.log(upper.high / upper.value), math.log(lower.value / lower.low))
    return PredictedCost(value, value * math.exp(-down), value * math.exp(up))
