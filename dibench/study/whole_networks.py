"""Whole networks: what an inference costs as the sum over layers, and what ranks the networks rightly.

Each distinct layer is measured once and counts as often as the network has it. A sum over layers leaves out
what happens between them (other operators, fusion); it is what the paper's claim is about. Layers that
were not measured are never filled in by a fit: a network takes part in the rankings only if the measured
layers hold the required share of both its multiply-adds and its elements, and then all its figures,
intensities included, are of those layers.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench import networks
from dibench.errors import UserError
from dibench.layer import DIMENSIONS
from dibench.study import rows as row_rules
from dibench.study.correlation import Contest, Correlations, contest, correlations
from dibench.study.models import Data, data_of
from dibench.study.unseen import Unseen, predict_families

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]

REQUIRED_SHARE = 0.95
"""Share of a network's multiply-adds, and of its elements, that measured layers must hold."""

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
    correlations: dict[str, Correlations]
    contests: dict[str, Contest | None]

    def to_json(self) -> dict[str, Any]:
        """Every figure as plain values; what is not known is None."""
        from dibench.study.networks_summary import as_json

        return as_json(self)

    def column(self, name: str) -> FloatArray:
        """`efficiency`, or a predictor, of the ranked networks."""
        if name == "efficiency":
            return np.array([one.macs / one.cost for one in self.ranked if one.cost is not None])
        return np.array([one.predictors[name] for one in self.ranked])


def whole_networks(
    frame: pd.DataFrame,
    *,
    device: str | None = None,
    backend: str | None = None,
    dtype: str | None = None,
    batch: int | None = None,
    required_share: float = REQUIRED_SHARE,
    seed: int = SEED,
    modelled: bool = False,
) -> WholeNetworks:
    """Sum a table's layers to networks and rank them.

    Rows and response are chosen as `rows.select` does for every fit, from launches of a single instance.

    Args:
        frame: a table of the CSV contract.
        device, backend, dtype: use only these rows.
        batch: images of a launch; by default the batch of most networks, the smaller where equal.
        required_share: of a network's multiply-adds and of its elements, 0 to 1.
        seed: of the bootstrap.
        modelled: use modelled energy, as a check of the pipeline.

    Raises:
        UserError: no row can be used, or none has that batch.
    """
    chosen: dict[str, Any] = {"device": device, "backend": backend, "dtype": dtype}
    selection = row_rules.select(_single(frame), **chosen, modelled=modelled)
    data = data_of(selection.frame, selection.response)
    batches = sorted({int(n) for n in data.batch})
    if batch is not None and batch not in batches:
        raise UserError("batch", "must be one of " + ", ".join(map(str, batches)), batch)
    costs = {n: _costs(selection, data, n) for n in batches}
    complete = {n: sum(_enough(one, required_share) for one in costs[n][0]) for n in batches}
    best = batch if batch is not None else max(batches, key=lambda n: (complete[n], -n))
    members, counts = costs[best]
    inside = [position for position, one in enumerate(members) if _enough(one, required_share)]
    # Fewer than four networks compare nothing, and the fits by family would be for nothing.
    unseen = predict_families(data) if len(inside) >= 4 else {}
    ranked = [
        attrs.evolve(
            members[position], predictors=_predictors(members[position], counts[position], unseen, best)
        )
        for position in inside
    ]
    ranked.sort(key=lambda one: -(one.efficiency or 0.0))
    found = WholeNetworks(
        selection, data, best, complete, required_share, tuple(ranked),
        tuple(one for one in members if not _enough(one, required_share)), unseen, {}, {},
    )  # fmt: skip
    return _compared(found, seed) if unseen else found


