"""How well models predict layers and whole networks of families that the fit has never seen.

Of each family every row is left out whose shape occurs in *any* of its networks, under whatever name it
was measured; models are fitted to what is left and predict those rows. Beside it the naive split, random
rows: there a layer's other batch sizes, and its like in a sister network, stay in the training rows, and
errors look smaller than a designer of a new network will find them.

A network's cost is the sum of its layers', each at its row; it counts where rows hold at least nine tenths of
its MACs, and then for those layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench import networks
from dibench.study.figures import mape, spearman
from dibench.study.folds import Fold, Folds
from dibench.study.ladder import NoRung, Rung, predict_held_out
from dibench.study.verdict import ROWS_PER_COEFFICIENT

if TYPE_CHECKING:
    from dibench.study.models import Data

FloatArray = NDArray[np.float64]
Mask = NDArray[np.bool_]

MODELS = ("macs", "ai", "di_weighted", "di_disjoint")
"""Those that need nothing but a layer's shape."""

NAIVE_FOLDS = 10
LEAST_SHARE = 0.9
"""Of a network's MACs that rows must hold for its sum to stand for it."""
FEWEST_LAYERS = 10
FEWEST_NETWORKS = 5
FEWEST_FAMILIES = 3


@attrs.frozen
class LeftOut:
    """One family: its rows, and what is left to learn from."""

    family: str
    rows: Mask
    left: Mask


@attrs.frozen
class Whole:
    """One network at one batch size, as far as rows hold it."""

    network: str
    batch: int
    rows: NDArray[np.intp]
    """The row of each layer that has one; layers of one shape repeat it."""
    share: float
    """Of the network's MACs in those layers."""


@attrs.frozen
class HeldOut:
    """Predictions of both splits, by model: (n,) of the naive split, (n,) by family of the other."""

    families: tuple[LeftOut, ...]
    skipped: Mapping[str, int]
    """Families that leave too few rows, and how many they leave."""
    needed: int
    """Rows that the largest model needs."""
    wholes: tuple[Whole, ...]
    naive: Mapping[str, FloatArray]
    unseen: Mapping[str, Mapping[str, FloatArray]]


def hold_out(data: Data, rungs: Mapping[str, Rung | NoRung], seed: int = 0) -> HeldOut:
    """Fit every model without each family in turn, and without random tenths of the rows."""
    fitted = {name: rung for name in MODELS if isinstance(rung := rungs.get(name), Rung)}
    needed = ROWS_PER_COEFFICIENT * max((rung.k for rung in fitted.values()), default=1)
    families = _families(data)
    enough = tuple(one for one in families if one.left.sum() >= needed)
    order = np.random.default_rng(seed).permutation(len(data)) % NAIVE_FOLDS
    naive = Folds("row", tuple(Fold(str(i), order == i, order != i) for i in range(NAIVE_FOLDS)))
    return HeldOut(
        families=enough,
        skipped={one.family: int(one.left.sum()) for one in families if one not in enough},
        needed=needed,
        wholes=tuple(_wholes(data)),
        naive={
            name: predict_held_out(name, data, naive, near=rung.parameters) for name, rung in fitted.items()
        }
        if enough
        else {},
        unseen={
            name: {one.family: _without(rung, data, one) for one in enough} for name, rung in fitted.items()
        },
    )


def _families(data: Data) -> list[LeftOut]:
    found = []
    named, shape = np.unique(data.layer, return_inverse=True)
    owners, owner = np.unique(data.network, return_inverse=True)
    for family, members in networks.FAMILIES.items():
        shapes = {_shape(layer.shape) for name in members for layer in networks.load(name)}
        rows = np.isin(named, sorted(shapes))[shape]
        if rows.any():
            found.append(LeftOut(family, rows, ~rows & ~np.isin(owners, members)[owner]))
    return found


def _shape(shape: Sequence[int]) -> str:
    """A shape without its batch, as `Data.layer` writes it."""
    return "x".join(map(str, shape[1:]))


def _without(rung: Rung, data: Data, family: LeftOut) -> FloatArray:
    fold = Folds("family", (Fold(family.family, family.rows, family.left),))
    return predict_held_out(rung.name, data, fold, near=rung.parameters)


def _wholes(data: Data) -> list[Whole]:
    layers_of = {name: networks.load(name) for name in networks.names()}
    shapes = sorted({_shape(layer.shape) for layers in layers_of.values() for layer in layers})
    batches = sorted({int(number) for number in data.batch.tolist()})
    row_of = _rows_by_shape_and_batch(data, shapes, batches)
    found = []
    for name, layers in layers_of.items():
        macs = np.array([layer.macs for layer in layers], dtype=np.float64)
        shape = np.searchsorted(shapes, [_shape(layer.shape) for layer in layers])
        times = np.array([layer.N for layer in layers])
        for batch in batches:
            column = np.searchsorted(batches, times * batch)
            there = (column < len(batches)) & (np.take(batches, column, mode="clip") == times * batch)
            row = np.where(there, row_of[shape, np.minimum(column, len(batches) - 1)], -1)
            if (row >= 0).any():
                found.append(Whole(name, batch, row[row >= 0], float(macs[row >= 0].sum() / macs.sum())))
    return found


