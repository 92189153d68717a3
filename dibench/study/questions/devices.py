"""Several cards: a fit of each, all of them together with a gain per card, and α compared between them.

A card's power sensor is off by a factor of its own, several percent, the same in all its rows. So rows of two
cards are never pooled as if they were one card's: the joint fit has, beside the common coefficients, a gain
for every card but the first. α is a ratio of two coefficients of one card, and no gain enters it: between
cards it can be compared as it is.

    log E = log gain[card] + log(Σ e₀[op]·M + e_w·W + e_a·A + e_launch)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.errors import UserError
from dibench.study.ladder.fit import SEED, Fit, fit, make_clusterings
from dibench.study.ladder.models import Data, design
from dibench.study.maths.inference import DRAWS, Clustering, cluster_covariance, student_quantile
from dibench.study.maths.minimise import minimise, whole
from dibench.study.table.columns import texts

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]


@attrs.frozen
class Card:
    """One card and what its own rows say; `why_not` where they cannot be fitted."""

    device: str
    uuid: str
    fit: Fit | None
    why_not: str = ""

    @property
    def label(self) -> str:
        """The model, and of the identity what tells cards of one model apart."""
        return f"{self.device} ({self.uuid})" if self.uuid else self.device


@attrs.frozen
class Estimate:
    """A value with its 95% interval; None where it cannot be had."""

    value: float | None
    ci_low: float | None
    ci_high: float | None


UNKNOWN = Estimate(None, None, None)


@attrs.frozen
class Joint:
    """Common coefficients, a gain per card; the interval of α from cluster-robust errors."""

    cards: tuple[str, ...]
    rows: int
    alpha: Estimate
    gains: tuple[Estimate, ...]
    """Of each card over the first, whose gain is one."""
    clusters: int


@attrs.frozen
class Difference:
    """α of one card less that of another; rows of one layer or network are one cluster on both."""

    first: str
    second: str
    alpha: Estimate


@attrs.frozen
class Cards:
    """All cards of a table."""

    cards: tuple[Card, ...]
    joint: Joint | None
    differences: tuple[Difference, ...]
    why_not_joint: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values; each card's own fit complete."""
        return {
            "cards": [
                {
                    "device": card.device,
                    "device_uuid": card.uuid,
                    "label": card.label,
                    "why_not": card.why_not,
                    "fit": None if card.fit is None else card.fit.to_json(),
                }
                for card in self.cards
            ],
            "joint": None if self.joint is None else attrs.asdict(self.joint),
            "why_not_joint": self.why_not_joint,
            "differences": [attrs.asdict(one) for one in self.differences],
        }


