"""Columns of a table as arrays, even if the table lacks them, and the counts that follow from dimensions."""

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
    """A column as floats (n,); `absent` for an empty cell or a missing column."""
    if name not in frame:
        return np.full(len(frame), absent)
    return frame[name].to_numpy(dtype=np.float64, na_value=absent)


def texts(frame: pd.DataFrame, name: str) -> NDArray[np.object_]:
    """A column as text (n,); empty for an empty cell or a missing column."""
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