def _rows_by_shape_and_batch(data: Data, shapes: Sequence[str], batches: Sequence[int]) -> NDArray[np.intp]:
    """The last row of each shape (sorted) at each batch (sorted); −1 where there is none."""
    row_of = np.full((len(shapes), len(batches)), -1, dtype=np.intp)
    names, which = np.unique(data.layer, return_inverse=True)
    place = np.searchsorted(shapes, names)
    place = np.where(np.take(shapes, place, mode="clip") == names, place, -1)[which]
    known = np.flatnonzero(place >= 0)
    row_of[place[known], np.searchsorted(batches, data.batch[known])] = known
    return row_of


def as_json(found: HeldOut, data: Data) -> dict[str, Any]:
    """Errors by model of both splits, per layer and per network; None and a reason where rows do not suffice.

    Both splits are scored on the same rows: each row once for each family that it belongs to.
    """
    families = {one.family: one for one in found.families}
    wholes = [
        one for one in found.wholes if one.share >= LEAST_SHARE and networks.family(one.network) in families
    ]
    layers = {
        name: _pairs(data, [(one.rows, by[one.family]) for one in found.families])
        for name, by in found.unseen.items()
    }
    naive_layers = {
        name: _pairs(data, [(one.rows, predicted) for one in found.families])
        for name, predicted in found.naive.items()
    }
    sums = {name: _sums(data, wholes, by) for name, by in found.unseen.items()}
    naive_sums = {
        name: _sums(data, wholes, dict.fromkeys(families, predicted))
        for name, predicted in found.naive.items()
    }
    undecided = _undecided(found, wholes)
    return {
        "families": [
            {"family": one.family, "rows": int(one.rows.sum()), "rows_left": int(one.left.sum())}
            for one in found.families
        ],
        "skipped": dict(found.skipped),
        "rows_needed": found.needed,
        "least_share_of_macs": LEAST_SHARE,
        "models": {
            name: {
                "layers": _errors(*layers[name], undecided["layers"]),
                "layers_naive": _errors(*naive_layers[name], undecided["layers"]),
                "networks": _errors(*sums[name], undecided["networks"]),
                "networks_naive": _errors(*naive_sums[name], undecided["networks"]),
            }
            for name in layers
            if name in naive_layers
        },
        "networks": [
            {
                "network": one.network,
                "batch": one.batch,
                "share_of_macs": one.share,
                "measured": float(data.y[one.rows].sum()) / one.batch,
                "held_out": {name: float(values[row]) for name, (_, values) in sums.items()},
                "naive": {name: float(values[row]) for name, (_, values) in naive_sums.items()},
            }
            for row, one in enumerate(wholes)
        ],
        "undecided": undecided,
    }


def _pairs(data: Data, parts: Sequence[tuple[Mask, FloatArray]]) -> tuple[FloatArray, FloatArray]:
    """Responses and predictions of the rows of each part, one after the other."""
    if not parts:
        return np.empty(0), np.empty(0)
    return (
        np.concatenate([data.y[rows] for rows, _ in parts]),
        np.concatenate([predicted[rows] for rows, predicted in parts]),
    )


def _sums(
    data: Data, wholes: Sequence[Whole], by_family: Mapping[str, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Of each network the measured and the predicted sum of its layers per inference."""
    measured = [data.y[one.rows].sum() / one.batch for one in wholes]
    predicted = [by_family[networks.family(one.network)][one.rows].sum() / one.batch for one in wholes]
    return np.array(measured, dtype=np.float64), np.array(predicted, dtype=np.float64)


def _errors(y: FloatArray, predicted: FloatArray, undecided: str | None) -> dict[str, Any]:
    """`n`, `mape` and `spearman` of what has a prediction; None where that is too little to say."""
    known = np.isfinite(predicted)
    errors: dict[str, Any] = {"n": int(known.sum()), "mape": None, "spearman": None}
    if undecided is None and known.sum() >= 3:
        errors["mape"] = mape(y[known], predicted[known])
        errors["spearman"] = spearman(y[known], predicted[known])
    return errors


def _undecided(found: HeldOut, wholes: Sequence[Whole]) -> dict[str, str | None]:
    """Why there is no figure for layers or networks; None where there is one."""
    families = len(found.families)
    layers: str | None = None
    networks_reason: str | None = None
    rows = sum(int(one.rows.sum()) for one in found.families)
    if families < FEWEST_FAMILIES:
        left = ", ".join(f"{name} leaves {number}" for name, number in found.skipped.items())
        layers = (
            f"{families} families leave the {found.needed} rows that the models need, "
            f"{FEWEST_FAMILIES} needed ({left or 'no further family has rows'})"
        )
    elif rows < FEWEST_LAYERS:
        layers = f"{rows} rows are of families that can be left out, {FEWEST_LAYERS} needed"
    different = len({one.network for one in wholes})
    if different < FEWEST_NETWORKS:
        networks_reason = (
            f"{different} networks have rows for {LEAST_SHARE:.0%} of their MACs, {FEWEST_NETWORKS} needed"
        )
    return {"layers": layers, "networks": networks_reason}
