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
from dibench.study.families import Evidence, FamilyDifference, evidence_of, family_differences
from dibench.study.figures import pearson
from dibench.study.folds import shapes_of
from dibench.study.models import Data
from dibench.study.rows import Choice
from dibench.study.subset_fits import StepStatistics, refitted_alpha, step_statistics
from dibench.study.subsets import (
    FEWEST,
    Distribution,
    MadeUp,
    correlations_over,
    curve,
    describe,
    draw,
    fisher,
    influence_curve,
    made_up_spread,
)
from dibench.study.unseen import COMPARED
from dibench.study.whole_networks import SEED, WholeNetworks, column, whole_networks

if TYPE_CHECKING:
    import pandas as pd

    from dibench.study.fit import Fit

FloatArray = NDArray[np.float64]

SUBSETS = 10_000
REFITS = 30
"""Subsets of each size that are fitted in full, to say how good one step is."""

NETWORK_SIZES = (5, 8, 12, 16, 20)
LAYER_SIZES = (10, 20, 50, 100, 200, 400)
STABLE = 0.95
"""Share of the subsets that must agree before anything is called stable across them."""


@attrs.frozen
class Spread:
    """One predictor's correlation with efficiency, on logarithms, over subsets of k."""

    r: Distribution | None
    z: Distribution | None
    """Of Fisher's z."""
    curve: float
    influence_curve: float
    made_up: MadeUp


@attrs.frozen
class Size:
    """All that was computed over the subsets of one size."""

    k: int
    subsets: int
    spreads: dict[str, Spread]
    di_above_ai: dict[str, float]
    """By form of DI: share of the subsets in which it correlates better than AI."""
    alpha: Distribution | None
    """α of weighted DI on the subset's layers, by one step."""
    alpha_undetermined: float
    """Share of subsets whose layers do not tell α."""
    one_step_error: float | None
    """Median distance of that α from the full refit, over `REFITS` subsets."""
    one_step_worst: float | None
    error: dict[str, Distribution | None]
    """Root mean square log error of `ai` and `di_weighted` on the subset's own layers."""


@attrs.frozen
class Population:
    """The fixed set that subsets are drawn from."""

    unit: str
    """`networks` or `layers`."""
    names: tuple[str, ...]
    efficiency: FloatArray
    predictors: dict[str, FloatArray]
    """Bare indices, α held out by family."""
    r: dict[str, float]
    """Correlation of logarithms over the whole set."""
    sizes: tuple[Size, ...]


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
        from dibench.study.generality_summary import as_json

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
    steps = {model: step_statistics(model, data) for model in ("ai", "di_weighted")}
    rng = np.random.default_rng(seed)
    populations, not_studied = [], {}
    for unit, wanted, usual in (("networks", sizes, NETWORK_SIZES), ("layers", layer_sizes, LAYER_SIZES)):
        members = _network_members(fleet) if unit == "networks" else _layer_members(fleet)
        n = len(members.names)
        ks = _check_sizes(unit, wanted, n) if wanted else [k for k in usual if k < n]
        if n <= FEWEST or not ks:
            not_studied[unit] = f"{n} of them can be used, too few for subsets"
            continue
        if half_only and not wanted:
            ks = [nearest_half(ks, n)]
        populations.append(_study(members, data, steps, ks, subsets, rng))
    families = family_differences(data, fleet.unseen)
    if not populations and not families:
        raise UserError("rows", "must hold layers of several of the 25 networks to study generality")
    step = steps["di_weighted"]
    alpha = None if step is None else float(step.alpha(step.parameters[None])[0])
    return Generality(
        fleet=fleet,
        seed=seed,
        subsets=subsets,
        alpha=alpha,
        families=families,
        evidence=evidence_of(families),
        populations=tuple(populations),
        not_studied=not_studied,
    )


def nearest_half(sizes: Sequence[int], n: int) -> int:
    """Of sizes of subsets the one nearest to half of a set of n."""
    return min(sizes, key=lambda k: abs(k - n / 2))


def _check_sizes(unit: str, sizes: Sequence[int], n: int) -> list[int]:
    for k in sizes:
        if not FEWEST <= k < n:
            raise UserError(
                f"size of subsets of {unit}", f"must be from {FEWEST} to {n - 1}, there are {n}", k
            )
    return sorted(set(sizes))


