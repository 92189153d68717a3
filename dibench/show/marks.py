"""What a figure says of its marks: a legend below it, and the words of a mark that a reader points at.

A page's script shows these words under the figure, by pointer, touch, or the arrow keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dibench.show.palette import INK, UNITS_PER_INCH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE, _LETTER, _SWATCH = 19, 7.2, 34
"""SVG units: a legend's line, a letter in it, and its mark with the room around."""


def tell(axes: Axes, x: Iterable[Any], y: Iterable[Any], words: Sequence[str]) -> None:
    """Keep the words of marks at these places, in units of the data."""
    assert axes.figure is not None
    kept = axes.figure.__dict__.setdefault("_dibench_marks", [])
    kept += [(axes, *mark) for mark in zip(x, y, words, strict=True)]


def told(figure: Figure) -> list[str]:
    """A line for each mark that is seen, from left to right: its place in SVG units, and its words."""
    height, scale = figure.get_figheight() * UNITS_PER_INCH, UNITS_PER_INCH / figure.dpi
    found = []
    for axes, x, y, words in figure.__dict__.get("_dibench_marks", []):
        place = axes.transData.transform((x, y))
        if np.isfinite(place).all() and axes.bbox.padded(1.0).contains(*place):
            at, down = place * scale
            found.append((float(at), height - float(down), words))
    return [f"{at:.1f} {down:.1f} {words}" for at, down, words in sorted(found)]


def add_legend(figure: Figure) -> None:
    """Name each kind of mark once, below the axes, in a figure that grows by as much."""
    from matplotlib.lines import Line2D

    named: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if not named or figure.legends or any(axes.get_legend() for axes in figure.axes):
        return
    width, height = figure.get_size_inches()
    column = _SWATCH + _LETTER * max(map(len, named))
    columns = max(1, min(len(named), int(width * UNITS_PER_INCH / column)))
    lines = -(-len(named) // columns)
    figure.set_size_inches(width, height + (_LINE * lines + 6) / UNITS_PER_INCH)
    legend = figure.legend(
        list(named.values()), list(named), loc="outside lower center", ncols=columns, frameon=False,
        labelcolor=INK, handlelength=1.2, handletextpad=0.5, columnspacing=1.2, borderaxespad=0.1,
        labelspacing=0.35, numpoints=1,
    )  # fmt: skip
    for shown in legend.legend_handles:
        faint = None if shown is None else shown.get_alpha()
        if isinstance(shown, Line2D) and faint is not None:  # an area keeps the strength that it has
            shown.set_alpha(max(0.75, faint))
