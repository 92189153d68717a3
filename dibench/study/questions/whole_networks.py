"""Whole networks: what an inference costs as the sum over layers, and which index ranks the networks rightly.

A sum over layers leaves out what happens between them (other operators, fusion); it is what the paper's claim
is about. A network takes part in the rankings only if enough of it was measured (`network_sums`), and then
all its figures, intensities included, are of the measured layers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.errors import UserError
from dibench.study.findings.networks import Contest, Correlations, NetworkCost, NoNetworks, WholeNetworks
from dibench.study.ladder.folds import FEWEST_FAMILIES
from dibench.study.ladder.models import Data, data_of
from dibench.study.ladder.network_sums import NetworkSum, network_sums
from dibench.study.ladder.unseen import Unseen, predict_families
from dibench.study.questions.correlation import contest, correlations
from dibench.study.questions.explained_share import explained_share
from dibench.study.questions.families import evidence_of, family_differences
from dibench.study.table import rows as row_rules
from dibench.study.table.catalogue import REQUIRED_SHARE, Catalogue, catalogue_of
from dibench.study.table.columns import numbers

if TYPE_CHECKING:
    import pandas as pd

    from dibench.study.ladder.ladder import Ladder

FloatArray = NDArray[np.float64]

FEWEST = 4
"""Fewest networks whose rankings are compared."""

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

METHOD = {
    "sum": "each distinct layer measured once, times how often the network has it; nothing filled in",
    "interval": "95%; errors of rows in quadrature, that of the baseline, which they share, in sum",
    "index": "M / sum of W + A; of 2(alpha W + (1 - alpha) A); of M / DI disjoint",
    "model": "M / energy that the whole model predicts",
    "held_out": "alpha and coefficients from fits without the network's family and every shape in it",
    "contest": "correlations of logarithms; Williams' t; paired bootstrap over families, alpha not redrawn",
}


@attrs.frozen
class Fleet:
    """A table's networks at one batch, with the rows and fits that they rest on."""

    selection: row_rules.Selection
    data: Data
    """Every row of the selection, at all its batches: what the fits learn from."""
    catalogue: Catalogue
    """The networks of the table."""
    unseen: dict[str, Unseen]
    """By family, the fits without it."""
    batch: int
    complete_by_batch: dict[int, int]
    """Batch → networks of which enough layers were measured."""
    required_share: float
    ranked: tuple[NetworkCost, ...]
    """Networks of which enough was measured, most efficient first."""
    left_out: tuple[NetworkCost, ...]


def networks_of(
    frame: pd.DataFrame, ladder: Ladder | None = None, **chosen: Unpack[row_rules.Choice]
) -> WholeNetworks | NoNetworks:
    """`whole_networks` of a table, or why there are none."""
    try:
        return whole_networks(frame, ladder=ladder, **chosen)
    except UserError as error:
        explained = () if ladder is None else explained_share(frame, ladder)
        return NoNetworks(str(error), explained=explained)


def whole_networks(
    frame: pd.DataFrame,
    *,
    batch: int | None = None,
    required_share: float = REQUIRED_SHARE,
    seed: int = SEED,
    ladder: Ladder | None = None,
    **chosen: Unpack[row_rules.Choice],
) -> WholeNetworks:
    """Sum a table's layers to networks, rank them, and compare what AI and DI say of them.

    Args:
        frame, batch, required_share, fit, chosen: as of `fleet_of`.
        seed: of the bootstrap.

    Raises:
        UserError: no row can be used, or none has that batch.
    """
    fleet = fleet_of(frame, batch=batch, required_share=required_share, ladder=ladder, **chosen)
    selection, ranked = fleet.selection, fleet.ranked
    energy, enough = selection.kind == "energy", len(ranked) >= FEWEST
    return WholeNetworks(
        response=selection.response,
        response_kind=selection.kind,
        response_measured=selection.measured,
        energy_source=selection.sources,
        evidence=selection.evidence,
        unit="MAC/J" if energy else "MAC/s",
        cost_unit="J" if energy else "s",
        batch=fleet.batch,
        complete_by_batch=fleet.complete_by_batch,
        required_share=fleet.required_share,
        as_a_whole=selection.networks,
        gap_bound_s=GAP_BOUND_S,
        reason=None if enough else _too_few(len(ranked)),
        ranked=ranked,
        left_out=fleet.left_out,
        explained=() if ladder is None else explained_share(frame, ladder),
        alpha_held_out={name: fold.alpha for name, fold in fleet.unseen.items()},
        correlations=_correlations(ranked) if enough else {},
        contests=_contests(ranked, seed) if enough else {},
        families=evidence_of(family_differences(fleet.data, fleet.unseen)),
        method=METHOD,
    )


