"""Which kernel represents an operator, and which run a layer, in models on compulsory counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dibench.layer import DIMENSIONS
from dibench.study.table.columns import counts, is_network, numbers, row_numbers, shapes, texts

if TYPE_CHECKING:
    import pandas as pd


def fastest_variants(frame: pd.DataFrame, response: str) -> dict[str, str]:
    """The variant of each operator with the least median time per MAC.

    A variant competes only if it ran on at least half as many layers as the variant that ran on most: one
    that ran on a handful may just have had easy layers.
    """
    op, variant = texts(frame, "op"), texts(frame, "variant")
    per_mac = _cost(frame, response) / counts(frame)["macs"]
    layer = layer_numbers(frame)
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
    """Every row of a layer except the fastest."""
    order = np.argsort(_cost(frame, response), kind="stable")
    _, first = np.unique(layer_numbers(frame)[order], return_index=True)
    slower = np.ones(len(frame), dtype=bool)
    slower[order[first]] = False
    return slower


def _cost(frame: pd.DataFrame, response: str) -> NDArray[np.float64]:
    """Time, which decides what is fastest; the response if the table has no times."""
    time = numbers(frame, "time_s")
    return np.where(time > 0, time, np.inf) if (time > 0).any() else numbers(frame, response)


def layer_numbers(frame: pd.DataFrame) -> NDArray[np.intp]:
    """A number for each row's layer, equal for equal dimensions; of networks, for equal name and input."""
    if is_network(frame).any():
        return row_numbers(frame[["N"]].assign(shape=shapes(frame)), ("N", "shape"))
    return row_numbers(frame, DIMENSIONS)
