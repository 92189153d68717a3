"""Two sweeps as a figure: of each case B over A with its interval, from the most better to the most worse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dibench.intensity import OPERATORS
from dibench.numbers import count, percent_apart
from dibench.show.axes import linear_axis
from dibench.show.blocks import Figure
from dibench.show.marks import tell
from dibench.show.palette import INK, MUTED, OPERATOR_COLOURS, OPERATOR_MARKERS, SURFACE
from dibench.show.svg import new_panel, to_svg

if TYPE_CHECKING:
    from dibench.show.svg import Drawn
    from dibench.study.findings.comparison import Comparison, Quantity

_WHAT = {"time_s": "time", "energy_j": "energy"}
_MOST = 4.0
"""Times: what changed by more, either way, stands at the edge."""


def figures(found: Comparison) -> list[Figure]:
    """One for time, and one for energy where it could be compared."""
    return [_figure(one) for one in found.quantities]


def _figure(quantity: Quantity) -> Figure:
    what = _WHAT[quantity.column]
    name, title = f"change-{what}", f"Change of each case's {what}, B over A"

    def draw() -> Drawn:
        cases = sorted(quantity.cases, key=lambda one: one.ratio)
        changes = np.array([_within(one.ratio) for one in cases])
        figure, axes = new_panel(height=300)
        for row, one in enumerate(cases):
            if one.low is not None and one.high is not None:
                ends = [_within(one.low), _within(one.high)]
                axes.plot(ends, [row, row], color=MUTED, linewidth=1.0, zorder=2, label="95% interval")
        for op in (*OPERATORS, ""):
            own = [row for row, one in enumerate(cases) if (one.op if one.op in OPERATORS else "") == op]
            if own:
                axes.plot(
                    changes[own], own, linestyle="none", marker=OPERATOR_MARKERS.get(op, "o"), markersize=4.6,
                    color=OPERATOR_COLOURS.get(op, INK), markeredgecolor=SURFACE, markeredgewidth=0.5,
                    zorder=3, label=op or "anchor",
                )  # fmt: skip
        tell(axes, changes, range(len(cases)), [_says(one.layer, one.variant, one.ratio) for one in cases])
        axes.axvline(0, color=INK, linewidth=1.2, zorder=1, label="no change")
        linear_axis(axes, "x", *axes.get_xlim())
        axes.set_yticks([])
        axes.set_ylim(-1, max(len(cases), 1))
        axes.set_xlabel(f"change of {what}, %")
        axes.set_ylabel(f"{count(len(cases), 'case')}, the most worse on top")
        said = f"{count(len(cases), 'case')}; together {percent_apart(quantity.ratio - 1)}."
        return to_svg(figure, name, title=title, description=said)

    return Figure(name, title, draw)


def _within(ratio: float) -> float:
    """A change in percent, at most as far as the edge."""
    return 100 * (min(max(ratio, 1 / _MOST), _MOST) - 1)


def _says(layer: str, variant: str, ratio: float) -> str:
    return f"{layer or variant} by {variant}: {percent_apart(ratio - 1)}"