def fleet_of(
    frame: pd.DataFrame,
    *,
    batch: int | None = None,
    required_share: float = REQUIRED_SHARE,
    ladder: Ladder | None = None,
    **chosen: Unpack[row_rules.Choice],
) -> Fleet:
    """Sum a table's layers to networks and rank those of which enough was measured.

    Rows and response are chosen as `rows.select` does for every fit, from launches of a single instance.

    Args:
        frame: a table of the CSV contract.
        batch: images of a launch; by default the batch of most networks, the smaller where equal.
        required_share: of a network's multiply-adds and of its elements, 0 to 1.
        ladder: of the same table and choice, where there is one: its rows and fits are used, not made again.
        chosen: `device`, `backend`, `dtype`, as of `rows.select`.

    Raises:
        UserError: no row can be used, or none has that batch.
    """
    single = _single(frame)
    if ladder is not None and (single is frame or ladder.selection.networks):
        selection, data = ladder.selection, ladder.data
        catalogue, unseen = ladder.catalogue, ladder.unseen
    else:
        selection = row_rules.select(single, **chosen)
        data = data_of(selection.frame, selection.response)
        catalogue = catalogue_of(single)
        unseen = predict_families(data, catalogue)
    sums = list(network_sums(data, catalogue))
    if not sums:
        raise UserError("name", "must say of what network a layer is, such as resnet50/conv1")
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
    return Fleet(
        selection=selection,
        data=data,
        catalogue=catalogue,
        unseen=unseen,
        batch=best,
        complete_by_batch={n: complete[n] for n in batches},
        required_share=required_share,
        ranked=tuple(ranked),
        left_out=tuple(left_out),
    )


def column(networks: Sequence[NetworkCost], name: str) -> FloatArray:
    """`efficiency`, or a predictor, of networks in the rankings."""
    values = [one.efficiency if name == "efficiency" else one.predictors[name] for one in networks]
    return np.array(values, dtype=np.float64)


def _too_few(ranked: int) -> str:
    return (
        f"{ranked} networks are too few to compare rankings: "
        f"at least {FEWEST} are needed, of {FEWEST_FAMILIES} families for an interval"
    )


def _correlations(ranked: Sequence[NetworkCost]) -> dict[str, Correlations]:
    efficiency = column(ranked, "efficiency")
    return {name: correlations(efficiency, column(ranked, name)) for name in PREDICTORS}


def _contests(ranked: Sequence[NetworkCost], seed: int) -> dict[str, Contest | None]:
    efficiency = column(ranked, "efficiency")
    family = np.array([one.family for one in ranked], dtype=np.str_)
    return {
        name: contest(efficiency, column(ranked, ai), column(ranked, di), family, seed=seed)
        for name, (ai, di) in CONTESTS.items()
    }


def _single(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of one instance: several keep ratios but not what a launch of one costs."""
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
    total = float(each.sum())
    ci = math.hypot(float(np.linalg.norm(often * independent)), float(often @ shared))
    gap_bound = data.time[rows] < GAP_BOUND_S
    measured = len(rows) > 0
    cost = total / one.batch if measured else None
    cost_ci = ci / one.batch if measured and math.isfinite(ci) else None
    low, high = _efficiency_interval(one.macs, cost, cost_ci)
    return NetworkCost(
        network=one.network,
        family=one.family,
        cost=cost,
        cost_ci=cost_ci,
        macs=one.macs,
        covered_macs=one.covered_macs,
        covered_elements=one.covered_elements,
        layers=one.layers,
        missing=one.layers - len(one.rows),
        gap_bound=int(often[gap_bound].sum()),
        gap_bound_share=float(each[gap_bound].sum()) / total if measured else 0.0,
        predictors={} if fold is None else _predictors(one, data, fold),
        efficiency=None if cost is None else one.macs / cost,
        efficiency_low=low,
        efficiency_high=high,
    )


def _efficiency_interval(
    macs: float, cost: float | None, ci: float | None
) -> tuple[float | None, float | None]:
    """95%; no upper end where the cost's interval reaches zero."""
    if cost is None or ci is None:
        return None, None
    return macs / (cost + ci), macs / (cost - ci) if cost > ci else None


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
    """Each predictor by the fit without the network's family; a launch moves the weights once."""
    launch_macs = one.macs * one.batch
    found = {"macs": one.macs}
    for name, elements in fold.elements(data.only(one.rows)).items():
        found[name] = launch_macs / float(elements.sum())
    for name, predicted in fold.predicted.items():
        found[f"model_{name}"] = launch_macs / float(predicted[one.rows].sum())
    return found
