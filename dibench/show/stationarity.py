"""Stationarity: kernels with equal boxes have equal counts; does the operand that they hold matter?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pandas as pd

from dibench.layer import DIMENSIONS
from dibench.numbers import count, plain
from dibench.schema import pack_knobs, unpack_knobs
from dibench.show import axes as ax
from dibench.show.blocks import Block, Figure, Section, Sentence, Table, columns
from dibench.show.svg import INK, MUTED, OPERATOR_COLOURS, new_panel, to_svg

if TYPE_CHECKING:
    from dibench.show.svg import Drawn

PAIRS = (("weight", "output"), ("input", "output"), ("input", "weight"))
_BOX = ("tile_p", "tile_k", "tile_c", "instances", "knobs", "dtype", "device")
_COUNTS = ("macs_executed", "weight_reads", "input_reads", "output_reads", "output_writes")
Array = Any  # of float64
_STRIP = 24  # SVG units between the strips


@attrs.frozen
class Ratios:
    """The cost of holding one operand over that of holding another, at equal layers and boxes."""

    op: str
    pair: str
    """`weight / output`: holding weights over holding outputs."""
    values: Array
    """Ascending."""

    @property
    def middle(self) -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile."""
        low, median, high = np.quantile(self.values, [0.25, 0.5, 0.75]).tolist()
        return low, median, high


def ratios(rows: pd.DataFrame, response: str) -> list[Ratios]:
    """By operator and pair of stationarities, those that were measured.

    Args:
        rows: of `rows.page_rows`.
        response: the column of costs.
    """
    pairs = equal_boxes(rows, response)
    found = []
    for op in ax.present(pairs):
        for name, reference in PAIRS:
            pair = f"{name} / {reference}"
            own = pairs.loc[(pairs["op"] == op) & (pairs["pair"] == pair), "ratio"]
            if len(own):
                found.append(Ratios(op, pair, np.sort(own.to_numpy(dtype=float))))
    return found


def section(found: Sequence[Ratios], measure: str) -> Section:
    """Kernels with equal boxes, compared by the operand that they hold.

    Args:
        found: of `ratios`.
        measure: what the ratios are of, "time" or "energy".
    """
    lead = (
        "With equal boxes, the kernels read and write the same number of elements. What still differs is "
        "which operand waits in registers, and in which order the others pass."
    )
    blocks: list[Block] = [Sentence(lead)]
    if found:
        pairs = count(sum(len(one.values) for one in found), "pair")
        lines = [
            f"{pairs} of kernels. Each mark is one layer and box.",
            "Dot and number: median. Bar: the middle half. Right of 1, holding what is named first takes "
            f"more {measure}.",
        ]
        draw = partial(stationarity_panel, found, measure)
        blocks.append(Figure("stationarity", "Same accesses, another order", draw, lines))
    else:
        blocks.append(Sentence("No layer of this sweep was run with the same box under two stationarities."))
    return Section("stationarity", "Stationarity", "Does it matter which operand stays?", blocks)


def table(found: Sequence[Ratios], measure: str) -> Table:
    """Medians and middle halves of the ratios."""
    rows = []
    for one in found:
        low, median, high = map(plain, one.middle)
        rows.append([one.op, one.pair, count(len(one.values)), median, f"{low} to {high}"])
    return Table(
        f"Ratio of {measure} at equal layer and box",
        columns("operator", "held / held", "pairs", "median", "middle half", text=["held / held"]),
        rows,
        narrow=True,
    )


def equal_boxes(rows: pd.DataFrame, response: str) -> pd.DataFrame:
    """Ratios of `response` at equal layer and box: columns op, pair, ratio.

    A ratio of 1.2 of the pair `weight / output`: holding weights costs 1.2 times what holding outputs costs.
    Rows are paired only where their recorded counts are equal too, so that accesses never differ.
    """
    usable = _with_box(rows[rows["usable"] & (rows[response] > 0)])
    keys = [*DIMENSIONS, *_BOX, *_COUNTS]
    # Where two variants hold the same operand in the same box, the one that costs less stands for both.
    best = usable.groupby([*keys, "op", "stationarity"], dropna=False)[response].min().unstack("stationarity")
    parts = []
    for name, reference in PAIRS:
        if name in best and reference in best:
            ratio = (best[name] / best[reference]).dropna().rename("ratio").reset_index()
            parts.append(ratio.assign(pair=f"{name} / {reference}")[["op", "pair", "ratio"]])
    return pd.concat(parts) if parts else pd.DataFrame({"op": [], "pair": [], "ratio": []})


def _with_box(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with a box, their knobs without those at 0, which are off."""
    knobs = rows["knobs"].fillna("")
    on = {
        cell: pack_knobs({name: value for name, value in unpack_knobs(cell).items() if value != "0"})
        for cell in knobs.unique()
    }
    return rows.assign(knobs=knobs.map(on))[rows["tile_p"].notna()]


def stationarity_panel(found: Sequence[Ratios], measure: str) -> Drawn:
    """One strip per operator and stationarity: every ratio, its median in words."""
    operators = list(dict.fromkeys(one.op for one in found))
    figure, axes = new_panel(400, 60 + _STRIP * (len(found) + len(operators)))
    low, high = np.quantile(np.concatenate([one.values for one in found]), [0.005, 0.995]).tolist()
    ax.log_axis(axes, "x", min(low, 0.8), max(high, 1.25))
    axes.axvline(1.0, color=MUTED, linewidth=1.2)
    ticks: list[str] = []
    for op in operators:
        ticks.append(op)
        for one in found:
            if one.op == op:
                ax.strip(axes, one.values, op, len(ticks))
                axes.annotate(
                    f"{plain(one.middle[1], 2)}×", (1.01, len(ticks)), xycoords=axes.get_yaxis_transform(),
                    va="center", color=INK, fontsize=10.5, weight="bold", annotation_clip=False,
                )  # fmt: skip
                ticks.append(one.pair)
    ax.rows_of_text(axes, range(len(ticks)), ticks)
    for label in axes.get_yticklabels():
        if label.get_text() in operators:
            label.set(color=OPERATOR_COLOURS[label.get_text()], weight="bold")
    axes.set_xlabel(f"ratio of {measure}, equal layer and box")
    said = "; ".join(f"{one.op} {one.pair} {plain(one.middle[1])}" for one in found)
    pairs = count(sum(len(one.values) for one in found), "pair")
    return to_svg(
        figure,
        "stationarity",
        title=f"{measure.capitalize()} by stationarity at equal boxes",
        description=f"{pairs} of equal boxes. Median ratio of {measure}: {said}.",
    )
