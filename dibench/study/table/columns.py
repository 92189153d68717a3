"""Columns of a table as arrays, whether the table has them or not, and counts that follow from them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dibench import intensity
from dibench.layer import DIMENSIONS

if TYPE_CHECKING:
    import pandas as pd


def numbers(frame: pd.DataFrame, name: str, absent: float = math.nan) -> NDArray[np.float64]:
    """A column as decimals (n,); `absent` where a cell is empty or the table has no such column."""
    if name not in frame:
        return np.full(len(frame), absent)
    return frame[name].to_numpy(dtype=np.float64, na_value=absent)


def texts(frame: pd.DataFrame, name: str) -> NDArray[np.object_]:
    """A column as text (n,); empty where a cell is, or where the table has no such column."""
    if name not in frame:
        return np.full(len(frame), "", dtype=object)
    return frame[name].astype(object).fillna("").astype(str).to_numpy(dtype=object)


def counts(frame: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Compulsory counts of each row from its dimensions: macs, weights, inputs, outputs."""
    d = {dim: numbers(frame, dim) for dim in DIMENSIONS}
    return {
        "macs": intensity.macs(d["N"], d["K"], d["P"], d["Q"], d["C"], d["groups"], d["R"], d["S"]),
        "weights": intensity.weights(d["K"], d["C"], d["groups"], d["R"], d["S"]),
        "inputs": intensity.inputs(d["N"], d["C"], d["H"], d["W"]),
        "outputs": intensity.outputs(d["N"], d["K"], d["P"], d["Q"]),
    }
