"""What whole networks will cost: their layers, and what runs between them."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from dibench.study.findings.prediction import PredictedCost


@attrs.frozen(kw_only=True)
class Between:
    """What runs between the layers of networks that were measured whole, and how well it is known."""

    coefficients: Mapping[str, float]
    """`layers`: by how much a network's layers cost more in it than alone; joules or seconds for each of
    `elements` (outputs of layers) and `calls` (layers). Only terms that were fitted."""
    measurements: int
    networks: int
    families: int
    factors: tuple[float, float, float]
    """Measured over the sum of predicted layers: least, geometric mean, most."""
    unseen: float
    """Standard deviation of log cost around predictions of families that were left out."""
    inside: int
    """Of `measurements`, those inside the 95% interval that a fit without their family states."""


@attrs.frozen(kw_only=True)
class WholeCost:
    """One network at one batch size, in joules or seconds of one batch."""

    network: str
    batch: int
    unit: str
    layers: PredictedCost
    """The sum of its layers."""
    total: PredictedCost
    factor: PredictedCost
    """`total` over the sum of its layers."""
    terms: Mapping[str, float]
    """Parts of `total`, by term of `Between.coefficients`."""
    others: int
    """Other networks that were measured, to which it was fitted."""
    measured: float | None
    """Of this network, if it was measured, too."""
    inside: bool | None
    """Whether that lies in the interval of a measurement by the same sensor."""


@attrs.frozen(kw_only=True)
class WholeCosts:
    """Networks with what runs between their layers; or why that is not known."""

    between: Between | None
    predicted: tuple[WholeCost, ...] = ()
    not_used: tuple[str, ...] = ()
    """Measured networks that it is not fitted to, and why, in words."""
    reason: str = ""
    """Why there is no fit."""
