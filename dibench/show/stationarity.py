"""Stationarity: kernels with equal boxes have equal counts; does the operand that they hold matter?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dibench.intensity import OPERATORS
from dibench.numbers import count, number, plain, span, times
from dibench.show import axes as ax
from dibench.show.blocks import Block, Figure, Section, Sentence, Table, columns
from dibench.show.palette import MUTED
from dibench.show.svg import new_panel, to_svg

if TYPE_CHECKING:
    from dibench.show.svg import Drawn
    from dibench.study.findings.described import Ratios

_STRIP, _GAP = 42, 11  # SVG units: between the strips, and from a strip to the words above it


def section(found: Sequence[Ratios], measure: str) -> Section:
    """Kernels with equal boxes, compared by the operand that they hold.

    Args:
        found: by operator and pair.
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
            f"The number is the median. Right of 1, holding what is named first takes more {measure}.",
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
        low, median, high = one.quartiles
        rows.append([one.op, one.pair, count(len(one.values)), number(median), span(low, high)])
    return Table(
        f"Ratio of {measure} at equal layer and box",
        columns("operator", "held / held", "pairs", "median", "middle half", text=["held / held"]),
        rows,
        narrow=True,
    )


def stationarity_panel(found: Sequence[Ratios], measure: str) -> Drawn:
    """One strip per operator and stationarity: every ratio, its median in words."""
    strips = sorted(found, key=lambda one: OPERATORS.index(one.op))
    figure, axes = new_panel(height=60 + _STRIP * len(strips))
    low, high = np.quantile(np.concatenate([one.values for one in strips]), [0.005, 0.995]).tolist()
    ax.log_axis(axes, "x", min(low, 0.8), max(high, 1.25))
    axes.axvline(1.0, color=MUTED, linewidth=1.2)
    names = [f"{one.op}: {one.pair}" for one in strips]
    ax.rows_under_text(axes, range(len(strips)), names, gap=_GAP)
    for height, (name, one) in enumerate(zip(names, strips, strict=True)):
        ax.strip(axes, one, height, name)
        ax.above(axes, times(one.quartiles[1]), 1.0, height, gap=_GAP)
    axes.set_xlabel(f"ratio of {measure}, equal layer and box")
    said = "; ".join(f"{one.op} {one.pair} {plain(one.quartiles[1])}" for one in found)
    pairs = count(sum(len(one.values) for one in found), "pair")
    return to_svg(
        figure,
        "stationarity",
        title=f"{measure.capitalize()} by stationarity at equal boxes",
        description=f"{pairs} of equal boxes. Median ratio of {measure}: {said}.",
    )
