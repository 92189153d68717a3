"""Several cards: a fit of each, a joint fit with a gain per card, and α compared between them.

A card's power sensor is off by a factor of its own, by several percent, the same in all its rows. So rows of
two cards are never pooled as if they were one card's: beside the common coefficients, the joint fit has a
gain for every card but the first. α is a ratio of two coefficients of one card, so no gain enters it, and it
can be compared between cards directly.

    log E = log gain[card] + log(Σ e₀[op]·M + e_w·W + e_a·A + e_launch)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Unpack

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.errors import UserError
from dibench.numbers import p_text
from dibench.study.findings.cards import AlphaDifference, CardsCompared, Joint
from dibench.study.findings.estimate import UNKNOWN, Estimate
from dibench.study.ladder.ladder import SEED, Ladder, fit_ladder, make_clusterings
from dibench.study.ladder.models import Data, design
from dibench.study.maths.estimate import fit_log
from dibench.study.maths.half_width import Robust
from dibench.study.maths.inference import DRAWS
from dibench.study.maths.minimise import minimise, whole
from dibench.study.maths.sign_flips import holm
from dibench.study.table.columns import texts
from dibench.study.table.rows import Choice

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]


@attrs.frozen(eq=False)
class CardLadder:
    """One card's rows and their ladder; `why_not` where they cannot be fitted."""

    device: str
    uuid: str
    rows: pd.DataFrame
    ladder: Ladder | None
    why_not: str = ""

    @property
    def label(self) -> str:
        """The model, and the UUID where there is one: it tells cards of one model apart."""
        return f"{self.device} ({self.uuid})" if self.uuid else self.device


