"""Where a network's cost comes from, and what changes of its design would save."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs

from dibench.study.findings.fitted_model import Origin
from dibench.study.findings.plain import INLINE, Result
from dibench.study.findings.prediction import PredictedCost, Prediction


def over_layers(terms: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Each term of a cost, summed over the layers that are predicted; the others have NaN.

    >>> over_layers({"MACs": (1.0, float("nan"), 2.0), "weights": (0.5, float("nan"), 0.5)})
    {'MACs': 3.0, 'weights': 1.0}
    """
    return {
        term: math.fsum(value for value in values if not math.isnan(value)) for term, values in terms.items()
    }


@attrs.frozen(kw_only=True)
class Saving:
    """What one change saves per inference, in joules or seconds; negative where it costs."""

    knob: str
    setting: str
    where: str
    saved: PredictedCost
    share: float | None
    """Of the cost of one inference; None where the network's total is partial."""
    macs: float | None
    """Multiply-adds per inference after the change, relative to before; None where not all are known."""
    outside: bool
    """Whether a layer that enters lies outside the range that was measured."""
    certain: bool
    """Whether the interval holds savings only."""


@attrs.frozen
class DrawnPower:
    """What the device draws whatever it computes."""

    power_w: float
    column: str
    """Of the CSV contract: `active_idle_power_w` or `idle_power_w`."""


@attrs.frozen(kw_only=True)
class Explanation(Result):
    """A network's prediction, and the changes that save, most first."""

    origin: Origin = attrs.field(metadata=INLINE)
    prediction: Prediction = attrs.field(metadata=INLINE)
    terms: Mapping[str, tuple[float, ...]]
    """What each layer's cost is made of, by term; constant power among them where the fit knows it."""
    dominant: tuple[str | None, ...]
    """The term of each layer that costs most; None where the fit lacks its operator."""
    constant_power: DrawnPower | None
    savings: tuple[Saving, ...]
    """Changes with a saving above zero."""
    changes_that_save_nothing: int
    changes_not_predictable: Mapping[str, int]
    """Changes that would need an operator the fit lacks, by operator."""
    whole_network_changes_left_out: int
    """Of batch and data type, where the total is partial: they also change what it leaves out."""
