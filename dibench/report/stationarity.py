"""The stationarity panel: kernels with equal boxes have equal counts; does the operand they hold matter?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dibench.layer import DIMENSIONS
from dibench.report import axes as ax
from dibench.report.numbers import count, plain
from dibench.report.svg import INK, MUTED, OPERATOR_COLOURS, OPERATOR_MARKERS, SURFACE, new_panel, to_svg

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup
    from matplotlib.axes import Axes

OTHERS = ("weight", "input", "none")
_BOX = ("tile_p", "tile_k", "tile_c", "instances", "knobs", "dtype", "device")
_STRIP = 24  # SVG units between the strips
_POINTS_PER_STRIP = 120


def equal_boxes(rows: pd.DataFrame, response: str) -> pd.DataFrame:
    """Ratios of `response` at equal layer and box: columns op, stationarity, ratio (to output stationarity).

    A ratio of 1.2 for `weight` says: holding weights takes 1.2 times what holding outputs takes.
    """
    usable = rows[rows["usable"] & (rows[response] > 0) & rows["tile_p"].notna()]
    keys = [*DIMENSIONS, *_BOX]
    # Where two variants hold the same operand in the same box, the quicker speaks for that stationarity.
    best = usable.groupby([*keys, "op", "stationarity"], dropna=False)[response].min().unstack("stationarity")
    if "output" not in best:
        return _no_pairs()
    ratios = best[[name for name in OTHERS if name in best]].div(best["output"], axis=0)
    long = ratios.melt(ignore_index=False, var_name="stationarity", value_name="ratio").reset_index()
    return long[["op", "stationarity", "ratio"]].dropna() if len(long) else _no_pairs()


def _no_pairs() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"op": [], "stationarity": [], "ratio": np.array([], dtype=float)})


def summary(pairs: pd.DataFrame) -> list[dict[str, Any]]:
    """Per operator and stationarity: pairs, median ratio, quartiles; operators in their fixed order."""
    lines: list[dict[str, Any]] = []
    for op in ax.present(pairs):
        for name in OTHERS:
            own = pairs.loc[(pairs["op"] == op) & (pairs["stationarity"] == name), "ratio"]
            if len(own):
                low, middle, high = own.quantile([0.25, 0.5, 0.75])
                lines.append(
                    {
                        "op": op,
                        "stationarity": name,
                        "pairs": len(own),
                        "low": low,
                        "median": middle,
                        "high": high,
                    }
                )
    return lines


def stationarity_panel(pairs: pd.DataFrame, measure: str) -> Markup | None:
    """One strip per operator and stationarity: every ratio, its median in words; None without pairs.

    Args:
        pairs: from `equal_boxes`.
        measure: what the ratio is of, "time" or "energy".
    """
    lines = summary(pairs)
    if not lines:
        return None
    figure, axes = new_panel(560, 62 + _STRIP * (len(lines) + 0.5 * len({line["op"] for line in lines})))
    low, high = pairs["ratio"].quantile([0.005, 0.995])
    ax.log_axis(axes, "x", min(low, 0.8), max(high, 1.25))
    axes.axvline(1.0, color=MUTED, linewidth=1.2)
    heights: list[float] = []
    height, before = 0.0, None
    for line in lines:
        height += 1.5 if before not in (None, line["op"]) else 1.0
        before = line["op"]
        heights.append(height)
        _draw_strip(axes, pairs, line, height)
    axes.set_ylim(height + 0.8, heights[0] - 0.8)
    axes.set_yticks(heights, [f"{line['op']} · {line['stationarity']}" for line in lines])
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"{measure} per MAC relative to output-stationary, equal layer and box")
    said = "; ".join(f"{line['op']} {line['stationarity']} {plain(line['median'])}" for line in lines)
    return to_svg(
        figure,
        f"stationarity-{measure}",
        title=f"{measure.capitalize()} by stationarity at equal boxes",
        description=f"{count(len(pairs), 'pair')} of equal boxes. Median ratio to output-stationary: {said}.",
    )


def _draw_strip(axes: Axes, pairs: pd.DataFrame, line: dict[str, Any], height: float) -> None:
    op = str(line["op"])
    own = pairs.loc[
        (pairs["op"] == op) & (pairs["stationarity"] == line["stationarity"]), "ratio"
    ].sort_values()
    shown = own.iloc[np.unique(np.linspace(0, len(own) - 1, _POINTS_PER_STRIP).round().astype(int))]
    # A fixed pattern instead of random jitter: the same sweep draws the same picture.
    lift = 0.26 * np.sin(2.4 * np.arange(len(shown)))
    colour = OPERATOR_COLOURS[op]
    axes.plot(
        shown,
        height + lift,
        linestyle="none",
        marker=OPERATOR_MARKERS[op],
        markersize=3,
        color=colour,
        markeredgewidth=0,
        alpha=0.45,
    )
    axes.plot([line["low"], line["high"]], [height, height], color=INK, linewidth=1.6, solid_capstyle="butt")
    axes.plot([line["median"]], [height], marker="o", markersize=7, color=INK, markeredgecolor=SURFACE)
    axes.text(
        1.01,
        height,
        f"{plain(line['median'], 3)}×",
        transform=axes.get_yaxis_transform(),
        va="center",
        color=INK,
        fontsize=10.5,
        weight="bold",
    )
