"""Columns of a table as arrays, even if the table lacks them, and what follows from dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def shapes(frame: pd.DataFrame) -> NDArray[np.str_]:
    """`shape_key` of each row."""
    sizes = frame[list(DIMENSIONS[1:])].astype("int64")
    code = sizes.groupby(list(DIMENSIONS[1:]), sort=False).ngroup().to_numpy()
    first = np.unique(code, return_index=True)[1]
    different = sizes.iloc[first].to_numpy(dtype=object)
    return np.array(["x".join(map(str, shape)) for shape in different], dtype=np.str_)[code]


def shape_key(shape: Sequence[int]) -> str:
    """A layer's shape without its batch.

    >>> shape_key(range(16))
    '1x2x3x4x5x6x7x8x9x10x11x12x13x14x15'
    """
    return "x".join(map(str, shape[1:]))