def _single(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of one instance: replicas keep ratios but not what a launch of one costs."""
    if "instances" not in frame:
        return frame
    several = frame["instances"].to_numpy(dtype=np.float64, na_value=np.nan) > 1
    if len(frame) and several.all():
        raise UserError("instances", "must be 1 in some row to sum networks")
    return frame[~several]


@cache
def _layers_of(network: str) -> dict[tuple[int, ...], tuple[int, int, int]]:
    """Shape without batch → how often, multiply-adds, weights. Of one launch's image."""
    layers = networks.load(network)
    often = Counter(layer.shape[1:] for layer in layers)
    return {layer.shape[1:]: (often[layer.shape[1:]], layer.macs, layer.weights) for layer in layers}


def _elements(shape: tuple[int, ...], batch: int, weights: int) -> float:
    """W + X + Y of a launch of that batch."""
    dims = dict(zip(DIMENSIONS[1:], shape, strict=True))
    return weights + batch * (dims["C"] * dims["H"] * dims["W"] + dims["K"] * dims["P"] * dims["Q"])


def _costs(
    selection: row_rules.Selection, data: Data, batch: int
) -> tuple[list[NetworkCost], list[FloatArray]]:
    """Every network at a batch, and how often it has the layer of each row (rows,)."""
    shapes = selection.frame[list(DIMENSIONS)].to_numpy(dtype=np.int64).tolist()
    row_of = {tuple(shape[1:]): row for row, shape in enumerate(shapes) if shape[0] == batch}
    independent, shared = _uncertainty(selection)
    members, counts = [], []
    for name in networks.names():
        count: FloatArray = np.zeros(len(data))
        all_macs = all_elements = elements = 0.0
        missing = 0
        for shape, (often, macs, weights) in _layers_of(name).items():
            size = often * _elements(shape, batch, weights)
            all_macs += often * macs
            all_elements += size
            if shape in row_of:
                count[row_of[shape]] = often
                elements += size
            else:
                missing += often
        has = count > 0
        gap_bound = has & (data.time < GAP_BOUND_S)
        cost = float(count @ data.y)
        ci = math.sqrt(float(np.sum((count * independent)[has] ** 2)) + float(count[has] @ shared[has]) ** 2)
        covered = float(count @ data.macs) / batch
        members.append(
            NetworkCost(
                network=name,
                family=networks.family(name),
                cost=cost / batch if cost > 0 else None,
                cost_ci=ci / batch if cost > 0 and math.isfinite(ci) else None,
                macs=covered,
                covered_macs=covered / all_macs,
                covered_elements=elements / all_elements,
                layers=len(networks.load(name)),
                missing=missing,
                gap_bound=int(count[gap_bound].sum()),
                gap_bound_share=float(count[gap_bound] @ data.y[gap_bound]) / cost if cost > 0 else 0.0,
                predictors={},
            )
        )
        counts.append(count)
    return members, counts


def _uncertainty(selection: row_rules.Selection) -> tuple[FloatArray, FloatArray]:
    """Half-widths of each row: what varies from row to row, and what all rows share.

    The baseline is subtracted from every row alike, so its error grows as the sum, not as its root.
    """
    frame = selection.frame

    def column(name: str, absent: float) -> FloatArray:
        if name not in frame:
            return np.full(len(frame), absent)
        return frame[name].to_numpy(dtype=np.float64, na_value=absent)

    unknown = math.nan
    if selection.kind == "time":
        return column("time_ci_s", unknown), np.zeros(len(frame))
    above = selection.response != "energy_j"
    return column("energy_ci_j", unknown), column("ci_baseline_j", 0.0) if above else np.zeros(len(frame))


def _enough(one: NetworkCost, share: float) -> bool:
    # A whole network's shares are sums in another order: equal up to rounding.
    least = min(one.covered_macs, one.covered_elements) * (1 + 1e-12)
    return one.cost is not None and least >= share


def _predictors(
    one: NetworkCost, count: FloatArray, unseen: dict[str, Unseen], batch: int
) -> dict[str, float]:
    """Each predictor by the fold of the network's own family; weights are moved once a launch."""
    fold = unseen.get(one.family)
    if fold is None:  # too few networks to compare, so nothing was predicted
        return {}
    launch_macs = one.macs * batch
    rows = count > 0
    found = {"macs": one.macs}
    for name, elements in fold.elements.items():
        found[name] = launch_macs / float(count[rows] @ elements[rows])
    for name, predicted in fold.predicted.items():
        found[f"model_{name}"] = launch_macs / float(count[rows] @ predicted[rows])
    return found


def _compared(found: WholeNetworks, seed: int) -> WholeNetworks:
    efficiency = found.column("efficiency")
    family = np.array([one.family for one in found.ranked], dtype=np.str_)
    return attrs.evolve(
        found,
        correlations={name: correlations(efficiency, found.column(name)) for name in PREDICTORS},
        contests={
            name: contest(efficiency, found.column(ai), found.column(di), family, seed=seed)
            for name, (ai, di) in CONTESTS.items()
        },
    )
