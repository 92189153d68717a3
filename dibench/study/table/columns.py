"""Columns of a table as arrays, even if the table lacks them, and what follows from dimensions.

A layer's counts follow from its dimensions; those of a whole network are columns of its row, sums over its
layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dibench import intensity
from dibench.intensity import OPERATORS
from dibench.layer import DIMENSIONS
from dibench.schema import NAMES, NETWORK
from dibench.table import OTHERS

if TYPE_CHECKING:
    import pandas as pd


UNREAD = frozenset(
    {
        *("order", "session", "seed", "meter_period_s", "visits", "launches", "energy_alt_j", "zeus_power_w"),
        *("temp_start_c", "temp_end_c", "sm_clock_mhz", "mem_clock_mhz", "memory_power_w"),
        *("dram_bandwidth_pct", "fp32_pct", "tensor_pct", "occupancy_pct"),
    }
)
"""Columns of the contract that no question of the study reads, nor what shows the answers."""

STUDIED = tuple(name for name in NAMES if name not in UNREAD)
"""Columns to read for a study, as of `read_csv`."""


def numbers(frame: pd.DataFrame, name: str, absent: float = math.nan) -> NDArray[np.float64]:
    """A column as floats (n,); `absent` for an empty cell or a missing column."""
    if name not in frame:
        return np.full(len(frame), absent)
    return frame[name].to_numpy(dtype=np.float64, na_value=absent)


def texts(frame: pd.DataFrame, name: str) -> NDArray[np.object_]:
    """A column as text (n,); empty for an empty cell or a missing column. Equal cells are one object."""
    import pandas as pd

    if name not in frame:
        return np.full(len(frame), "", dtype=object)
    code, different = pd.factorize(frame[name])
    return np.array([*map(str, different), ""], dtype=object)[code]


def studied(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with the columns that no question reads as one number, equal for equal cells.

    They tell rows apart that are otherwise alike, and no more: a study copies what is left many times.

    >>> import pandas as pd
    >>> table = studied(pd.DataFrame({"op": ["fc", "fc"], "seed": [1, 1], "host": ["a", "b"]}))
    >>> list(table), table["others"].nunique()
    (['op', 'others'], 2)
    """
    import pandas as pd

    known = [name for name in frame if name in STUDIED]
    others = [name for name in frame if name not in STUDIED]
    if others in ([], [OTHERS]):
        return frame
    rest = frame[others]
    told = rest.astype({name: str for name in others if rest[name].dtype == object})  # also lists
    return frame[known].assign(others=pd.util.hash_pandas_object(told, index=False))


def row_numbers(frame: pd.DataFrame, names: Iterable[Any]) -> NDArray[np.intp]:
    """A number (n,) for each row, equal for equal cells in these columns; an empty text is a missing cell.

    From 0 on, in the order of appearance. One column after the other, which takes three numbers a row:
    `duplicated` and `groupby` of pandas keep one for each cell.
    """
    import pandas as pd

    found, different = np.zeros(len(frame), dtype=np.intp), 1
    for name in names:
        if different == len(frame):
            break
        own, cells = pd.factorize(
            frame[name] if pd.api.types.is_numeric_dtype(frame[name]) else texts(frame, name)
        )
        found, seen = pd.factorize(found * (len(cells) + 1) + own)
        different = len(seen)
    return found


def first_rows(number: NDArray[np.intp]) -> NDArray[np.intp]:
    """Where each number of `row_numbers` stands first (m,)."""
    first = np.empty(number.max(initial=-1) + 1, dtype=np.intp)
    first[number[::-1]] = np.arange(len(number) - 1, -1, -1)
    return first


def is_earlier(number: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which rows (n,) have a later one of the same number."""
    last = np.empty(number.max(initial=-1) + 1, dtype=np.intp)
    last[number] = np.arange(len(number))
    return np.asarray(last[number] != np.arange(len(number)))


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


def shapes(frame: pd.DataFrame) -> NDArray[np.object_]:
    """`shape_key` of each row; of a whole network its name and the size of its input."""
    if not len(frame):
        return np.empty(0, dtype=object)
    whole = is_network(frame)
    if whole.any():
        found = np.full(len(frame), "", dtype=object)
        found[~whole] = shapes(frame[~whole])
        found[whole] = _networks(frame[whole])
        return found
    sizes = frame[list(DIMENSIONS[1:])]
    code = row_numbers(sizes, sizes)
    different = sizes.iloc[first_rows(code)].astype("int64").to_numpy(dtype=object)
    return np.array(["x".join(map(str, shape)) for shape in different], dtype=object)[code]


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
