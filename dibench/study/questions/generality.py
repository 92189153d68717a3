"""Generality: would another choice of networks, or of layers, have said the same?

Two answers of different weight. *Evidence*: on each architecture family, by how much do fits that never saw
it err with AI and with DI; paired by family, with an interval over families. *Description*: how correlation,
α and error spread over subsets of the networks and layers at hand, beside the spread that combinatorics
gives to any fixed set (`subsets`). Subsets can show that a figure hangs on a few networks. They cannot show
that it holds for networks outside the set, and a bell shape over them shows nothing at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.errors import UserError
from dibench.study.ladder.folds import shapes_of
from dibench.study.ladder.unseen import COMPARED
from dibench.study.questions.families import Evidence, FamilyDifference, evidence_of, family_differences
from dibench.study.questions.subset_study import Members, Population, fits_of, study
from dibench.study.questions.subsets import FEWEST
from dibench.study.questions.whole_networks import SEED, WholeNetworks, column, whole_networks
from dibench.study.table.rows import Choice

if TYPE_CHECKING:
    import pandas as pd

    from dibench.study.ladder.fit import Fit

FloatArray = NDArray[np.float64]

SUBSETS = 10_000
NETWORK_SIZES = (5, 8, 12, 16, 20)
LAYER_SIZES = (10, 20, 50, 100, 200, 400)
STABLE = 0.95
"""Share of the subsets that must agree before anything is called stable across them."""


@attrs.frozen
class Generality:
    """The study of one table."""

    fleet: WholeNetworks
    seed: int
    subsets: int
    alpha: float | None
    """Of weighted DI on all rows."""
    families: tuple[FamilyDifference, ...]
    evidence: tuple[Evidence, ...]
    populations: tuple[Population, ...]
    not_studied: dict[str, str]
    """Unit → why it has no population."""

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain values; what is not known is None."""
        from dibench.study.questions.generality_summary import as_json

        return as_json(self)


def generality(
    frame: pd.DataFrame,
    *,
    batch: int | None = None,
    subsets: int = SUBSETS,
    sizes: Sequence[int] | None = None,
    layer_sizes: Sequence[int] | None = None,
    half_only: bool = False,
    seed: int = SEED,
    fit: Fit | None = None,
    **chosen: Unpack[Choice],
) -> Generality:
    """Study a table of the CSV contract.

    Args:
        frame: the table.
        batch: as for `whole_networks`.
        subsets: drawn of each size.
        sizes: networks in a subset; by default those of 5, 8, 12, 16, 20 that are fewer than there are.
        layer_sizes: distinct layers in a subset; by default those of 10, 20, 50, 100, 200, 400.
        half_only: of the usual sizes only the one nearest to half of the set, which the words are about.
        seed: of all draws.
        fit: as of `whole_networks`.
        chosen: `device`, `backend`, `dtype`, as of `rows.select`.

    Raises:
        UserError: no row can be used, a size is impossible, or nothing can be studied.
    """
    fleet = whole_networks(frame, batch=batch, seed=seed, fit=fit, **chosen)
    data = fleet.data
    fits = fits_of(data)
    rng = np.random.default_rng(seed)
    populations, not_studied = [], {}
    for members, wanted, usual in (
        (_network_members(fleet), sizes, NETWORK_SIZES),
        (_layer_members(fleet), layer_sizes, LAYER_SIZES),
    ):
        ks = _sizes(members, wanted, usual, half_only=half_only)
        if ks:
            populations.append(study(members, fits, ks, subsets, rng))
        else:
            not_studied[members.unit] = f"{len(members)} of them can be used, too few for subsets"
    families = family_differences(data, fleet.unseen)
    if not populations and not families:
        raise UserError("rows", "must hold layers of several of the 25 networks to study generality")
    return Generality(
        fleet=fleet,
        seed=seed,
        subsets=subsets,
        alpha=fits.alpha(),
        families=families,
        evidence=evidence_of(families),
        populations=tuple(populations),
        not_studied=not_studied,
    )


def nearest_half(sizes: Sequence[int], n: int) -> int:
    """Of sizes of subsets the one nearest to half of a set of n."""
    return min(sizes, key=lambda k: abs(k - n / 2))


def _sizes(
    members: Members, wanted: Sequence[int] | None, usual: Sequence[int], *, half_only: bool
) -> list[int]:
    """Of the subsets that are drawn; none where the members are too few."""
    n = len(members)
    for k in wanted or ():
        if not FEWEST <= k < n:
            few = f"cannot be chosen: subsets need more than {FEWEST} {members.unit}, these rows hold {n}"
            rule = few if n <= FEWEST else f"must be from {FEWEST} to {n - 1}, there are {n}"
            raise UserError(f"size of subsets of {members.unit}", rule, k)
    sizes = sorted(set(wanted)) if wanted else [k for k in usual if k < n]
    if n <= FEWEST or not sizes:
        return []
    return [nearest_half(sizes, n)] if half_only and not wanted else sizes


def _network_members(fleet: WholeNetworks) -> Members:
    ranked = fleet.ranked
    shapes = [np.isin(fleet.data.layer, shapes_of(one.network)) for one in ranked]
    known = {name: column(ranked, name) for name in COMPARED if ranked}
    usable = {name: values for name, values in known.items() if np.isfinite(values).all()}
    names = tuple(one.network for one in ranked)
    return Members("networks", names, column(ranked, "efficiency"), usable, np.array(shapes, dtype=float))


def _layer_members(fleet: WholeNetworks) -> Members:
    """Distinct layers of the 25 networks at the fleet's batch; α by the fold of a family they are in."""
    data = fleet.data
    own: FloatArray = np.full(len(data), np.nan)
    elements = {name: own.copy() for name in ("ai", "di_weighted", "di_disjoint")}
    inside = np.zeros(len(data), dtype=bool)
    for fold in fleet.unseen.values():
        mine = fold.rows & ~inside
        for name, values in fold.elements(data.only(mine)).items():
            elements[name][mine] = values
        inside |= mine
    at = np.flatnonzero(inside & (data.batch == fleet.batch))
    found = {"macs": data.macs[at], **{name: data.macs[at] / values[at] for name, values in elements.items()}}
    usable = {name: values for name, values in found.items() if np.isfinite(values).all()}
    rows = data.layer[at][:, None] == data.layer[None, :]
    return Members("layers", tuple(data.layer[at]), data.macs[at] / data.y[at], usable, rows.astype(float))
