"""Our fastest kernels beside a library on the same layers and card: its time and joules over ours.

A layer counts once: the fastest of our kernels on it against the library's fastest setting. Ratios are
geometric means over layers with a 95% t-interval of their logarithms. Joules are gross, as one pays for them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dibench.intensity import OPERATORS
from dibench.layer import DIMENSIONS
from dibench.schema import LIBRARY, is_measured, unpack_knobs
from dibench.study.findings.peer import Peer, Peers, Ratio
from dibench.study.maths.inference import student_quantile
from dibench.study.questions.one_model import CARD

if TYPE_CHECKING:
    import pandas as pd

_SAME = (*DIMENSIONS, "dtype", "device_uuid", CARD, "data", "instances", "cold")


def peers(frame: pd.DataFrame) -> Peers | None:
    """The library beside our kernels; None where the table has no layer that both ran."""
    rows = _usable(frame)
    theirs, ours = (_fastest(rows[(rows["backend"] == LIBRARY) == of]) for of in (True, False))
    both = ours.merge(theirs, on=list(_SAME), suffixes=("", "_theirs"))
    if both.empty:
        return None
    sources = sorted({*both["energy_source"], *both["energy_source_theirs"]})
    library = sorted(set(both["variant_theirs"]))
    found = tuple(
        _peer(str(op), str(dtype), group)
        for (op, dtype), group in sorted(both.groupby(["op", "dtype"]), key=_in_order)
    )
    source = sources[0] if len(sources) == 1 else ""
    return Peers(", ".join(library), source, found, measured=is_measured(source))


def _in_order(entry: tuple[Any, Any]) -> tuple[str, int]:
    (op, dtype), _ = entry
    return str(dtype), OPERATORS.index(op)


def _usable(frame: pd.DataFrame) -> pd.DataFrame:
    """Measured layers at full device, with text where cells may be empty."""
    rows = frame[frame["op"].isin(OPERATORS) & frame["status"].isin(("ok", "flagged"))].copy()
    for name in ("backend", "device_uuid", CARD, "data", "knobs", "variant", "energy_source"):
        rows[name] = rows[name].fillna("").astype(str) if name in rows else ""
    for name, empty in (("instances", 1.0), ("sentinel", 0.0), ("time_s", np.nan), ("energy_j", np.nan)):
        rows[name] = rows[name].astype("float64").fillna(empty) if name in rows else empty
    knobs = {cell: unpack_knobs(cell) for cell in rows["knobs"].unique()}
    rows["cold"] = rows["knobs"].map({cell: found.get("cold") == "1" for cell, found in knobs.items()})
    full = rows["knobs"].map({cell: "sms" not in found for cell, found in knobs.items()})
    return rows[full.astype(bool) & (rows["time_s"] > 0) & (rows["sentinel"] != 1)]


def _fastest(rows: pd.DataFrame) -> pd.DataFrame:
    kept = [*_SAME, "op", "variant", "time_s", "energy_j", "energy_source"]
    return rows.sort_values("time_s", kind="stable").drop_duplicates(list(_SAME))[kept]


def _peer(op: str, dtype: str, both: pd.DataFrame) -> Peer:
    time = _ratio((both["time_s_theirs"] / both["time_s"]).to_numpy(dtype=np.float64))
    energy = (both["energy_j_theirs"] / both["energy_j"]).to_numpy(dtype=np.float64)
    known = energy[np.isfinite(energy) & (energy > 0)]
    one_sensor = len({*both["energy_source"], *both["energy_source_theirs"]}) == 1
    assert time is not None
    return Peer(op, dtype, tuple(sorted(set(both["variant"]))), time, _ratio(known) if one_sensor else None)


def _ratio(values: NDArray[np.float64]) -> Ratio | None:
    """Geometric mean and its interval.

    >>> _ratio(np.array([0.5, 2.0])).value
    1.0
    """
    n = len(values)
    if not n:
        return None
    logs = np.log(values)
    mean = float(logs.mean())
    if n == 1:
        return Ratio(layers=1, value=math.exp(mean), ci_low=None, ci_high=None)
    half = student_quantile(n - 1) * float(logs.std(ddof=1)) / math.sqrt(n)
    low, high = math.exp(mean - half), math.exp(mean + half)
    return Ratio(layers=n, value=math.exp(mean), ci_low=low, ci_high=high)
