"""What networks will cost on the device of a fit: by layer, by operator, in total."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from dibench.study.findings.fitted_model import Origin
from dibench.study.findings.plain import INLINE, Result

if TYPE_CHECKING:
    from dibench.layer import Layer
    from dibench.models import NotCovered
    from dibench.models.model import MacShare
    from dibench.study.findings.between_layers import WholeCosts
    from dibench.study.findings.comparison import PaceApart


@attrs.frozen
class PredictedCost:
    """A mean with the 95% interval of a measurement, in joules or seconds."""

    value: float
    low: float
    high: float

    def per(self, number: float) -> PredictedCost:
        """The same divided by a number."""
        return PredictedCost(self.value / number, self.low / number, self.high / number)

    def widened(self, half_log: float) -> PredictedCost:
        """The same with a further, independent doubt: the half-width of its 95% interval, a logarithm.

        >>> PredictedCost(1.0, 1.0, 1.0).widened(math.log(2.0))
        PredictedCost(value=1.0, low=0.5, high=2.0)
        """
        if not half_log or self.low <= 0:
            return self
        below, above = (math.hypot(math.log(end / self.value), half_log) for end in (self.low, self.high))
        return PredictedCost(self.value, self.value * math.exp(-below), self.value * math.exp(above))


@attrs.frozen
class LayerCost:
    """One layer's cost with its 95% interval; not a number where the fit lacks the layer's operator."""

    layer: Layer = attrs.field(metadata=INLINE)
    value: float
    low: float
    high: float
    terms: Mapping[str, float]
    """Parts of `value`, by what they pay for: `MACs`, `weights`, `launch` and the like."""
    outside: str
    """How far the layer lies outside the measured range, as `weights 3.1× above`; empty inside."""

    @property
    def known(self) -> bool:
        """Whether the fit has the layer's operator."""
        return math.isfinite(self.value)


@attrs.frozen(kw_only=True)
class Prediction:
    """One network at one batch size."""

    network: str
    batch: int
    unit: str
    total: PredictedCost
    """Of one batch, over the layers that have a prediction."""
    per_inference: PredictedCost
    """The total divided by the batch size."""
    covered: MacShare = attrs.field(metadata=INLINE)
    """Of the model's multiply-adds, what the total holds: where it is partial, the network costs more."""
    by_operator: Mapping[str, PredictedCost]
    unpredicted_operators: tuple[str, ...]
    """Operators of the network that the fit has not seen; their layers are in no total."""
    coverage: str
    """One line: how many of the model's MACs its layers are."""
    not_covered: tuple[NotCovered, ...]
    layers: tuple[LayerCost, ...]

    @property
    def extrapolated(self) -> float:
        """The share of the total in layers outside the range that was measured."""
        outside = sum(layer.value for layer in self.layers if layer.known and layer.outside)
        return outside / self.total.value if self.total.value else 0.0


@attrs.frozen(kw_only=True)
class MeasuredNetwork:
    """One network's measurement, and how its prediction compares; joules or seconds of one batch."""

    network: str
    batch: int
    backend: str
    measured: float
    ratio: float
    """Predicted over measured; below one by what runs between the layers, if the layers are right."""
    inside: bool | None
    """Whether the measurement lies in the interval of the sum of layers; None where that sum is partial."""
    covered: MacShare = attrs.field(metadata=INLINE)
    """Of the network's multiply-adds, what the predicted sum holds."""


@attrs.frozen
class Scatter:
    """How far measurements lie from the fit's curve, as standard deviations of log cost."""

    layers: float
    """Of single layers."""
    network: float | None
    """What all layers of a network, or of its family, have in common, which stays in a total; None where the
    fit's rows are of too few networks to tell."""


@attrs.frozen(kw_only=True)
class BesideLibrary:
    """One network at one batch size by a fit of PyTorch's library, and what that costs over ours."""

    prediction: Prediction = attrs.field(metadata=INLINE)
    """By the library's fit."""
    ratio: PredictedCost | None
    """Of the totals, above one where ours takes less; None where either is partial."""
    ratio_by_operator: Mapping[str, PredictedCost]
    """Of the operators that both fits have."""


@attrs.frozen(kw_only=True)
class Library:
    """The same networks by a fit of PyTorch's library on the same device."""

    origin: Origin = attrs.field(metadata=INLINE)
    beside: tuple[BesideLibrary, ...]
    """In the order of `Predictions.predictions`."""
    measured_networks: tuple[MeasuredNetwork, ...] = ()


@attrs.frozen(kw_only=True)
class Predictions(Result):
    """Networks and batch sizes side by side, all from one fit."""

    origin: Origin = attrs.field(metadata=INLINE)
    scatter: Scatter
    predictions: tuple[Prediction, ...]
    measured_networks: tuple[MeasuredNetwork, ...] = ()
    measured_otherwise: tuple[str, ...] = ()
    """Networks that were measured with another input than is predicted, in words; they are not compared."""
    pace_apart: PaceApart | None = None
    """How far the machine's usual pace while networks were measured (B) lay from that of the fit's sweep (A);
    None where their times are as they were measured."""
    library: Library | None = None
    """None where no fit of the library was given."""
    whole: WholeCosts | None = None
    """The same networks with what runs between their layers; None where no whole network was given."""


@attrs.frozen(kw_only=True)
class NetworkCosts:
    """What the costs of some networks are made of, constant power among it."""

    origin: Origin
    predictions: tuple[Prediction, ...]
    terms: tuple[Mapping[str, tuple[float, ...]], ...]
    """Of each network, by term, a part of each layer's cost."""
