"""How well models predict layers and whole networks of families that the fit has never seen.

The fits without a family (`unseen`) are compared with the naive split into random rows. There, a layer's
other batch sizes and similar layers of a sister network stay in the training rows, so errors look smaller
than the designer of a new network will find them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.numbers import count, percent
from dibench.study.findings.held_out import Errors, Family, HeldOut, ModelErrors, Undecided, UnseenNetwork
from dibench.study.ladder.folds import FEWEST_FAMILIES, Fold, Folds
from dibench.study.ladder.models import Data
from dibench.study.ladder.network_sums import NetworkSum, network_sums
from dibench.study.ladder.rungs import NoRung, Rung
from dibench.study.ladder.unseen import COMPARED, FEWEST_FAMILY_LAYERS, Unseen, predict_held_out, rows_needed
from dibench.study.maths.scores import mape, spearman
from dibench.study.table.catalogue import REQUIRED_SHARE, Catalogue

FloatArray = NDArray[np.float64]
Mask = NDArray[np.bool_]

NAIVE_FOLDS = 10
FEWEST_LAYERS = 10
FEWEST_NETWORKS = 5


@attrs.frozen
class Splits:
    """Predictions of both splits by model: by family, and (n,) of the naive split."""

    data: Data
    families: tuple[Unseen, ...]
    """Those that leave enough rows to learn from."""
    skipped: Mapping[str, int]
    """Families that leave too few, and how many they leave."""
    small: Mapping[str, int]
    """Families of too few different layers, and how many they have."""
    named: Mapping[str, tuple[str, ...]]
    """By family, its networks outside the 25, by their names."""
    stated: Mapping[str, tuple[str, ...]]
    """By family, its networks by the table."""
    needed: int
    """Rows that the largest model needs."""
    sums: tuple[NetworkSum, ...]
    """Networks of those families that rows hold enough of, at each batch size."""
    naive: Mapping[str, FloatArray]


def hold_out(
    data: Data,
    rungs: Mapping[str, Rung | NoRung],
    unseen: Mapping[str, Unseen],
    catalogue: Catalogue | None = None,
    seed: int = 0,
) -> Splits:
    """Choose the families that count, and predict the naive split too; the catalogue as of `network_sums`."""
    fitted = {name: rung for name in COMPARED if isinstance(rung := rungs.get(name), Rung)}
    families = tuple(one for one in unseen.values() if one.counts)
    known = {one.family for one in families}
    order = np.random.default_rng(seed).permutation(len(data)) % NAIVE_FOLDS
    naive = Folds("row", tuple(Fold(str(i), order == i, order != i) for i in range(NAIVE_FOLDS)))
    return Splits(
        data=data,
        families=families,
        skipped={name: int(one.left.sum()) for name, one in unseen.items() if not one.enough},
        small={name: one.layers for name, one in unseen.items() if one.enough and not one.counts},
        named={} if catalogue is None else catalogue.named,
        stated={} if catalogue is None else catalogue.stating,
        needed=rows_needed(data),
        sums=tuple(
            one for one in network_sums(data, catalogue) if one.family in known and one.holds(REQUIRED_SHARE)
        ),
        naive={
            name: predict_held_out(name, data, naive, near=rung.parameters)[0] if families else np.empty(0)
            for name, rung in fitted.items()
        },
    )


def errors_of(found: Splits) -> HeldOut:
    """Errors by model of both splits, for layers and for networks; None and a reason if rows are too few.

    Both splits are scored on the same rows: each row once for each family that it belongs to.
    """
    undecided = {"layers": _why_no_layers(found), "networks": _why_no_networks(found)}
    at = {"layers": _at_layers, "networks": _at_networks}
    families = found.families
    measured = {what: values(found, [found.data.y] * len(families)) for what, values in at.items()}

    def predicted(split: Callable[[Unseen, str], FloatArray]) -> dict[str, dict[str, FloatArray]]:
        return {
            what: {name: values(found, [split(one, name) for one in families]) for name in found.naive}
            for what, values in at.items()
        }

    unseen, naive = (
        predicted(lambda one, name: one.predicted[name]),
        predicted(lambda _, name: found.naive[name]),
    )
    return HeldOut(
        families=tuple(Family(one.family, int(one.rows.sum()), int(one.left.sum())) for one in families),
        skipped=found.skipped,
        small=found.small,
        named=found.named,
        stated=found.stated,
        layers_needed=FEWEST_FAMILY_LAYERS,
        rows_needed=found.needed,
        required_share=REQUIRED_SHARE,
        models={
            name: ModelErrors(
                *(
                    _errors(measured[what], values[what][name], undecided[what])
                    for values in (unseen, naive)
                    for what in at
                )
            )
            for name in found.naive
        },
        networks=tuple(
            UnseenNetwork(
                network=one.network,
                batch=one.batch,
                covered_macs=one.covered_macs,
                covered_elements=one.covered_elements,
                measured=float(measured["networks"][row]),
                held_out={name: float(values[row]) for name, values in unseen["networks"].items()},
                naive={name: float(values[row]) for name, values in naive["networks"].items()},
            )
            for row, one in enumerate(found.sums)
        ),
        undecided=Undecided(**undecided),
    )


def _at_layers(found: Splits, by_family: Sequence[FloatArray]) -> FloatArray:
    """The values (n,) of each family at its rows, one after the other."""
    parts = [values[one.rows] for one, values in zip(found.families, by_family, strict=True)]
    return np.concatenate([np.empty(0), *parts])


def _at_networks(found: Splits, by_family: Sequence[FloatArray]) -> FloatArray:
    """The sum of each network's layers per inference, from the values (n,) of its family."""
    of = dict(zip((one.family for one in found.families), by_family, strict=True))
    return np.array([of[one.family][one.rows].sum() / one.batch for one in found.sums])


def _errors(y: FloatArray, predicted: FloatArray, undecided: str | None) -> Errors:
    """Errors of the rows with a prediction; None if they are too few."""
    known = np.isfinite(predicted)
    n = int(known.sum())
    if undecided is not None or n < 3:
        return Errors(n, None, None)
    rank = spearman(y[known], predicted[known])
    return Errors(n, mape(y[known], predicted[known]), rank if math.isfinite(rank) else None)


def _why_no_layers(found: Splits) -> str | None:
    """Why there is no figure for layers; None if there is one."""
    rows = sum(int(one.rows.sum()) for one in found.families)
    if len(found.families) < FEWEST_FAMILIES:
        others = [f"{name} leaves {number}" for name, number in found.skipped.items()]
        others += [f"{name} has {count(number, 'layer')}" for name, number in found.small.items()]
        return (
            f"{len(found.families)} families leave the {found.needed} rows that the models need and have "
            f"{FEWEST_FAMILY_LAYERS} different layers, {FEWEST_FAMILIES} needed "
            f"({', '.join(others) or 'no further family has rows'})"
        )
    if rows < FEWEST_LAYERS:
        return f"{rows} rows are of families that can be left out, {FEWEST_LAYERS} needed"
    return None


def _why_no_networks(found: Splits) -> str | None:
    """The same for networks."""
    different = len({one.network for one in found.sums})
    if different >= FEWEST_NETWORKS:
        return None
    return (
        f"{different} networks have rows for {percent(REQUIRED_SHARE, 0)} of their MACs and elements, "
        f"{FEWEST_NETWORKS} needed"
    )
