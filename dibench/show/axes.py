"""What panels share: logarithmic axes with few ticks, markers by operator, labels at the ends of lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dibench.intensity import OPERATORS
from dibench.numbers import tick
from dibench.show.svg import INK, MUTED, OPERATOR_COLOURS, OPERATOR_MARKERS, SURFACE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from dibench.study.findings.described import Ratios

Array = Any  # of float64

POINTS_PER_STRIP = 120
POINTS_PER_PANEL = 900
"""More markers than this hide each other and make the page slow; a panel then shows an even selection."""


def log_axis(axes: Axes, which: str, low: float, high: float) -> None:
    """A logarithmic axis ("x" or "y") from low to high with a few ticks at round values."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = (low, high) if high > low * 1.02 else (low / 1.5, high * 1.5)
    room = (high / low) ** 0.04
    axes.set(**{f"{which}scale": "log", f"{which}lim": (low / room, high * room)})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(_round_values(low / room, high * room)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))


def _round_values(low: float, high: float) -> list[float]:
    for mantissas, decades in (
        ((1, 2, 3, 5, 7), 1),
        ((1, 2, 5), 1),
        ((1, 3), 1),
        ((1,), 1),
        ((1,), 2),
        ((1,), 3),
        ((1,), 4),
    ):
        first = math.floor(math.log10(low) / decades) * decades
        values = [
            mantissa * 10.0**exponent
            for exponent in range(first, math.ceil(math.log10(high)) + 1, decades)
            for mantissa in mantissas
        ]
        values = [value for value in values if low <= value <= high]
        if len(values) <= 6:
            return values
    return [low, high]


def log_axes(axes: Axes, x: Sequence[Array], y: Sequence[Array]) -> None:
    """Both axes logarithmic and just wide enough for these values."""
    for which, values in (("x", x), ("y", y)):
        together = np.concatenate([np.asarray(value, dtype=float).ravel() for value in values])
        together = together[np.isfinite(together) & (together > 0)]
        if together.size:
            log_axis(axes, which, float(together.min()), float(together.max()))


def thin(rows: pd.DataFrame, x: str, y: str, limit: int = POINTS_PER_PANEL) -> pd.DataFrame:
    """At most `limit` rows that can be drawn: each operator keeps its share, spread evenly over x and y.

    Each operator's extremes in x stay, so that no panel hides how far the data reach.
    """
    drawable: pd.DataFrame = rows[(rows[x] > 0) & (rows[y] > 0) & np.isfinite(rows[x]) & np.isfinite(rows[y])]
    if len(drawable) <= limit:
        return drawable
    kept = []
    for _, group in drawable.groupby("op", sort=True):
        quota = max(2, limit * len(group) // len(drawable))
        ordered = group.sort_values([x, y])
        kept.append(ordered.iloc[np.unique(np.linspace(0, len(ordered) - 1, quota).round().astype(int))])
    chosen: pd.DataFrame = drawable.loc[sorted(index for part in kept for index in part.index)]
    return chosen


def present(rows: pd.DataFrame) -> list[str]:
    """The operators that have rows, in the order used everywhere."""
    found = set(rows["op"])
    return [op for op in OPERATORS if op in found]


def scatter(
    axes: Axes,
    rows: pd.DataFrame,
    x: str,
    y: str,
    *,
    size: float = 4.6,
    alpha: float = 0.8,
    hollow: bool = False,
) -> None:
    """One marker a row; colour and shape both tell the operator, for readers who see no colours."""
    for op in present(rows):
        own, colour = rows[rows["op"] == op], OPERATOR_COLOURS[op]
        face, edge, width = ("none", colour, 0.7) if hollow else (colour, SURFACE, 0.5)
        axes.plot(
            own[x], own[y], linestyle="none", marker=OPERATOR_MARKERS[op], markersize=size, color=colour,
            markerfacecolor=face, markeredgecolor=edge, markeredgewidth=width, alpha=alpha, label=op,
        )  # fmt: skip


def strip(axes: Axes, ratios: Ratios, height: float) -> None:
    """One line of ratios: a mark each, the middle half as a bar, the median as a dot.

    Args:
        axes: a panel with ratios along x.
        ratios: of one operator, whose colour they have.
        height: of the line.
    """
    few = np.unique(np.linspace(0, len(ratios.values) - 1, POINTS_PER_STRIP).round().astype(int))
    # A fixed pattern instead of random jitter, so that the same sweep draws the same picture.
    lift = 0.26 * np.sin(2.4 * np.arange(len(few)))
    axes.plot(
        ratios.values[few], height + lift, linestyle="none", marker=OPERATOR_MARKERS[ratios.op],
        markersize=3.1, color=OPERATOR_COLOURS[ratios.op], markeredgewidth=0, alpha=0.5,
    )  # fmt: skip
    low, middle, high = ratios.quartiles
    axes.plot([low, high], [height, height], color=INK, linewidth=1.7, solid_capstyle="butt")
    axes.plot([middle], [height], marker="o", markersize=6.5, color=INK, markeredgecolor=SURFACE)


def rows_of_text(axes: Axes, heights: Sequence[float], labels: Sequence[str]) -> None:
    """Lines from top to bottom, each with its label at the left, and no axis there."""
    axes.set_ylim(heights[-1] + 0.6, heights[0] - 0.6)
    axes.set_yticks(heights, labels)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


def end_labels(axes: Axes, ends: Sequence[tuple[str, float, str]], *, gap: float = 0.062) -> None:
    """Labels right of the axes at the heights of (text, y, colour), moved apart where they would collide.

    Args:
        axes: a panel whose y limits are final.
        ends: text, y in data units and colour of each label.
        gap: least distance between neighbours, in heights of the axes.
    """
    left = axes.get_xlim()[0]
    places = sorted(
        (float(axes.transAxes.inverted().transform(axes.transData.transform((left, y)))[1]), text, colour)
        for text, y, colour in ends
    )
    heights = spread([height for height, _, _ in places], gap)
    for height, (_, text, colour) in zip(heights, places, strict=True):
        axes.text(
            1.015, height, text, transform=axes.transAxes, va="center", ha="left", color=colour, fontsize=10
        )


def spread(heights: list[float], gap: float) -> list[float]:
    """Ascending heights moved at least `gap` apart within 0 and 1, by one pass up and one down.

    >>> [round(h, 2) for h in spread([0.5, 0.5, 0.98], 0.1)]
    [0.5, 0.6, 0.98]
    >>> [round(h, 2) for h in spread([0.99, 1.0], 0.1)]
    [0.9, 1.0]
    """
    moved: list[float] = []
    for height in heights:
        floor = moved[-1] + gap if moved else 0.0
        moved.append(max(min(height, 1.0), floor))
    ceiling = 1.0
    for position in reversed(range(len(moved))):
        moved[position] = min(moved[position], ceiling)
        ceiling = moved[position] - gap
    return moved


def note(axes: Axes, text: str, *, x: float = 0.03, y: float = 0.97) -> None:
    """A few words inside the panel, top left unless told otherwise."""
    axes.text(
        x,
        y,
        text,
        transform=axes.transAxes,
        color=MUTED,
        fontsize=10,
        va="top" if y > 0.5 else "bottom",
        ha="left" if x < 0.5 else "right",
    )
