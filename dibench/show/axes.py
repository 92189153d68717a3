"""What panels share: logarithmic axes with few ticks, markers by operator, labels at the ends of lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dibench.intensity import OPERATORS
from dibench.layer import DIMENSIONS, Layer
from dibench.numbers import count, shape_text, span, times
from dibench.schema import SEPARATOR
from dibench.show.marks import tell
from dibench.show.palette import INK, MUTED, OPERATOR_COLOURS, OPERATOR_MARKERS, SURFACE
from dibench.show.ticks import Tick, even_ticks, log_ticks

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

    from dibench.study.findings.described import Ratios

Array = Any  # of float64

HALO: Any = {"facecolor": SURFACE, "edgecolor": "none", "alpha": 0.85, "pad": 0.5}
"""Behind words that stand on lines or marks."""
POINTS_PER_STRIP = 120
POINTS_PER_PANEL = 900
"""More markers than this hide each other and make the page slow; a panel then shows an even selection."""


def log_axis(axes: Axes, which: str, low: float, high: float, *, prefixes: bool = False) -> None:
    """A logarithmic axis ("x" or "y") from low to high with a few ticks at round values.

    Args:
        axes: a panel.
        which: its axis.
        low: least value.
        high: largest value.
        prefixes: write `3G` and `500M`, for what is counted in such units.
    """
    low, high = (low, high) if high > low * 1.02 else (low / 1.5, high * 1.5)
    room = (high / low) ** 0.04
    low, high = low / room, high * room
    axes.set(**{f"{which}scale": "log"})
    _set_axis(axes, which, (low, high), log_ticks(low, high, prefixes=prefixes))


def linear_axis(axes: Axes, which: str, low: float, high: float) -> None:
    """A linear axis ("x" or "y") with ends that differ, and a few ticks at round values."""
    _set_axis(axes, which, (low, high), even_ticks(low, high))


def _set_axis(axes: Axes, which: str, ends: tuple[float, float], ticks: Sequence[Tick]) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}lim": ends})
    axis.set_major_locator(FixedLocator([at for at, _ in ticks]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FixedFormatter([label for _, label in ticks]))


def log_axes(axes: Axes, x: Sequence[Array], y: Sequence[Array], *, prefixes: str = "") -> None:
    """Both axes logarithmic and just wide enough for these values; `prefixes`: the one that says `3G`."""
    for which, values in (("x", x), ("y", y)):
        together = np.concatenate([np.asarray(value, dtype=float).ravel() for value in values])
        together = together[np.isfinite(together) & (together > 0)]
        if together.size:
            ends = float(together.min()), float(together.max())
            log_axis(axes, which, *ends, prefixes=which == prefixes)


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


# Wide because each is a choice of how marks look.
def scatter(
    axes: Axes,
    rows: pd.DataFrame,
    x: str,
    y: str,
    says: Callable[[float, float], str],
    *,
    size: float = 4.6,
    alpha: float = 0.8,
    hollow: bool = False,
) -> None:
    """One marker a row; colour and shape both tell the operator, for readers who see no colours.

    Args:
        axes: a panel.
        rows: with the columns `x` and `y`.
        x: column.
        y: column.
        says: puts a mark's two numbers in words.
        size: of a marker.
        alpha: how opaque it is.
        hollow: whether only its edge is drawn.
    """
    words = [
        f"{name}, {op}: {says(at, high)}"
        for name, op, at, high in zip(named(rows), rows["op"], rows[x], rows[y], strict=True)
    ]
    tell(axes, rows[x], rows[y], words)
    for op in present(rows):
        own, colour = rows[rows["op"] == op], OPERATOR_COLOURS[op]
        face, edge, width = ("none", colour, 0.7) if hollow else (colour, SURFACE, 0.5)
        axes.plot(
            own[x], own[y], linestyle="none", marker=OPERATOR_MARKERS[op], markersize=size, color=colour,
            markerfacecolor=face, markeredgecolor=edge, markeredgewidth=width, alpha=alpha, label=op,
        )  # fmt: skip


def named(rows: pd.DataFrame) -> list[str]:
    """What each row is called: its layer, of several the first, of none its shape."""
    names = rows["name"].fillna("") if "name" in rows else [""] * len(rows)
    shapes = rows[[*DIMENSIONS]].astype(int).itertuples(index=False, name=None)
    return [
        called(name) or shape_text(Layer(**dict(zip(DIMENSIONS, shape, strict=True))))
        for name, shape in zip(names, shapes, strict=True)
    ]


def called(cell: str) -> str:
    """A row's name; of several the first.

    >>> called("a/conv1;b/conv1;b/conv2"), called("a/conv1"), called("")
    ('a/conv1 and 2 more', 'a/conv1', '')
    """
    first, *others = cell.split(SEPARATOR)
    return f"{first} and {count(len(others))} more" if others else first


def strip(axes: Axes, ratios: Ratios, height: float, words: str) -> None:
    """One line of ratios: a mark each, the middle half as a bar, the median as a dot.

    Args:
        axes: a panel with ratios along x.
        ratios: of one operator, whose colour they have.
        height: of the line.
        words: what the line is of.
    """
    few = np.unique(np.linspace(0, len(ratios.values) - 1, POINTS_PER_STRIP).round().astype(int))
    # A fixed pattern instead of random jitter, so that the same sweep draws the same picture.
    lift = 0.26 * np.sin(2.4 * np.arange(len(few)))
    axes.plot(
        ratios.values[few], height + lift, linestyle="none", marker=OPERATOR_MARKERS[ratios.op],
        markersize=3.1, color=OPERATOR_COLOURS[ratios.op], markeredgewidth=0, alpha=0.5,
    )  # fmt: skip
    tell(
        axes, ratios.values[few], height + lift, [f"{words}: {times(value)}" for value in ratios.values[few]]
    )
    low, middle, high = ratios.quartiles
    axes.plot(
        [low, high], [height, height], color=INK, linewidth=1.7, solid_capstyle="butt", label="middle half"
    )
    axes.plot(
        [middle], [height], marker="o", markersize=6.5, color=INK, markeredgecolor=SURFACE, linestyle="none",
        label="median",
    )  # fmt: skip
    tell(axes, [middle], [height], [f"{words}: median {times(middle)}, middle half {span(low, high)}"])


def rows_of_text(axes: Axes, heights: Sequence[float], labels: Sequence[str]) -> None:
    """Lines from top to bottom, each with its label at the left, and no axis there."""
    axes.set_ylim(heights[-1] + 0.6, heights[0] - 0.6)
    axes.set_yticks(heights, labels)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


def rows_under_text(
    axes: Axes, heights: Sequence[float], labels: Sequence[str], *, gap: float = 4
) -> list[Annotation]:
    """Lines from top to bottom over the whole width, each with its label above it."""
    axes.set_ylim(heights[-1] + 0.5, heights[0] - 0.8)
    axes.set_yticks(heights, [""] * len(heights))
    axes.spines["left"].set_visible(False)
    return [above(axes, label, 0.0, height, gap=gap) for height, label in zip(heights, labels, strict=True)]


def above(axes: Axes, text: str, x: float, height: float, colour: str = INK, *, gap: float = 4) -> Annotation:
    """Words above a line, from a share of the width in its left half, up to one in its right half."""
    return axes.annotate(
        text, (x, height), xycoords=axes.get_yaxis_transform(), xytext=(0, gap), textcoords="offset points",
        va="bottom", ha="left" if x < 0.5 else "right", color=colour, zorder=5, bbox=HALO,
    )  # fmt: skip


def shortened(name: str) -> str:
    """A long name, of a card or a network, with its middle left out: both ends tell names apart.

    >>> shortened("NVIDIA H100 80GB HBM3 (GPU-2f0c-77aa)")
    'NVIDIA H10…c-77aa)'
    """
    return name if len(name) < 20 else f"{name[:10]}…{name[-7:]}"


def note(axes: Axes, text: str, *, x: float = 0.03, y: float = 0.97) -> None:
    """A few words inside the panel, top left unless told otherwise."""
    axes.text(
        x,
        y,
        text,
        transform=axes.transAxes,
        color=MUTED,
        va="top" if y > 0.5 else "bottom",
        ha="left" if x < 0.5 else "right",
        bbox=HALO,
        zorder=5,
    )
