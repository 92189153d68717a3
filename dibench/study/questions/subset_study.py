"""What subsets of a fixed set of networks or layers say: correlation, α and error, and how these spread."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.study.ladder.models import Data
from dibench.study.maths.scores import pearson
from dibench.study.questions.subset_fits import StepStatistics, refitted_alpha, step_statistics
from dibench.study.questions.subsets import (
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
        """Log predictors. Layers of equal size have one index: a constant correlates with nothing."""
        logs = {name: np.log(column) for name, column in self.predictors.items()}
        return {name: column for name, column in logs.items() if float(np.ptp(column)) > 1e-9}

    @functools.cached_property
    def r(self) -> dict[str, float]:
        """Correlation of each with log efficiency over the whole set."""
        return {name: pearson(self.y, column) for name, column in self.x.items()}


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
    """The fixed set, and what was computed over its subsets of each size."""

    members: Members
    sizes: tuple[Size, ...]


@attrs.frozen
class Fits:
    """The rows of all members, and what fits of AI and of weighted DI to them say of any subset."""

    data: Data
    ai: StepStatistics | None
    di: StepStatistics | None
    """Both None where the rows are too few."""

    def of(self, rows: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """α, error of AI and error of DI in subsets (s, n) of zeros and ones."""
        if self.ai is None or self.di is None:
            nothing: FloatArray = np.full(len(rows), np.nan)
            return nothing, nothing, nothing
        parameters, error_di = self.di.one_step(rows)
        return self.di.alpha(parameters), self.ai.one_step(rows)[1], error_di

    def alpha(self) -> float | None:
        """Of weighted DI on all rows."""
        return None if self.di is None else float(self.di.alpha(self.di.parameters[None])[0])


def fits_of(data: Data) -> Fits:
    """Fit AI and weighted DI to all rows."""
    return Fits(data, step_statistics("ai", data), step_statistics("di_weighted", data))


def study(
    members: Members, fits: Fits, sizes: Sequence[int], subsets: int, rng: np.random.Generator
) -> Population:
    """Draw so many subsets of each size."""
    return Population(members, tuple(_size(members, fits, k, subsets, rng) for k in sizes))


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
