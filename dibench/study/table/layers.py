"""Rows of layers with what follows from their columns: counts of the shape, counted accesses, costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dibench import intensity
from dibench.layer import DIMENSIONS
from dibench.schema import LIBRARY, NO_LAYER, RESPONSES

if TYPE_CHECKING:
    import pandas as pd

USABLE = ("ok", "flagged")
_TEXT = ("name", "variant", "stationarity", "knobs", "device", "backend", "reason", "started_at")
_ACCESSES = ("weight_reads", "input_reads", "output_reads", "output_writes")
_NUMBERS = (*RESPONSES, "macs_executed", *_ACCESSES, "tile_p", "tile_k", "tile_c", "instances", "sentinel")


def layers_of(table: pd.DataFrame) -> pd.DataFrame:
    """Layers by our kernels; by a library where nothing else ran: beside ours it has a table of its own."""
    layers = table[~table["op"].isin(NO_LAYER)]
    theirs = (layers["backend"] == LIBRARY) if "backend" in layers else layers["op"].isna()
    return derived(layers if theirs.all() else layers[~theirs])


def derived(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of layers with every column that the report reads, and what follows from them.

    `macs weights inputs outputs` are counted from the shape. Added are `activations`, `ai`, `weight_reuse`,
    `activation_reuse` and `mac_per_byte` (compulsory); `weight_reuse_done`, `input_reuse_done` and
    `accesses_per_mac` (effective); `ps_per_mac`, `mac_per_s`, `pj_per_mac` (of `energy_column`); `usable`
    (status ok or flagged, no sentinel, a time) and `fastest` (see `_fastest`). Unknown is NaN.

    Args:
        frame: of layers, as `table.read_csv` gives it.
    """
    rows = frame.copy()
    for name in _TEXT:
        rows[name] = rows[name].fillna("").astype(str) if name in rows else ""
    for name in (*DIMENSIONS, *_NUMBERS):
        rows[name] = rows[name].astype("float64") if name in rows else np.nan
    n, c, h, w, k, r, s, p, q = (rows[dim] for dim in ("N", "C", "H", "W", "K", "R", "S", "P", "Q"))
    rows["macs"] = intensity.macs(n, k, p, q, c, rows["groups"], r, s)
    rows["weights"] = intensity.weights(k, c, rows["groups"], r, s)
    rows["inputs"] = intensity.inputs(n, c, h, w)
    rows["outputs"] = intensity.outputs(n, k, p, q)
    rows["usable"] = rows["status"].isin(USABLE) & (rows["time_s"] > 0) & ~(rows["sentinel"] > 0)
    _add_reuse(rows)
    _add_cost(rows)
    rows["fastest"] = _fastest(rows)
    return rows


def energy_column(frame: pd.DataFrame) -> str | None:
    """The best energy response that has values, or None: different definitions of energy are never mixed."""
    for name in RESPONSES:
        if name != "time_s" and name in frame and bool((frame[name] > 0).any()):
            return name
    return None


def _add_reuse(rows: pd.DataFrame) -> None:
    macs, weights = rows["macs"], rows["weights"]
    activations = rows["activations"] = rows["inputs"] + rows["outputs"]
    rows["ai"] = intensity.arithmetic_intensity(macs, weights, activations)
    rows["weight_reuse"] = intensity.reuse(macs, weights)
    rows["activation_reuse"] = intensity.reuse(macs, activations)
    rows["mac_per_byte"] = rows["ai"] / rows["dtype"].map(intensity.ELEMENT_BYTES).astype("float64")
    done = rows["macs_executed"].fillna(macs)
    rows["weight_reuse_done"] = done / rows["weight_reads"].where(rows["weight_reads"] > 0)
    rows["input_reuse_done"] = done / rows["input_reads"].where(rows["input_reads"] > 0)
    rows["accesses_per_mac"] = rows[list(_ACCESSES)].sum(axis=1, skipna=False) / done


def _add_cost(rows: pd.DataFrame) -> None:
    rows["ps_per_mac"] = 1e12 * rows["time_s"] / rows["macs"]
    rows["mac_per_s"] = rows["macs"] / rows["time_s"].where(rows["time_s"] > 0)
    column = energy_column(rows)
    rows["pj_per_mac"] = 1e12 * rows[column] / rows["macs"] if column else np.nan


def _fastest(rows: pd.DataFrame) -> Any:
    """True for the best time of each layer, dtype and device by the fastest variant of its operator in it.

    That variant has the least median time per MAC. A layer run by other variants only has no such row: how
    slow a kernel without reuse is says nothing about the layer.
    """
    usable = rows[rows["usable"]]
    if usable.empty:
        return np.zeros(len(rows), dtype=bool)
    kinds = ["op", "dtype", "variant"]
    typical: Any = usable.groupby(kinds)["ps_per_mac"].median()
    quickest = set(typical.groupby(["op", "dtype"]).idxmin())
    chosen = usable[[kind in quickest for kind in zip(*(usable[name] for name in kinds), strict=True)]]
    best: Any = chosen.groupby([*DIMENSIONS, "dtype", "device"])["time_s"].idxmin()
    return rows.index.isin(best)
