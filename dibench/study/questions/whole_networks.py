"""Whole networks: what an inference costs as the sum over layers, and what ranks the networks rightly.

A sum over layers leaves out what happens between them (other operators, fusion); it is what the paper's claim
is about. A network takes part in the rankings only if measured layers hold enough of it (`network_sums`), and
then all its figures, intensities included, are of those layers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Unpack

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.errors import UserError
from dibench.study.ladder.models import Data, data_of
from dibench.study.ladder.network_sums import REQUIRED_SHARE, NetworkSum, network_sums
from dibench.study.ladder.unseen import Unseen, predict_families
from dibench.study.questions.correlation import Contest, Correlations, contest, correlations
from dibench.study.table import rows as row_rules
from dibench.study.table.columns import numbers

if TYPE_CHECKING:
    import pandas as pd

    from dibench.study.ladder.fit import Fit

FloatArray = NDArray[np.float64]

FEWEST = 4
"""Networks below which rankings compare nothing."""

GAP_BOUND_S = 50e-6
"""Launches shorter than this are bound by the gaps between launches as much as by their work."""

PREDICTORS = (
    "macs", "ai", "di_weighted", "di_disjoint",
    "model_macs", "model_ai", "model_di_weighted", "model_di_disjoint",
)  # fmt: skip
"""Of efficiency. The first four are bare indices, as the paper ranks by: M; and M over the elements moved,
weighted by α. The other four are multiply-adds over the energy that the whole model of that name predicts."""

CONTESTS = {
    "index_weighted": ("ai", "di_weighted"),
    "index_disjoint": ("ai", "di_disjoint"),
    "model_weighted": ("model_ai", "model_di_weighted"),
    "model_disjoint": ("model_ai", "model_di_disjoint"),
}

SEED = 20_200_806


@attrs.frozen
class NetworkCost:
    """One network at one batch: everything per inference and of its measured layers only."""

    network: str
    family: str
    cost: float | None
    """Joules or seconds of the response; None where nothing was measured."""
    cost_ci: float | None
    """Half-width of its 95% interval; None where a row lacks its own."""
    macs: float
    covered_macs: float
    covered_elements: float
    """Shares of the network's multiply-adds and of its W + X + Y that the measured layers hold."""
    layers: int
    missing: int
    """Layers of the network, repeats included, without a measured row."""
    gap_bound: int
    """Layers, repeats included, whose launch took under 50 µs."""
    gap_bound_share: float
    """Their share of the cost."""
    predictors: dict[str, float]
    """By name of `PREDICTORS`, held out by family; empty for a network outside the rankings."""

    @property
    def efficiency(self) -> float | None:
        """MAC/J or MAC/s."""
        return None if self.cost is None else self.macs / self.cost

    @property
    def efficiency_interval(self) -> tuple[float | None, float | None]:
        """95%; the upper end is None where the cost's interval reaches zero."""
        if self.cost is None or self.cost_ci is None:
            return None, None
        above = self.cost - self.cost_ci
        return self.macs / (self.cost + self.cost_ci), self.macs / above if above > 0 else None


