"""The stationarity panel: kernels with equal boxes have equal counts; does the operand they hold matter?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from dibench.layer import DIMENSIONS
from dibench.show import axes as ax
from dibench.show.blocks import Section
from dibench.show.numbers import count, plain
from dibench.show.parts import Study, panel, section_of
from dibench.show.response import response_of
from dibench.show.svg import INK, MUTED, OPERATOR_COLOURS, new_panel, to_svg

if TYPE_CHECKING:
    from dibench.show.svg import Drawn

PAIRS = (("weight", "output"), ("input", "output"), ("input", "weight"))
_BOX = ("tile_p", "tile_k", "tile_c", "instances", "knobs", "dtype", "device")
_COUNTS = ("macs_executed", "weight_reads", "input_reads", "output_reads", "output_writes")
_STRIP = 24  # SVG units between the strips


def section(study: Study) -> Section:
    """Kernels with equal boxes, compared by the operand that they hold."""
    response = response_of(study.fit)
    pairs = equal_boxes(study.rows, response.column)
    svg = stationarity_panel(pairs, response.name)
    lines = [
        "With equal boxes, the kernels read and write the same number of elements. What still differs is "
        "which operand waits in registers, and in which order the others pass."
    ]
    panels = []
    if svg is None:
        lines.append("No layer of this sweep was run with the same box under two stationarities.")
    else:
        beside = [
            f"{count(len(pairs), 'pair')} of kernels. Each mark is one layer and box.",
            "Dot and number: median. Bar: the middle half. Right of 1, holding what is named first takes "
            f"more {response.name}.",
        ]
        panels.append(panel("Same accesses, another order", beside, svg))
    return section_of("stationarity", "Stationarity", "Does it matter which operand stays?", lines, panels)


def equal_boxes(rows: pd.DataFrame, response: str) -> pd.DataFrame:
    """Ratios of `response` at equal layer and box: columns op, pair, ratio.

    A ratio of 1.2 of the pair `weight / output` says: holding weights costs 1.2 times what holding outputs
    costs. Rows are paired only where their recorded counts are equal too, so what differs is never accesses.
    """
    usable = _with_box(rows[rows["usable"] & (rows[response] > 0)])
    keys = [*DIMENSIONS, *_BOX, *_COUNTS]
    # Where two variants hold the same operand in the same box, the quicker speaks for that stationarity.
    best = usable.groupby([*keys, "op", "stationarity"], dropna=False)[response].min().unstack("stationarity")
    parts = []
    for name, reference in PAIRS:
        if name in best and reference in best:
            ratio = (best[name] / best[reference]).dropna().rename("ratio").reset_index()
            parts.append(ratio.assign(pair=f"{name} / {reference}")[["op", "pair", "ratio"]])
    return pd.concat(parts) if parts else pd.DataFrame({"op": [], "pair": [], "ratio": []})


def _with_box(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with a box, said alike: a further knob at 0 is off, and as if it were not there."""
    knobs = rows["knobs"].str.replace(r"\b\w+=0(;|$)", "", regex=True).str.strip(";")
    return rows.assign(knobs=knobs)[rows["tile_p"].notna()]


def summary(pairs: pd.DataFrame) -> list[dict[str, Any]]:
    """Per operator and pair of stationarities: number of ratios, their median and quartiles."""
    lines: list[dict[str, Any]] = []
    for op in ax.present(pairs):
        for name in [f"{name} / {reference}" for name, reference in PAIRS]:
            own = pairs.loc[(pairs["op"] == op) & (pairs["pair"] == name), "ratio"]
            if len(own):
                low, middle, high = own.quantile([0.25, 0.5, 0.75])
                lines.append(
                    {
                        "op": op,
                        "pair": name,
                        "pairs": len(own),
                        "low": low,
                        "median": middle,
                        "high": high,
                    }
                )
    return lines


def stationarity_panel(pairs: pd.DataFrame, measure: str) -> Drawn | None:
    """One strip per operator and stationarity: every ratio, its median in words; None without pairs.

    Args:
        pairs: from `equal_boxes`.
        measure: what the ratio is of, "time" or "energy".
    """
    lines = summary(pairs)
    if not lines:
        return None
    operators = list(dict.fromkeys(line["op"] for line in lines))
    figure, axes = new_panel(400, 60 + _STRIP * (len(lines) + len(operators)))
    low, high = pairs["ratio"].quantile([0.005, 0.995])
    ax.log_axis(axes, "x", min(low, 0.8), max(high, 1.25))
    axes.axvline(1.0, color=MUTED, linewidth=1.2)
    ticks: list[str] = []
    for op in operators:
        ticks.append(op)
        for line in lines:
            if line["op"] == op:
                own = pairs.loc[(pairs["op"] == op) & (pairs["pair"] == line["pair"]), "ratio"]
                ax.strip(axes, own.sort_values().to_numpy(dtype=float), op, len(ticks))
                axes.annotate(
                    f"{plain(line['median'], 2)}×", (1.01, len(ticks)), xycoords=axes.get_yaxis_transform(),
                    va="center", color=INK, fontsize=10.5, weight="bold", annotation_clip=False,
                )  # fmt: skip
                ticks.append(line["pair"])
    ax.rows_of_text(axes, range(len(ticks)), ticks)
    for label in axes.get_yticklabels():
        if label.get_text() in operators:
            label.set(color=OPERATOR_COLOURS[label.get_text()], weight="bold")
    axes.set_xlabel(f"ratio of {measure}, equal layer and box")
    said = "; ".join(f"{line['op']} {line['pair']} {plain(line['median'])}" for line in lines)
    return to_svg(
        figure,
        "stationarity",
        title=f"{measure.capitalize()} by stationarity at equal boxes",
        description=f"{count(len(pairs), 'pair')} of equal boxes. Median ratio of {measure}: {said}.",
    )
