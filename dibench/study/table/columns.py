"""Columns of a table as arrays, even if the table lacks them, and what follows from dimensions.

A layer's counts follow from its dimensions; those of a whole network are columns of its row, sums over its
layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dibench import intensity
from dibench.intensity import OPERATORS
from dibench.layer import DIMENSIONS
from dibench.schema import NAMES, NETWORK

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


def of_contract(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with its columns beyond the contract as one number, equal for equal cells.

    They tell rows apart that are otherwise alike, and no more: a study copies what is left many times.

    >>> import pandas as pd
    >>> table = of_contract(pd.DataFrame({"op": ["fc", "fc"], "run": ["1", "1"], "host": ["a", "b"]}))
    >>> list(table), table["others"].nunique()
    (['op', 'others'], 2)
    """
    known = [name for name in frame if name in NAMES]
    others = [name for name in frame if name not in NAMES]
    if len(others) < 2:
        return frame
    cells = frame[others].to_numpy(dtype=object)
    return frame[known].assign(others=[hash(tuple(map(str, row))) for row in cells])


def counts(frame: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Compulsory counts of each row: macs, weights, inputs, outputs; a network without inputs has as many as
    outputs, as nearly every output is the next layer's input."""
    found = _of_layers(frame)
    whole = is_network(frame)
    if whole.any():
        given = {name: numbers(frame, name) for name in found}
        given["inputs"] = np.where(np.isnan(given["inputs"]), given["outputs"], given["inputs"])
        found = {name: np.where(whole, given[name], values) for name, values in found.items()}
    return found


def macs_by_operator(frame: pd.DataFrame) -> NDArray[np.float64]:
    """Multiply-adds (n, operators) of each row; not numbers where a network's row does not say."""
    op, macs = texts(frame, "op"), counts(frame)["macs"]
    own = np.column_stack([np.where(op == name, macs, 0.0) for name in OPERATORS])
    whole = op == NETWORK
    if whole.any():
        given = np.column_stack([numbers(frame, f"macs_{name}") for name in OPERATORS])
        own = np.where(whole[:, None], given, own)
    return own


def is_network(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows (n,) are of whole networks."""
    return np.asarray(texts(frame, "op") == NETWORK)


def _of_layers(frame: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    d = {dim: numbers(frame, dim) for dim in DIMENSIONS}
    return {
        "macs": intensity.macs(d["N"], d["K"], d["P"], d["Q"], d["C"], d["groups"], d["R"], d["S"]),
        "weights": intensity.weights(d["K"], d["C"], d["groups"], d["R"], d["S"]),
        "inputs": intensity.inputs(d["N"], d["C"], d["H"], d["W"]),
        "outputs": intensity.outputs(d["N"], d["K"], d["P"], d["Q"]),
    }


def shapes(frame: pd.DataFrame) -> NDArray[np.str_]:
    """`shape_key` of each row; of a whole network its name and the size of its input."""
    if not len(frame):
        return np.empty(0, dtype=np.str_)
    whole = is_network(frame)
    if whole.any():
        found = np.full(len(frame), "", dtype=object)
        found[~whole] = shapes(frame[~whole])
        found[whole] = _networks(frame[whole])
        return found.astype(np.str_)
    sizes = frame[list(DIMENSIONS[1:])].astype("int64")
    code = sizes.groupby(list(DIMENSIONS[1:]), sort=False).ngroup().to_numpy()
    first = np.unique(code, return_index=True)[1]
    different = sizes.iloc[first].to_numpy(dtype=object)
    return np.array(["x".join(map(str, shape)) for shape in different], dtype=np.str_)[code]


def _networks(frame: pd.DataFrame) -> list[str]:
    """Name and input of each network; one without a name is told by its counts."""
    names = texts(frame, "name")
    unnamed = zip(*(counts(frame)[count] for count in ("macs", "weights", "outputs")), strict=True)
    sizes = zip(*(texts(frame, dim) for dim in ("C", "H", "W")), strict=True)
    return [
        f"{name or 'x'.join(f'{count:g}' for count in own)} {'x'.join(size)}".removesuffix(" xx")
        for name, own, size in zip(names.tolist(), unnamed, sizes, strict=True)
    ]


def shape_key(shape: Sequence[int]) -> str:
    """A layer's shape without its batch.

    >>> shape_key(range(16))
    '1x2x3x4x5x6x7x8x9x10x11x12x13x14x15'
    """
    return "x".join(map(str, shape[1:]))
