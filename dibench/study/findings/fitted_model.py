"""What a fit hands to those who predict with it.

Everything is in joules or seconds per unit, so that nothing is rounded on the way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

PREDICTORS = ("macs", "ai", "di_weighted", "di_disjoint")
"""Models that need only a layer's shape."""

RANGED = ("macs", "weights", "inputs", "outputs")
"""Counts whose measured range is kept for each operator: outside it, a prediction is an extrapolation."""

WHOLE_NETWORKS = ("network", "family")
"""Parts of the errors that layers of different shapes have in common."""


@attrs.frozen(eq=False)
class Components:
    """What errors of log y are a sum of: a part for each row, and one for all rows of a group."""

    names: tuple[str, ...]
    """`row`, then what rows may have in common, as far as residuals tell: `layer`, `network`, `family`."""
    variances: FloatArray
    """(m,), none below zero."""
    covariance: FloatArray
    """(m, m): how well the variances are known."""
    spreads: FloatArray
    """(m, k, k): what a variance of one makes of the covariance of the fit's coefficients."""

    @property
    def of_coefficients(self) -> FloatArray:
        """Covariance (k, k) of the coefficients."""
        return np.asarray(np.tensordot(self.variances, self.spreads, 1))


@attrs.frozen(eq=False)
class Predictor:
    """The coefficients of one model, and how far measurements lie from its curve."""

    names: tuple[str, ...]
    values: FloatArray
    """(k,), none below zero; α of `di_disjoint` is the last."""
    errors: Components
    """Of log y around the curve; `spreads` are of `values`, zero where a coefficient is held at zero."""
    unseen_log: float
    """Standard deviation of log y around the curve for layers that the fit has not seen: the held-out error
    where that is larger."""

    @property
    def residual_log(self) -> float:
        """Standard deviation of log y around the curve, all parts of the errors together."""
        return math.sqrt(float(self.errors.variances.sum()))

    @property
    def network_log(self) -> float | None:
        """The same of what all layers of a network have in common; None where the rows cannot tell."""
        common = np.isin(self.errors.names, WHOLE_NETWORKS)
        return math.sqrt(float(self.errors.variances[common].sum())) if common.any() else None


@attrs.frozen(eq=False)
class PowerAndTime:
    """What the device draws whatever it computes, and the fit of time that says for how long."""

    power_w: float
    column: str
    """Of the CSV contract: `active_idle_power_w` or `idle_power_w`."""
    time: Predictor
    """Weighted DI, fitted to the times of the same rows."""


@attrs.frozen(eq=False)
class Predictors:
    """The models of one fit that can predict."""

    models: Mapping[str, Predictor | None]
    """By name; None where the errors of a model cannot be estimated."""
    ranges: Mapping[str, Mapping[str, tuple[float, float]]]
    """Least and most of each of `RANGED` in the rows, by operator."""
    constant_power: PowerAndTime | None
    """None for a fit of time, and where the rows hold no idle power."""


@attrs.frozen(kw_only=True)
class Origin:
    """Which model of which fit predicts, and what."""

    model: str
    device: str
    dtype: str
    response: str
    """Column of the CSV contract that was fitted: `time_s` or an energy."""
    energy_source: tuple[str, ...]
    measured: bool
    """False for modelled or simulated energy: predictions are then a check of the pipeline."""
    basis: str
    backend: str = ""
    """What ran the layers that were fitted, `torch` for PyTorch's library; empty where rows do not say."""
    gain_accuracy: float | None = None
    """How far the sensor's gain may be off, as declared, a fraction; part of predicted joules' intervals."""
    level: float = 0.95
    """Of every interval."""
    disturbed: float = 0.0
    """Of the rows that the fit could have used, those flagged or too wide to count."""

    @property
    def is_time(self) -> bool:
        """Whether seconds are predicted, not joules."""
        return self.response == "time_s"

    @property
    def unit(self) -> str:
        """`J` or `s`."""
        return "s" if self.is_time else "J"


@attrs.frozen(eq=False, kw_only=True)
class FittedModel:
    """One model of one fit, ready to predict."""

    origin: Origin
    predictor: Predictor
    ranges: Mapping[str, Mapping[str, tuple[float, float]]]
    """See `Predictors`."""
    constant_power: PowerAndTime | None = None

    def of_time(self, time: Predictor) -> FittedModel:
        """The fit of time beside a fit of energy."""
        origin = attrs.evolve(self.origin, model="di_weighted", response="time_s", gain_accuracy=None)
        return FittedModel(origin=origin, predictor=time, ranges=self.ranges)