def cards_in(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Device and UUID of every card that has rows, in the order of appearance."""
    return list(dict.fromkeys(zip(texts(frame, "device"), texts(frame, "device_uuid"), strict=True)))


def rows_of(frame: pd.DataFrame, device: str, uuid: str) -> pd.DataFrame:
    """The rows of one card, as `cards_in` names it."""
    own: pd.DataFrame = frame[(texts(frame, "device") == device) & (texts(frame, "device_uuid") == uuid)]
    return own.reset_index(drop=True)


def fit_cards(frame: pd.DataFrame, *, draws: int = DRAWS, seed: int = SEED, **chosen: Any) -> Cards:
    """Fit every card of a table on its own, and together where they explain the same response.

    Args:
        frame: a table of the CSV contract with one or more cards.
        draws, seed: of the bootstraps.
        chosen: `backend` and `dtype`, as of `fit`.
    """
    cards = tuple(_card(frame, device, uuid, draws, seed, chosen) for device, uuid in cards_in(frame))
    fitted = [card for card in cards if card.fit is not None]
    responses = {card.fit.selection.response for card in fitted if card.fit is not None}
    sources = {card.fit.selection.sources for card in fitted if card.fit is not None}
    if len(fitted) < 2:
        return Cards(cards, None, (), "fewer than two cards can be fitted")
    if len(responses) > 1 or len(sources) > 1:
        told = ", ".join(sorted(responses | {" ".join(one) for one in sources}))
        return Cards(cards, None, (), f"the cards' rows do not say the same thing: {told}")
    parts = [card.fit.data for card in fitted if card.fit is not None]
    labels = [card.label for card in fitted]
    differences = tuple(
        difference_of(labels[i], labels[j], parts[i], parts[j])
        for i in range(len(parts))
        for j in range(i + 1, len(parts))
    )
    return Cards(cards, _joint(labels, parts), differences)


def _card(frame: pd.DataFrame, device: str, uuid: str, draws: int, seed: int, chosen: dict[str, Any]) -> Card:
    try:
        return Card(device, uuid, fit(rows_of(frame, device, uuid), draws=draws, seed=seed, **chosen))
    except UserError as error:
        return Card(device, uuid, None, str(error))


def _together(parts: Sequence[Data]) -> Data:
    fields = [attrs.astuple(part, recurse=False) for part in parts]
    return Data(*(np.concatenate(arrays) for arrays in zip(*fields, strict=True)))


def _joint(labels: Sequence[str], parts: Sequence[Data]) -> Joint | None:
    data = _together(parts)
    at = design("di_weighted", data)
    card = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    gained = (card[:, None] == np.arange(1, len(parts))).astype(float)
    k = len(at.names)
    relative = at.columns / data.y[:, None]
    scale = relative.mean(axis=0)
    relative = relative / scale

    def residual(p: FloatArray) -> FloatArray:
        return np.asarray(np.log(relative @ p[:k]) + gained @ p[k:])

    def jacobian(p: FloatArray) -> FloatArray:
        return np.hstack([relative / (relative @ p[:k])[:, None], gained])

    start = np.concatenate([np.full(k, 1 / k), np.zeros(gained.shape[1])])
    at_minimum = minimise(whole(residual, jacobian), [start]).parameters
    theta, logs = at_minimum[:k] / scale, at_minimum[k:]
    full, left = jacobian(at_minimum), -residual(at_minimum)
    full[:, :k] *= scale
    clusterings = make_clusterings(data, 1, 0)
    w, a = at.names.index("e_w"), at.names.index("e_a")
    gains = [Estimate(1.0, 1.0, 1.0)]
    for index in range(len(parts) - 1):
        value, half = float(logs[index]), _half_width(full, left, clusterings, k + index)
        ends = (None, None) if half is None else (math.exp(value - half), math.exp(value + half))
        gains.append(Estimate(math.exp(value), *ends))
    return Joint(
        cards=tuple(labels),
        rows=len(data),
        alpha=_alpha(full, left, clusterings, float(theta[w]), float(theta[a]), (w, a)),
        gains=tuple(gains),
        clusters=min(c.size for c in clusterings),
    )


def _half_width(
    jacobian: FloatArray,
    residuals: FloatArray,
    clusterings: Sequence[Clustering],
    direction: int | FloatArray,
) -> float | None:
    """Of the 95% interval along a direction (or of one parameter), by the clustering that gives more."""
    widths = []
    for clusters in clusterings:
        covariance = cluster_covariance(jacobian, residuals, clusters)
        if covariance is not None:
            c = np.eye(len(covariance))[direction] if isinstance(direction, int) else direction
            widths.append(
                math.sqrt(max(0.0, float(c @ covariance @ c))) * student_quantile(clusters.size - 1)
            )
    return max(widths, default=None)


def _gradient(e_w: float, e_a: float, places: tuple[int, int], size: int) -> FloatArray:
    """∂α/∂θ of α = e_w/(e_w + e_a)."""
    gradient = np.zeros(size)
    gradient[places[0]], gradient[places[1]] = e_a / (e_w + e_a) ** 2, -e_w / (e_w + e_a) ** 2
    return gradient


def _alpha(
    jacobian: FloatArray,
    residuals: FloatArray,
    clusterings: Sequence[Clustering],
    e_w: float,
    e_a: float,
    places: tuple[int, int],
) -> Estimate:
    if e_w + e_a <= 0:
        return UNKNOWN
    gradient = _gradient(e_w, e_a, places, jacobian.shape[1])
    half = _half_width(jacobian, residuals, clusterings, gradient)
    value = e_w / (e_w + e_a)
    return UNKNOWN if half is None else Estimate(value, value - half, value + half)


def difference_of(first: str, second: str, one: Data, other: Data) -> Difference:
    """Both fits as one block-diagonal system, so that what a layer has in common on both cards cancels."""
    from dibench.study.maths.estimate import fit_log

    gradients, jacobians, residuals, values = [], [], [], []
    for data in (one, other):
        at = design("di_weighted", data)
        found = fit_log(at.columns, data.y)
        places = (at.names.index("e_w"), at.names.index("e_a"))
        e_w, e_a = (float(found.parameters[place]) for place in places)
        if e_w + e_a <= 0:
            return Difference(first, second, UNKNOWN)
        values.append(e_w / (e_w + e_a))
        gradients.append(_gradient(e_w, e_a, places, len(at.names)))
        jacobians.append(found.jacobian)
        residuals.append(found.residuals)
    left, right = jacobians
    block = np.zeros((len(left) + len(right), left.shape[1] + right.shape[1]))
    block[: len(left), : left.shape[1]], block[len(left) :, left.shape[1] :] = left, right
    direction = np.concatenate([gradients[0], -gradients[1]])
    clusterings = make_clusterings(_together([one, other]), 1, 0)
    half = _half_width(block, np.concatenate(residuals), clusterings, direction)
    apart = values[0] - values[1]
    return Difference(first, second, UNKNOWN if half is None else Estimate(apart, apart - half, apart + half))
