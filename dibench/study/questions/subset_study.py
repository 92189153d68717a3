"""What subsets of a fixed set of networks or layers say: correlation, α and error, and how these spread."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.study.findings.generality import Population, Size, Spread
from dibench.study.ladder.unseen import COMPARED
from dibench.study.maths.labels import distinct
from dibench.study.maths.scores import pearson
from dibench.study.questions.subset_fits import Fits, refitted_alpha
from dibench.study.questions.subsets import (
    correlations_over,
    curve,
    describe,
    draw,
    fisher,
    influence_curve,
    made_up_spread,
)
from dibench.study.questions.whole_networks import Fleet, column

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

REFITS = 30
"""Subsets of each size that are fitted in full, to say how good one step is."""


@attrs.frozen(eq=False)
class Members:
    """What subsets are drawn from: names, efficiency, predictors, and which rows of the data each holds."""

    unit: str
    """`networks` or `layers`."""
    names: tuple[str, ...]
    efficiency: FloatArray
    predictors: dict[str, FloatArray]
    """Bare indices, α held out by family."""
    rows: FloatArray
    """(n, rows), 1 where a member has the row's layer, at any batch."""

    def __len__(self) -> int:
        return len(self.names)

    def rows_of(self, subsets: IntArray) -> FloatArray:
        """The rows (s, rows) of zeros and ones of subsets (s, k) of the members."""
        inside = np.zeros((len(subsets), len(self)))
        np.put_along_axis(inside, subsets, 1.0, axis=1)
        return (inside @ self.rows > 0).astype(float)

    @functools.cached_property
    def y(self) -> FloatArray:
        """Log efficiency."""
        return np.log(self.efficiency)

    @functools.cached_property
    def x(self) -> dict[str, FloatArray]:
        """Log predictors, without those that are constant: they correlate with nothing."""
        logs = {name: np.log(column) for name, column in self.predictors.items()}
        return {name: column for name, column in logs.items() if float(np.ptp(column)) > 1e-9}

    @functools.cached_property
    def r(self) -> dict[str, float]:
        """Correlation of each with log efficiency over the whole set."""
        return {name: pearson(self.y, column) for name, column in self.x.items()}


def networks_of(fleet: Fleet) -> Members:
    """The networks in the rankings."""
    ranked = fleet.ranked
    different, shape = distinct(fleet.data.layer)
    shapes = [np.isin(different, fleet.catalogue.shapes_of(one.network))[shape] for one in ranked]
    known = {name: column(ranked, name) for name in COMPARED if ranked}
    usable = {name: values for name, values in known.items() if np.isfinite(values).all()}
    names = tuple(one.network for one in ranked)
    return Members("networks", names, column(ranked, "efficiency"), usable, np.array(shapes, dtype=float))


def layers_of(fleet: Fleet) -> Members:
    """Distinct layers of the networks at the fleet's batch; α by the fit without a family they are in."""
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


def study(
    members: Members, fits: Fits, sizes: Sequence[int], subsets: int, rng: np.random.Generator
) -> Population:
    """Draw so many subsets of each size."""
    return Population(
        n=len(members),
        names=members.names,
        efficiency=tuple(members.efficiency.tolist()),
        predictors={name: tuple(values.tolist()) for name, values in members.predictors.items()},
        r=members.r,
        sizes=tuple(_size(members, fits, k, subsets, rng) for k in sizes),
    )


def _size(members: Members, fits: Fits, k: int, subsets: int, rng: np.random.Generator) -> Size:
    n, y, x = len(members), members.y, members.x
    stacked = np.array(list(x.values()))
    correlated, fitted, distance = [], [], np.empty(0)
    for number, chosen in enumerate(draw(n, k, subsets, rng)):
        rows = members.rows_of(chosen)
        correlated.append(correlations_over(chosen, y, stacked))
        fitted.append(fits.of(rows))
        if number == 0 and fits.di is not None:
            distance = np.abs(refitted_alpha(fits.data, rows[:REFITS]) - fitted[0][0][:REFITS])
            distance = distance[np.isfinite(distance)]
    values = dict(zip(x, np.concatenate(correlated, axis=1), strict=True))
    spreads = {
        name: Spread(
            r=describe(values[name]),
            z=describe(fisher(values[name])),
            curve=curve(n, k),
            influence_curve=influence_curve(y, x[name], k),
            made_up=made_up_spread(n, k, members.r[name], subsets, rng),
        )
        for name in x
    }
    alpha, ai, di = (np.concatenate(parts) for parts in zip(*fitted, strict=True))
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
