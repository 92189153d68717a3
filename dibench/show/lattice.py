"""The reuse lattice as heat maps: one layer under many boxes, so that reuse is all that changes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from dibench.show.blocks import Section
from dibench.show.numbers import plain, short
from dibench.show.parts import Json, Study, panel, section_of
from dibench.show.svg import ACCENT, INK, MUTED, SURFACE, new_grid, to_svg
from dibench.words import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dibench.show.svg import Drawn

_SIDES = ("tile_p", "tile_k", "tile_c")
_LEAST_SPAN = float(np.log(1.1))
"""Of the colours, in log cost: boxes that differ by less all look alike, so that noise is not magnified."""


def sections(studies: Sequence[Study]) -> list[Section]:
    """One heat map for each lattice of each card; none where the rows have none."""
    panels, bases = [], []
    for study in studies:
        found = (study.fit or {}).get("lattice")
        if not found:
            continue
        for number, one in enumerate(found["lattices"], start=1):
            name = study.ident(f"lattice-{number}")
            svg = lattice_panel(one, found["unit"], name)
            if svg is not None:
                panels.append(panel(_title(one), [_slopes(one, found["unit"])], svg, study.card))
                bases.append(found["basis"])
    if not panels:
        return []
    lead = [
        f"One layer under many boxes, reuse is all that changes: {', '.join(dict.fromkeys(bases))}. A box "
        "reads a weight once for tile_p multiply-adds and an input once for tile_k. Darker: dearer.",
        "What one access costs belongs to the level that answers it and to the lane mapping. Its α is "
        "weight / (weight + input), never to be mixed with the α of shapes.",
    ]
    return [section_of("lattice", "Lattice", "What does reuse save, all else equal?", lead, panels)]


def _title(one: Json) -> str:
    lanes = f", lanes {one['lanes']}" if one["lanes"] else ""
    size = f"{short(one['operands_bytes'], 'B')} of operands"
    return f"{one['level']}{lanes}; {size}"


def _slopes(one: Json, unit: str) -> str:
    """What an access of each operand costs, and the α of it; or why not to rely on it."""
    if one["reason"]:
        return f"What one access costs is not to be relied on: {one['reason']}."
    each = ", ".join(
        f"{name} {plain(one['coefficients'][name]['value'])}" for name in ("weight", "input", "output")
    )
    alpha = interval(one["alpha"] or dict.fromkeys(("value", "ci_low", "ci_high")))
    return f"One access costs, in {unit}: {each}. α: {alpha}."


def lattice_panel(one: Json, unit: str, name: str = "lattice") -> Drawn | None:
    """Heat maps of cost per multiply-add over tile_p × tile_k, one for each tile_c; None without boxes.

    Args:
        one: a lattice of `study.lattice.Study.to_json()`.
        unit: pJ or ps.
        name: of the figure.
    """
    boxes = one["per_box"]
    p_sides, k_sides, c_sides = (sorted({box[side] for box in boxes}) for side in _SIDES)
    if min(len(p_sides), len(k_sides)) < 2:
        return None
    costs = np.log([box["per_mac"] for box in boxes])
    span = max(float(np.ptp(costs)), _LEAST_SPAN)
    strengths = 0.5 + 0.78 * (costs - (costs.min() + costs.max()) / 2) / span
    columns = 3 if len(c_sides) == 3 else min(len(c_sides), 2)
    lines = -(-len(c_sides) // columns)
    figure, panels = new_grid(lines, columns, 330, 60 + lines * (250 if columns == 1 else 150))
    for axes, tile_c in zip_longest(panels, c_sides):
        if tile_c is None:
            axes.set_axis_off()
            continue
        if len(c_sides) > 1:
            axes.set_title(f"tile_c {tile_c}", loc="left", fontsize=10, color=INK)
        for box, strength in zip(boxes, strengths.tolist(), strict=True):
            if box["tile_c"] == tile_c:
                _cell(axes, k_sides.index(box["tile_k"]), p_sides.index(box["tile_p"]), box, strength)
        axes.set_xticks(range(len(k_sides)), list(map(str, k_sides)))
        axes.set_yticks(range(len(p_sides)), list(map(str, p_sides)))
        axes.grid(visible=False)
    figure.supxlabel("tile_k: MACs an input read serves", fontsize=11, color=MUTED)
    figure.supylabel("tile_p: MACs a weight read serves", fontsize=11, color=MUTED)
    said = "; ".join(
        f"{', '.join(f'{side} {box[side]}' for side in _SIDES)}: {plain(box['per_mac'])}" for box in boxes
    )
    title = f"{unit} per multiply-add by box, {_title(one)}"
    return to_svg(figure, name, title=title, description=f"Medians over kernels. {said}.")


def _cell(axes: Axes, line: int, row: int, box: Json, strength: float) -> None:
    axes.fill_between(
        [line - 0.5, line + 0.5], row - 0.5, row + 0.5, color=ACCENT, alpha=strength, linewidth=0
    )
    colour = SURFACE if strength > 0.55 else INK
    axes.text(line, row, plain(box["per_mac"], 2), ha="center", va="center", color=colour, fontsize=9.5)