def cards_in(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Device and UUID of every card that has rows, in the order of appearance."""
    return list(dict.fromkeys(zip(texts(frame, "device"), texts(frame, "device_uuid"), strict=True)))


def rows_of(frame: pd.DataFrame, device: str, uuid: str) -> pd.DataFrame:
    """The rows of one card, as `cards_in` names it."""
    own: pd.DataFrame = frame[(texts(frame, "device") == device) & (texts(frame, "device_uuid") == uuid)]
    return own.reset_index(drop=True)


def card_ladders(
    frame: pd.DataFrame,
    *,
    draws: int = DRAWS,
    seed: int = SEED,
    networks: bool | None = None,
    **chosen: Unpack[Choice],
) -> tuple[CardLadder, ...]:
    """Fit every card of a table on its own.

    Args:
        frame: a table of the CSV contract with one or more cards.
        draws, seed: of the bootstraps.
        networks: as of `fit`.
        chosen: `backend` and `dtype`, as of `fit`.
    """
    found = []
    for device, uuid in cards_in(frame):
        rows = rows_of(frame, device, uuid)
        try:
            ladder = fit_ladder(rows, draws=draws, seed=seed, networks=networks, **chosen)
            found.append(CardLadder(device, uuid, rows, ladder))
        except UserError as error:
            found.append(CardLadder(device, uuid, rows, None, str(error)))
    return tuple(found)


def compare(cards: Sequence[CardLadder]) -> CardsCompared:
    """α of cards that explain the same response, compared between each two, and the joint fit of all.

    Without a joint fit where α of any two differs significantly (Holm's method over all pairs).
    """
    fitted = [(card.label, card.ladder) for card in cards if card.ladder is not None]
    if len(fitted) < 2:
        return CardsCompared(None, "fewer than two cards can be fitted", ())
    responses = {one.selection.response for _, one in fitted}
    sources = {one.selection.sources for _, one in fitted}
    if len(responses) > 1 or len(sources) > 1:
        told = ", ".join(sorted(responses | {" ".join(one) for one in sources}))
        return CardsCompared(None, f"the cards' rows do not say the same thing: {told}", ())
    parts = [(label, one.data) for label, one in fitted]
    pairs = combinations(parts, 2)
    differences = adjusted([difference_of(a, b, one, other) for (a, one), (b, other) in pairs])
    apart = [f"{one.first} and {one.second}, {p_text(one.p_holm)}" for one in differences if one.significant]
    if apart:
        return CardsCompared(None, f"α differs significantly between {'; '.join(apart)}", differences)
    return CardsCompared(_joint([label for label, _ in parts], [data for _, data in parts]), "", differences)


def _together(parts: Sequence[Data]) -> Data:
    fields = [attrs.astuple(part, recurse=False) for part in parts]
    return Data(*(np.concatenate(arrays) for arrays in zip(*fields, strict=True)))


def _joint(labels: Sequence[str], parts: Sequence[Data]) -> Joint:
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
    robust = Robust(full, left, clusterings)
    w, a = at.names.index("e_w"), at.names.index("e_a")
    gains = [Estimate(1.0, 1.0, 1.0)]
    for index in range(len(parts) - 1):
        of_gain = np.eye(full.shape[1])[k + index]
        value, half = float(logs[index]), robust.half_width(of_gain)
        known = math.isfinite(half)
        ends = (math.exp(value - half), math.exp(value + half)) if known else (None, None)
        gains.append(Estimate(math.exp(value), *ends))
    return Joint(
        cards=tuple(labels),
        rows=len(data),
        alpha=_alpha(robust, float(theta[w]), float(theta[a]), (w, a)),
        gains=tuple(gains),
        clusters=min(c.size for c in clusterings),
    )


def _gradient(e_w: float, e_a: float, places: tuple[int, int], size: int) -> FloatArray:
    """∂α/∂θ of α = e_w/(e_w + e_a)."""
    gradient = np.zeros(size)
    gradient[places[0]], gradient[places[1]] = e_a / (e_w + e_a) ** 2, -e_w / (e_w + e_a) ** 2
    return gradient


def _alpha(
    robust: Robust,
    e_w: float,
    e_a: float,
    places: tuple[int, int],
) -> Estimate:
    if e_w + e_a <= 0:
        return UNKNOWN
    gradient = _gradient(e_w, e_a, places, robust.jacobian.shape[1])
    half = robust.half_width(gradient)
    value = e_w / (e_w + e_a)
    return Estimate(value, value - half, value + half) if math.isfinite(half) else UNKNOWN


def difference_of(first: str, second: str, one: Data, other: Data) -> AlphaDifference:
    """Both fits as one block-diagonal system, so that errors a layer has on both cards cancel.

    Unknown where the rows of either card do not determine α. `p_holm` is that of a single difference.
    """
    unknown = AlphaDifference(first, second, UNKNOWN, None, None)
    gradients, jacobians, residuals, values = [], [], [], []
    for data in (one, other):
        at = design("di_weighted", data)
        if len(data) <= len(at.names) + 1:
            return unknown
        found = fit_log(at.columns, data.y)
        places = (at.names.index("e_w"), at.names.index("e_a"))
        e_w, e_a = (float(found.parameters[place]) for place in places)
        if e_w + e_a <= 0:
            return unknown
        values.append(e_w / (e_w + e_a))
        gradients.append(_gradient(e_w, e_a, places, len(at.names)))
        jacobians.append(found.jacobian)
        residuals.append(found.residuals)
    direction = np.concatenate([gradients[0], -gradients[1]])
    clusterings = make_clusterings(_together([one, other]), 1, 0)
    robust = Robust(block_diagonal(*jacobians), np.concatenate(residuals), clusterings)
    half, apart = robust.half_width(direction), values[0] - values[1]
    if not math.isfinite(half):
        return unknown
    p = robust.p_value(direction, apart)
    known = p if math.isfinite(p) else None
    return AlphaDifference(first, second, Estimate(apart, apart - half, apart + half), known, known)


def adjusted(differences: Sequence[AlphaDifference]) -> tuple[AlphaDifference, ...]:
    """The differences with p values adjusted by Holm over all of them."""
    found = holm([math.nan if one.p_value is None else one.p_value for one in differences])
    return tuple(
        attrs.evolve(one, p_holm=None if math.isnan(p) else p)
        for one, p in zip(differences, found, strict=True)
    )


def block_diagonal(first: FloatArray, second: FloatArray) -> FloatArray:
    """Two matrices as one, each with rows and columns of its own."""
    whole = np.zeros((len(first) + len(second), first.shape[1] + second.shape[1]))
    whole[: len(first), : first.shape[1]], whole[len(first) :, first.shape[1] :] = first, second
    return whole