@attrs.frozen
class WholeNetworks:
    """The networks of a table at one batch, and what their measured efficiency says of AI and DI."""

    selection: row_rules.Selection
    data: Data
    """Every row of the selection, at all its batches: what the fits learn from."""
    batch: int
    complete_by_batch: dict[int, int]
    """Batch → networks that enough layers were measured of."""
    required_share: float
    ranked: tuple[NetworkCost, ...]
    """Networks in the rankings, most efficient first."""
    left_out: tuple[NetworkCost, ...]
    unseen: dict[str, Unseen]
    """By family, the fits without it."""
    seed: int
    """Of the bootstrap of the contests."""

    @cached_property
    def correlations(self) -> dict[str, Correlations]:
        """Of efficiency with each predictor; of fewer than FEWEST networks none."""
        if len(self.ranked) < FEWEST:
            return {}
        efficiency = column(self.ranked, "efficiency")
        return {name: correlations(efficiency, column(self.ranked, name)) for name in PREDICTORS}

    @cached_property
    def contests(self) -> dict[str, Contest | None]:
        """AI against DI, by name of `CONTESTS`; of fewer than FEWEST networks none."""
        if len(self.ranked) < FEWEST:
            return {}
        efficiency, ai_and_di = column(self.ranked, "efficiency"), {}
        family = np.array([one.family for one in self.ranked], dtype=np.str_)
        for name, pair in CONTESTS.items():
            ai, di = (column(self.ranked, one) for one in pair)
            ai_and_di[name] = contest(efficiency, ai, di, family, seed=self.seed)
        return ai_and_di

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain values; what is not known is None."""
        from dibench.study.questions.networks_summary import as_json

        return as_json(self)


def column(networks: Sequence[NetworkCost], name: str) -> FloatArray:
    """`efficiency`, or a predictor, of networks in the rankings."""
    values = [one.efficiency if name == "efficiency" else one.predictors[name] for one in networks]
    return np.array(values, dtype=np.float64)


def whole_networks(
    frame: pd.DataFrame,
    *,
    batch: int | None = None,
    required_share: float = REQUIRED_SHARE,
    seed: int = SEED,
    fit: Fit | None = None,
    **chosen: Unpack[row_rules.Choice],
) -> WholeNetworks:
    """Sum a table's layers to networks and rank them.

    Rows and response are chosen as `rows.select` does for every fit, from launches of a single instance.

    Args:
        frame: a table of the CSV contract.
        batch: images of a launch; by default the batch of most networks, the smaller where equal.
        required_share: of a network's multiply-adds and of its elements, 0 to 1.
        seed: of the bootstrap.
        fit: of the same table and choice, where there is one: what it has done is not done again.
        chosen: `device`, `backend`, `dtype`, as of `rows.select`.

    Raises:
        UserError: no row can be used, or none has that batch.
    """
    single = _single(frame)
    if fit is not None and single is frame:
        selection, data, unseen = fit.selection, fit.data, fit.unseen
    else:
        selection = row_rules.select(single, **chosen)
        data = data_of(selection.frame, selection.response)
        unseen = predict_families(data)
    sums = list(network_sums(data))
    batches = sorted({one.batch for one in sums})
    if batch is not None and batch not in batches:
        raise UserError("batch", "must be one of " + ", ".join(map(str, batches)), batch)
    complete = Counter(one.batch for one in sums if one.holds(required_share))
    best = batch if batch is not None else max(batches, key=lambda n: (complete[n], -n))
    uncertainty = _uncertainty(selection)
    ranked, left_out = [], []
    for one in (one for one in sums if one.batch == best):
        if one.holds(required_share):
            ranked.append(_cost(one, data, uncertainty, unseen[one.family]))
        else:
            left_out.append(_cost(one, data, uncertainty, None))
    ranked.sort(key=lambda one: -(one.efficiency or 0.0))
    return WholeNetworks(
        selection=selection,
        data=data,
        batch=best,
        complete_by_batch={n: complete[n] for n in batches},
        required_share=required_share,
        ranked=tuple(ranked),
        left_out=tuple(left_out),
        unseen=unseen,
        seed=seed,
    )


def _single(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of one instance: replicas keep ratios but not what a launch of one costs."""
    several = numbers(frame, "instances") > 1
    if len(frame) and several.all():
        raise UserError("instances", "must be 1 in some row to sum networks")
    return frame[~several] if several.any() else frame


def _cost(
    one: NetworkSum, data: Data, uncertainty: tuple[FloatArray, FloatArray], fold: Unseen | None
) -> NetworkCost:
    rows, often = np.unique(one.rows, return_counts=True)
    independent, shared = (half_width[rows] for half_width in uncertainty)
    each = often * data.y[rows]
    cost = float(each.sum())
    ci = math.hypot(float(np.linalg.norm(often * independent)), float(often @ shared))
    gap_bound = data.time[rows] < GAP_BOUND_S
    measured = len(rows) > 0
    return NetworkCost(
        network=one.network,
        family=one.family,
        cost=cost / one.batch if measured else None,
        cost_ci=ci / one.batch if measured and math.isfinite(ci) else None,
        macs=one.macs,
        covered_macs=one.covered_macs,
        covered_elements=one.covered_elements,
        layers=one.layers,
        missing=one.layers - len(one.rows),
        gap_bound=int(often[gap_bound].sum()),
        gap_bound_share=float(each[gap_bound].sum()) / cost if measured else 0.0,
        predictors={} if fold is None else _predictors(one, data, fold),
    )


def _uncertainty(selection: row_rules.Selection) -> tuple[FloatArray, FloatArray]:
    """Half-widths of each row: what varies from row to row, and what all rows share.

    The baseline is subtracted from every row alike, so its error grows as the sum, not as its root.
    """
    frame = selection.frame
    if selection.kind == "time":
        return numbers(frame, "time_ci_s"), np.zeros(len(frame))
    above = selection.response != "energy_j"
    shared = numbers(frame, "ci_baseline_j", 0.0) if above else np.zeros(len(frame))
    return numbers(frame, "energy_ci_j"), shared


def _predictors(one: NetworkSum, data: Data, fold: Unseen) -> dict[str, float]:
    """Each predictor by the fold of the network's own family; weights are moved once a launch."""
    launch_macs = one.macs * one.batch
    found = {"macs": one.macs}
    for name, elements in fold.elements(data.only(one.rows)).items():
        found[name] = launch_macs / float(elements.sum())
    for name, predicted in fold.predicted.items():
        found[f"model_{name}"] = launch_macs / float(predicted[one.rows].sum())
    return found
