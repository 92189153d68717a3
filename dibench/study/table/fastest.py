"""Which kernel stands for an operator, and which run for a layer, in models on compulsory counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dibench.layer import DIMENSIONS
from dibench.study.table.columns import counts, numbers, texts

if TYPE_CHECKING:
    import pandas as pd


def fastest_variants(frame: pd.DataFrame, response: str) -> dict[str, str]:
    """Of each operator the variant of the least median time per MAC.

    Only variants on at least half as many layers as the operator's widest one compete: the few layers of a
    narrow one may simply be easy. A fast variant that a sweep ran on every layer wins over knobs
    tried on a handful.
    """
    op, variant = texts(frame, "op"), texts(frame, "variant")
    per_mac = _cost(frame, response) / counts(frame)["macs"]
    layer = _layers(frame)
    fastest: dict[str, str] = {}
    for name in sorted(set(op.tolist())):
        own = sorted(set(variant[op == name].tolist()))
        rows = {one: (op == name) & (variant == one) for one in own}
        covered = {one: len(np.unique(layer[rows[one]])) for one in own}
        most = max(covered.values())
        fastest[name] = min(
            (one for one in own if 2 * covered[one] >= most),
            key=lambda one: float(np.median(per_mac[rows[one]])),
        )
    return fastest


def is_slower(frame: pd.DataFrame, response: str) -> NDArray[np.bool_]:
    """Every row of a layer but the one of the least time."""
    order = np.argsort(_cost(frame, response), kind="stable")
    _, first = np.unique(_layers(frame)[order], return_index=True)
    slower = np.ones(len(frame), dtype=bool)
    slower[order[first]] = False
    return slower


def _cost(frame: pd.DataFrame, response: str) -> NDArray[np.float64]:
    """Time, by which the fastest is found; the response where the table has no times."""
    time = numbers(frame, "time_s")
    return np.where(time > 0, time, np.inf) if (time > 0).any() else numbers(frame, response)


def _layers(frame: pd.DataFrame) -> NDArray[np.intp]:
    """A number for each row's layer, equal for equal dimensions."""
    shapes = frame[list(DIMENSIONS)].astype("int64")
    return np.asarray(shapes.groupby(list(DIMENSIONS), sort=False).ngroup(), dtype=np.intp)
