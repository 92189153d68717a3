"""What the report shows beside the answers: speeds, error budget, equal boxes, and residuals of a fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dibench.intensity import OPERATORS
from dibench.layer import DIMENSIONS
from dibench.schema import pack_knobs, unpack_knobs
from dibench.study.findings.described import (
    BEATEN,
    Cache,
    Described,
    ErrorPart,
    Peaks,
    Ratios,
    Residuals,
    Roofs,
    Speed,
)
from dibench.study.maths.scores import spearman

ERRORS = ("ci_tick_j", "ci_spread_j", "ci_drift_j", "ci_baseline_j", "energy_ci_j")
"""Parts of the error budget, and the whole."""

PAIRS = (("weight", "output"), ("input", "output"), ("input", "weight"))
_BOX = ("tile_p", "tile_k", "tile_c", "instances", "knobs", "dtype", "device")
_COUNTS = ("macs_executed", "weight_reads", "input_reads", "output_reads", "output_writes")


def described(
    rows: pd.DataFrame, used: pd.DataFrame, response: str, manifest: Mapping[str, Any] | None
) -> Described:
    """All of it, of one card.

    Args:
        rows: of `table.layers.layers_of`.
        used: the rows of a fit with its predictions.
        response: the column of costs.
        manifest: of the sweep, with the peaks of its machine; None where there is none.
    """
    peaks = peaks_of(manifest)
    usable = rows[rows["usable"]]
    below = None if peaks is None else _below_roofs(usable, peaks)
    roofs = None if below is None else _roofs(below)
    return Described(
        peaks=peaks,
        roofs=roofs,
        speeds=_speeds(usable, below if roofs and not roofs.beaten else None),
        stationarity=_stationarity(rows, response),
        errors=_errors(rows),
        accesses_and_time=_rank(rows[rows["usable"]]),
        residuals=residuals(used, response),
    )


def medians(rows: pd.DataFrame, column: str) -> dict[str, float]:
    """Median of a column by operator, of those that have a value."""
    return {op: float(own[column].median()) for op, own in _by_operator(rows[rows[column] > 0]).items()}


def peaks_of(manifest: Mapping[str, Any] | None) -> Peaks | None:
    """The peaks that a manifest records; None where it has none."""
    found = (manifest or {}).get("peaks")
    if not isinstance(found, Mapping):
        return None
    known = {
        name: float(one)
        for name, one in found.items()
        if isinstance(one, int | float) and not isinstance(one, bool) and 0 < one < math.inf
    }
    if not {"mac_per_s", "bytes_per_s"} <= known.keys():
        return None
    levels = [(f"l{level}_bytes", f"l{level}_bytes_per_s") for level in range(1, 5)]
    caches = [Cache(known[size], known[rate]) for size, rate in levels if size in known and rate in known]
    return Peaks(known["mac_per_s"], known["bytes_per_s"], known.get("scalar_mac_per_s"), tuple(caches))


def _below_roofs(usable: pd.DataFrame, peaks: Peaks) -> pd.DataFrame:
    """Of the rows that have a roof: `share` of it, `scalar` (the roof of a reuse kernel), `by_arithmetic`."""
    reuse = (usable["tile_p"] > 0) | (usable["stationarity"] == "none")
    scalar = reuse & (peaks.scalar_mac_per_s is not None)
    # What a launch touches; instances are independent copies of the operands.
    footprint = usable["macs"] * usable["instances"].fillna(1) / usable["mac_per_byte"]
    slanted = usable["mac_per_byte"] * peaks.bandwidth(footprint)
    roof = np.where(scalar, peaks.scalar_mac_per_s or math.nan, np.minimum(peaks.mac_per_s, slanted))
    share: Any = usable["mac_per_s"] / roof
    below = pd.DataFrame({"share": share, "scalar": scalar, "by_arithmetic": slanted >= peaks.mac_per_s})
    return below[scalar | usable["fastest"]]


def _roofs(below: pd.DataFrame) -> Roofs:
    scalar = below.loc[below["scalar"], "share"]
    return Roofs(
        beaten=int((below["share"] > BEATEN).sum()),
        most=float(below["share"].max()) if len(below) else 0.0,
        scalar_rows=len(scalar),
        scalar_share=float(scalar.median()) if len(scalar) else None,
    )


def _speeds(usable: pd.DataFrame, below: pd.DataFrame | None) -> dict[str, Speed]:
    found = {}
    for op, own in _by_operator(usable).items():
        fast = own[own["fastest"]]
        under = None if below is None else below.loc[fast.index]
        found[op] = Speed(
            rows=len(own),
            layers=len(fast),
            median_s_per_mac=float(fast["ps_per_mac"].median()) * 1e-12,
            most_mac_per_s=float(fast["mac_per_s"].max()),
            median_share=None if under is None else float(under["share"].median()),
            best_share=None if under is None else float(under["share"].max()),
            by_arithmetic=None if under is None else float(under["by_arithmetic"].mean()),
        )
    return found


def _by_operator(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {op: own for op in OPERATORS if len(own := rows[rows["op"] == op])}


def _errors(rows: pd.DataFrame) -> tuple[ErrorPart, ...]:
    found = []
    for column in ERRORS:
        if column in rows and "energy_j" in rows:
            relative = (rows[column] / rows["energy_j"])[(rows[column] > 0) & (rows["energy_j"] > 0)]
            if len(relative):
                found.append(ErrorPart(column, *relative.quantile([0.05, 0.5, 0.95])))
    return tuple(found)


def _rank(usable: pd.DataFrame) -> float | None:
    counted = usable.loc[usable["accesses_per_mac"] > 0, ["accesses_per_mac", "ps_per_mac"]].to_numpy(float)
    return spearman(*counted.T) if len(counted) > 2 else None


def _ratios(op: str, values: Any, pair: str = "") -> Ratios:
    ordered = np.sort(np.asarray(values, dtype=float))
    low, median, high = np.quantile(ordered, [0.25, 0.5, 0.75]).tolist()
    return Ratios(op, ordered, (low, median, high), pair)


def _stationarity(rows: pd.DataFrame, response: str) -> tuple[Ratios, ...]:
    pairs = equal_boxes(rows, response)
    return tuple(
        _ratios(op, own["ratio"], str(pair))
        for op, boxes in _by_operator(pairs).items()
        for pair, own in boxes.groupby("pair", sort=False)
    )


def equal_boxes(rows: pd.DataFrame, response: str) -> pd.DataFrame:
    """Ratios of `response` at equal layer and box: columns op, pair, ratio.

    A ratio of 1.2 of the pair `weight / output`: holding weights costs 1.2 times what holding outputs costs.
    Rows are paired only where their recorded counts are equal too, so that accesses never differ.
    """
    usable = _with_box(rows[rows["usable"] & (rows[response] > 0)])
    keys = [*DIMENSIONS, *_BOX, *_COUNTS]
    # Where two variants hold the same operand in the same box, the one that costs less stands for both.
    best = usable.groupby([*keys, "op", "stationarity"], dropna=False)[response].min().unstack("stationarity")
    parts = []
    for name, reference in PAIRS:
        if name in best and reference in best:
            ratio = (best[name] / best[reference]).dropna().rename("ratio").reset_index()
            parts.append(ratio.assign(pair=f"{name} / {reference}")[["op", "pair", "ratio"]])
    return pd.concat(parts) if parts else pd.DataFrame({"op": [], "pair": [], "ratio": []})


def _with_box(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with a box, their knobs without those at 0, which are off."""
    knobs = rows["knobs"].fillna("")
    on = {
        cell: pack_knobs({name: value for name, value in unpack_knobs(cell).items() if value != "0"})
        for cell in knobs.unique()
    }
    return rows.assign(knobs=knobs.map(on))[rows["tile_p"].notna()]


def residuals(used: pd.DataFrame, response: str) -> dict[str, Residuals]:
    """Of AI and weighted DI; held out where half of the rows have such a prediction, else in sample."""
    found = {}
    for model in ("ai", "di_weighted"):
        for how, least in (("held_out", 0.5), ("predicted", 0.0)):
            column = f"{how}_{model}"
            if column not in used or float((used[column] > 0).mean()) <= least:
                continue
            apart = used.assign(ratio=used[response] / used[column])
            apart = apart[np.isfinite(apart["ratio"]) & (apart["ratio"] > 0)]
            found[model] = Residuals(
                column=column,
                held_out=how == "held_out",
                within_two=float((np.abs(np.log2(apart["ratio"])) < 1).mean()),
                by_operator=tuple(_ratios(op, own["ratio"]) for op, own in _by_operator(apart).items()),
            )
            break
    return found
