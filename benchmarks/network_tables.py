"""Whole networks as predicted and as measured: the tables of docs/prediction.md.

In every figure what is predicted was not seen. The layers' fit has no row of the network's architecture
family and none of a shape that a measured network of that family has; what runs between layers is fitted to
networks of other families.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dibench.layer import DIMENSIONS
from dibench.models import Model
from dibench.study.findings.fitted_model import FittedModel, Origin
from dibench.study.findings.prediction import PredictedCost
from dibench.study.ladder.folds import make_folds
from dibench.study.ladder.ladder import make_clusterings
from dibench.study.ladder.models import data_of
from dibench.study.ladder.predictors import predictor_of
from dibench.study.ladder.rungs import Rung, fit_rung
from dibench.study.table.catalogue import catalogue_of
from dibench.study.table.families import family_of, network_of
from dibench.study.table.rows import select
from dibench.study.use.between_layers import fit_known, known_of, predict_whole
from dibench.study.use.predict import predict

MODEL = "di_weighted"


@attrs.frozen
class Compared:
    """One network at one batch: seconds."""

    network: str
    batch: int
    measured: float
    layers: PredictedCost
    whole: PredictedCost

    @property
    def ratio(self) -> float:
        """Predicted sum of layers over measured."""
        return self.layers.value / self.measured

    @property
    def whole_ratio(self) -> float:
        """The same with what runs between layers."""
        return self.whole.value / self.measured

    @property
    def inside(self) -> bool:
        """Whether the measurement lies in the interval of the sum of layers."""
        return self.layers.low <= self.measured <= self.layers.high

    @property
    def whole_inside(self) -> bool:
        """Whether it lies in the interval of the whole network."""
        return self.whole.low <= self.measured <= self.whole.high


def fit_of(frame: pd.DataFrame, left_out: NDArray[np.bool_] | None = None) -> FittedModel:
    """Weighted DI of the rows of layers that are not left out; None of its figures knows of the others."""
    chosen = select(frame)
    rows = chosen.frame if left_out is None else chosen.frame[~left_out].reset_index(drop=True)
    data = data_of(rows, chosen.response)
    folds = make_folds(data, catalogue=catalogue_of(rows, whole=False))
    clusterings = make_clusterings(data, 1, 0)
    rung = fit_rung(MODEL, data, clusterings, folds)
    assert isinstance(rung, Rung)
    predictor = predictor_of(rung, data, clusterings, folds)
    assert predictor is not None
    origin = Origin(
        model=MODEL,
        device=str(rows["device"].iloc[0]),
        dtype="fp32",
        response=chosen.response,
        energy_source=("none",),
        measured=True,
        basis="time",
    )
    return FittedModel(origin=origin, predictor=predictor, ranges={})


def compared(layers: pd.DataFrame, networks: pd.DataFrame, models: Sequence[Model]) -> Iterator[Compared]:
    """Each measured network beside what fits predict that have not seen its family."""
    rows = select(layers).frame
    shapes = list(map(tuple, rows[list(DIMENSIONS)].to_numpy(dtype=np.int64).tolist()))
    families = np.array([family_of(network_of(name)) for name in rows["name"].fillna("")])
    for family in sorted({family_of(one.name) for one in models}):
        own = [one for one in models if family_of(one.name) == family]
        have = {layer.shape for one in own for layer in one.layers}
        seen = (families == family) | np.array([shape in have for shape in shapes])
        fit = fit_of(layers, seen)
        known, _ = known_of(models, networks, fit)
        rest = fit_known(known.only(known.family != family))
        found = predict(own, fit, measured=networks)
        sums = {(one.network, one.batch): one.total for one in found.predictions}
        for one in found.measured_networks:
            at = (known.network == one.network) & (known.batch == one.batch)
            whole = PredictedCost(*(float(value[0]) for value in predict_whole(known.terms[at], rest)))
            yield Compared(one.network, one.batch, one.measured, sums[one.network, one.batch], whole)


def show(by_fit: Mapping[str, Sequence[Compared]]) -> None:
    """Print predicted over measured for each network, then coverage and errors, as Markdown.

    Args:
        by_fit: what each fit of layers predicts, by what it was fitted to.
    """
    batches = sorted({one.batch for found in by_fit.values() for one in found})
    sides = [(fit, batch) for fit in by_fit for batch in batches]
    cells: dict[str, dict[tuple[str, int], str]] = {}
    for fit, found in by_fit.items():
        for one in found:
            cells.setdefault(one.network, {})[fit, one.batch] = _cell(one)
    print("| network |" + "".join(f" {fit}, batch {batch} |" for fit, batch in sides))
    print("|:--|" + "--:|" * len(sides))
    for network, own in cells.items():
        print(f"| {network} |" + "".join(f" {own.get(side, '')} |" for side in sides))
    print("\n| fitted to | inside 95% | geometric mean | mean absolute error | scatter (sd of log) |")
    print("|:--|--:|--:|--:|--:|")
    for fit, found in by_fit.items():
        print(_summary(f"{fit}: layers", [(one.ratio, one.inside) for one in found]))
        print(_summary(f"{fit}: whole", [(one.whole_ratio, one.whole_inside) for one in found]))


def _cell(one: Compared) -> str:
    """Both ratios; * where the measurement lies outside the interval."""
    layers, whole = "" if one.inside else "\\*", "" if one.whole_inside else "\\*"
    return f"{one.ratio:.2f}{layers} → {one.whole_ratio:.2f}{whole}"


def _summary(what: str, found: Sequence[tuple[float, bool]]) -> str:
    ratios = np.array([ratio for ratio, _ in found])
    inside, logs = sum(one for _, one in found), np.log(ratios)
    return (
        f"| {what} | {inside} of {len(found)} | {np.exp(logs.mean()):.2f} | "
        f"{100 * np.abs(ratios - 1).mean():.0f}% | {100 * logs.std(ddof=1):.0f}% |"
    )