@attrs.frozen
class _Members:
    """What subsets are drawn from: names, efficiency, predictors, and which rows of the data each holds."""

    unit: str
    names: tuple[str, ...]
    efficiency: FloatArray
    predictors: dict[str, FloatArray]
    rows: FloatArray
    """(n, rows), 1 where a member has the row's layer, at any batch."""


def _network_members(fleet: WholeNetworks) -> _Members:
    ranked = fleet.ranked if fleet.contests else ()
    shapes = [np.isin(fleet.data.layer, shapes_of(one.network)) for one in ranked]
    known = {name: column(ranked, name) for name in COMPARED if ranked}
    usable = {name: values for name, values in known.items() if np.isfinite(values).all()}
    names = tuple(one.network for one in ranked)
    return _Members("networks", names, column(ranked, "efficiency"), usable, np.array(shapes, dtype=float))


def _layer_members(fleet: WholeNetworks) -> _Members:
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
    return _Members("layers", tuple(data.layer[at]), data.macs[at] / data.y[at], usable, rows.astype(float))


def _study(
    members: _Members,
    data: Data,
    steps: dict[str, StepStatistics | None],
    sizes: Sequence[int],
    subsets: int,
    rng: np.random.Generator,
) -> Population:
    y = np.log(members.efficiency)
    x = {name: np.log(column) for name, column in members.predictors.items()}
    # Layers of equal size have one index: a constant correlates with nothing.
    x = {name: column for name, column in x.items() if float(np.ptp(column)) > 1e-9}
    r = {name: pearson(y, column) for name, column in x.items()}
    found = [_size(members, data, steps, k, subsets, y, x, r, rng) for k in sizes]
    return Population(members.unit, members.names, members.efficiency, members.predictors, r, tuple(found))


def _size(
    members: _Members,
    data: Data,
    steps: dict[str, StepStatistics | None],
    k: int,
    subsets: int,
    y: FloatArray,
    x: dict[str, FloatArray],
    r: dict[str, float],
    rng: np.random.Generator,
) -> Size:
    n = len(y)
    stacked = np.array(list(x.values()))
    correlated, fitted = [], []
    for number, chosen in enumerate(draw(n, k, subsets, rng)):
        correlated.append(correlations_over(chosen, y, stacked))
        fitted.append(_fits(members, data, steps, chosen, refits=REFITS if number == 0 else 0))
    values = dict(zip(x, np.concatenate(correlated, axis=1), strict=True))
    spreads = {
        name: Spread(
            r=describe(values[name]),
            z=describe(fisher(values[name])),
            curve=curve(n, k),
            influence_curve=influence_curve(y, x[name], k),
            made_up=made_up_spread(n, k, r[name], subsets, rng),
        )
        for name in x
    }
    alpha, ai, di = (np.concatenate([one[position] for one in fitted]) for position in range(3))
    distance = fitted[0][3]
    return Size(
        k=k,
        subsets=subsets,
        spreads=spreads,
        di_above_ai={
            name: float(np.mean(values[name] > values["ai"]))
            for name in ("di_weighted", "di_disjoint")
            if name in values and "ai" in values
        },
        alpha=describe(alpha),
        alpha_undetermined=float(np.mean(~np.isfinite(alpha))),
        one_step_error=float(np.median(distance)) if len(distance) else None,
        one_step_worst=float(distance.max()) if len(distance) else None,
        error={"ai": describe(ai), "di_weighted": describe(di)},
    )


def _fits(
    members: _Members,
    data: Data,
    steps: dict[str, StepStatistics | None],
    chosen: NDArray[np.intp],
    *,
    refits: int,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """α, error of AI and of DI in each subset, and |one step − refit| of the first few."""
    ai, di = steps["ai"], steps["di_weighted"]
    if ai is None or di is None:
        nothing: FloatArray = np.full(len(chosen), np.nan)
        return nothing, nothing, nothing, nothing[:0]
    inside = np.zeros((len(chosen), len(members.names)))
    np.put_along_axis(inside, chosen, 1.0, axis=1)
    rows = (inside @ members.rows > 0).astype(float)
    parameters, error_di = di.one_step(rows)
    alpha = di.alpha(parameters)
    distance = np.abs(refitted_alpha(data, rows[:refits]) - alpha[:refits])
    return alpha, ai.one_step(rows)[1], error_di, distance[np.isfinite(distance)]
