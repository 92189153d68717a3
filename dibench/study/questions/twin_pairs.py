"""Which rows of a table are exact twins, and which are their placebo: found by shape, under one kernel.

The two halves of a pair of twins have the same multiply-adds, outputs, AI, reduction depth, kernel and knobs;
W of the one is X of the other. The halves of a placebo are transposed (H with W, R with S): all counts are
equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from dibench.layer import DIMENSIONS
from dibench.study.questions.one_model import CARD
from dibench.study.table.columns import counts, numbers, texts

if TYPE_CHECKING:
    import pandas as pd

IntArray = NDArray[np.int64]
Mask = NDArray[np.bool_]

EQUAL = {
    "twins": ("macs_executed", "output_reads", "output_writes"),
    "placebo": (
        "macs_executed", "weight_reads", "input_reads", "output_reads", "output_writes",
        "weight_sectors", "input_sectors", "output_sectors",
    ),
}  # fmt: skip
"""Effective counts that must be equal in both halves, where the table has them."""

_KERNEL = ("op", "lanes", "variant", "tile_p", "tile_k", "tile_c", "instances", "knobs", CARD)
"""Both halves are of one card, also where a table holds several (`one_model`)."""
_FILTER = ("C", "R", "S", "groups", "stride_h", "stride_w", "pad_h", "pad_w", "dil_h", "dil_w")
_TURN = (
    ("W", "H"), ("S", "R"), ("Q", "P"), ("stride_w", "stride_h"), ("pad_w", "pad_h"), ("dil_w", "dil_h"),
)  # fmt: skip


@attrs.frozen
class Match:
    """Two rows, by position, of one pair under one kernel."""

    op: str
    lanes: str
    """`p`, `k`, empty where kernels have no lanes."""
    variant: str
    pair: tuple[Any, ...]
    """Both shapes."""
    upper: int
    """The half with more weights; of a placebo the wide image."""
    lower: int


def matches(frame: pd.DataFrame) -> dict[str, tuple[list[Match], list[Match]]]:
    """`twins` and `placebo`: the pairs by shape, and those of them that are a fair comparison.

    A comparison is fair if the effective counts, where the table has them, are equal, and if the kernel does
    not choose other tiles, and so other reads, for one half.
    """
    dims = {dim: frame[dim].to_numpy(dtype=np.int64) for dim in DIMENSIONS}
    by_shape = {
        "twins": _joined(frame, dims, *_twin_sides(dims, counts(frame))),
        "placebo": _joined(frame, dims, *_placebo_sides(dims)),
    }
    fair = {kind: _exact(frame, found, EQUAL[kind]) for kind, found in by_shape.items()}
    fair["twins"] = _controlled(frame, fair["twins"])
    return {kind: (by_shape[kind], fair[kind]) for kind in by_shape}


def _twin_sides(dims: Mapping[str, IntArray], count: Mapping[str, Any]) -> tuple[list[Any], Mask, Mask]:
    """What both halves have in common, which rows have more weights, which rows can have a twin."""
    W, X = count["weights"], count["inputs"]
    same_size = (dims["stride_h"] == 1) & (dims["stride_w"] == 1)
    same_size &= (dims["P"] == dims["H"]) & (dims["Q"] == dims["W"])
    depthwise = (dims["groups"] == dims["C"]) & (dims["C"] > 1)
    fc = (dims["groups"] == 1) & np.logical_and.reduce([dims[name] == 1 for name in "HWRSPQ"])
    lone = fc & ((dims["N"] == 1) | (dims["K"] == 1))
    # Filters of several taps reach into the padding: its share is equal only for equal images.
    image = [np.where(dims["R"] * dims["S"] > 1, dims[name], 0) for name in "HW"]
    sizes = [np.minimum(W, X), np.maximum(W, X)]
    common = [*(dims[name] for name in _FILTER), *image, count["macs"], count["outputs"], *sizes]
    return common, W > X, (W != X) & same_size & ~depthwise & ~lone


def _placebo_sides(dims: Mapping[str, IntArray]) -> tuple[list[Any], Mask, Mask]:
    """The same for transposed layers: the wide one is the upper half."""
    wide, undecided = np.zeros(len(dims["N"]), dtype=bool), np.ones(len(dims["N"]), dtype=bool)
    for across, down in _TURN:
        wide = wide | (undecided & (dims[across] > dims[down]))
        undecided = undecided & (dims[across] == dims[down])
    tall = dict(dims)
    for across, down in _TURN:
        tall[across] = np.where(wide, dims[down], dims[across])
        tall[down] = np.where(wide, dims[across], dims[down])
    return list(tall.values()), wide, ~undecided


def _joined(
    frame: pd.DataFrame, dims: Mapping[str, IntArray], common: Sequence[Any], upper: Mask, usable: Mask
) -> list[Match]:
    """Pairs of each kernel and key: the first upper row with the first lower one, and so on."""
    import pandas as pd

    keys = pd.DataFrame(dict(enumerate(common)))
    # Most rows of a large table have no partner by shape: only the others are grouped by kernel.
    mark = pd.util.hash_pandas_object(keys, index=False).to_numpy()
    row = np.flatnonzero(usable & np.isin(mark, np.intersect1d(mark[usable & upper], mark[usable & ~upper])))
    upper = upper[row]
    kernel = {name: texts(frame.iloc[row], name) for name in _KERNEL}
    keys = keys.iloc[row].assign(**kernel)
    group = keys.groupby(list(keys.columns), sort=False).ngroup().to_numpy()
    place = pd.DataFrame({"group": group, "upper": upper}).groupby(["group", "upper"]).cumcount().to_numpy()
    seat = group * (len(row) + 1) + place
    _, first, second = np.intersect1d(seat[upper], seat[~upper], assume_unique=True, return_indices=True)
    uppers, lowers = np.flatnonzero(upper)[first], np.flatnonzero(~upper)[second]
    found = []
    for one, other in zip(uppers.tolist(), lowers.tolist(), strict=True):
        pair = tuple(tuple(int(sizes[row[half]]) for sizes in dims.values()) for half in (one, other))
        op, lanes, variant = (kernel[name][one] for name in ("op", "lanes", "variant"))
        found.append(Match(op, lanes, variant, pair, int(row[one]), int(row[other])))
    return sorted(found, key=lambda match: max(match.upper, match.lower))


def _exact(frame: pd.DataFrame, found: list[Match], columns: tuple[str, ...]) -> list[Match]:
    """The matches whose effective counts, where the table has them, are equal too."""
    known = [name for name in columns if name in frame]
    counts = frame[known].to_numpy(dtype=np.float64, na_value=np.nan)

    def equal(match: Match) -> bool:
        upper, lower = counts[match.upper], counts[match.lower]
        return bool(np.all((upper == lower) | np.isnan(upper) | np.isnan(lower)))

    return [match for match in found if equal(match)]


def _controlled(frame: pd.DataFrame, found: list[Match]) -> list[Match]:
    """The matches whose halves read weights and inputs equally often, or as often as the other half swapped.

    A kernel that chooses its tiles by the layer reads differently in each half, which changes the cost.
    """
    if "weight_reads" not in frame or "input_reads" not in frame:
        return found
    reads = np.column_stack([numbers(frame, name) for name in ("weight_reads", "input_reads")])

    def alike(match: Match) -> bool:
        upper, lower = reads[match.upper], reads[match.lower]
        if np.isnan([upper, lower]).any():
            return True
        return bool((upper == lower).all() or (upper == lower[::-1]).all())

    return [match for match in found if alike(match)]
