"""The reuse lattice: one layer under many boxes, so that only reuse changes. A table, and heat maps."""

from __future__ import annotations

from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from dibench.numbers import UNDETERMINED, UNKNOWN, interval, plain, short, span, with_ends
from dibench.show.blocks import Block, Cell, Figure, Note, Section, Sentence, Table, columns
from dibench.show.marks import tell
from dibench.show.missing import ABSENT
from dibench.show.palette import FAINT, INK, MUTED, PANEL_WIDTH, TEXT
from dibench.show.svg import ident, new_grid, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dibench.show.svg import Drawn
    from dibench.study.findings.lattice import BoxCost, Check, Lattice, Lattices

_OPERANDS = ("weight", "input", "output")
_LEAST_SPAN = float(np.log(1.1))
"""Of the colours, in log cost: boxes that differ by less all look alike, so that noise is not magnified."""


def section(found: Lattices | None, card: str = "") -> Section:
    """What one access costs, with a heat map of each lattice, and how far to rely on it.

    Args:
        found: None where nothing was measured: then how to measure it.
        card: its name where there are several.
    """
    question = "What does reuse save, all else equal?"
    if found is None:
        return Section("lattice", "Lattice", question, [Sentence(ABSENT["lattice"], "warn")])
    told = [*_lead(found), *_figures(found, card), table(found)]
    for number, one in enumerate(found.lattices, start=1):
        if one.reason:
            told.append(Sentence(f"{number}: no costs are shown, as {one.reason}.", "warn"))
            continue
        told += [_check(check, found.unit, f"{number}: ") for check in one.checks]
    told += [Sentence(f"{name}: {with_ends(slope)} {found.unit}") for name, slope in found.anchors.items()]
    told += [_check(check, found.unit) for check in found.anchor_checks]
    if not found.anchors:
        told.append(Note("No anchor kernels in these rows: nothing checks the slopes from outside."))
    return Section("lattice", "Lattice", question, told)


def _lead(found: Lattices) -> list[Block]:
    what = (
        f"One layer under many boxes, so that only reuse changes. Of {found.basis}. A box reads a weight "
        "once for tile_p multiply-adds and an input once for tile_k."
    )
    whose = (
        "The cost of one access belongs to the level that answers it and to the lane mapping. Its α is "
        "weight / (weight + input), never to be mixed with the α of shapes."
    )
    return [Sentence(what, "" if found.measured else "warn"), Sentence(whose)]


def table(found: Lattices) -> Table:
    """A line a lattice, each coefficient with its interval."""
    energy = found.kind == "energy"
    rows = []
    for number, one in enumerate(found.lattices, start=1):
        slopes = one.coefficients
        cells = [str(number), one.level, one.lanes or UNKNOWN, short(one.operands_bytes, "B"), str(one.boxes)]
        told = [_per_mac(one), *(with_ends(slopes[name]) for name in _OPERANDS)]
        told.append(UNDETERMINED if one.alpha is None else interval(one.alpha))
        if energy:
            told.append(with_ends(slopes["power"]) if "power" in slopes else UNKNOWN)
        cells.append(", ".join(map(str, one.shares)) or UNKNOWN)
        cells += [UNKNOWN] * len(told) if one.reason else told  # what is disowned below is no number here
        rows.append([Cell(cell, "quiet" if one.reason else "") for cell in cells])
    header = columns(
        *("", "level", "lanes", "operands", "boxes", "SMs", "MAC", *_OPERANDS, "α"),
        *(["P₀ (W)"] if energy else []),
        text=["level", "lanes"],
        wraps=["MAC", *_OPERANDS, "α", "P₀ (W)"],
        ranks={"SMs": 6, "operands": 5, "boxes": 4, "P₀ (W)": 3, "MAC": 2, "output": 1},
    )
    caption = f"The reuse lattice: what one access costs, in {found.unit}"
    return Table(caption, header, rows, "In brackets the 95% interval, jackknifed by box; of α Fieller's.")


def _per_mac(one: Lattice) -> str:
    """The cost of a multiply-add, of several kernels the least and the most; none where one is below zero."""
    macs = [slope.value for name, slope in one.coefficients.items() if name.startswith("mac/")]
    return UNDETERMINED if min(macs) < 0 else span(min(macs), max(macs))


def _check(check: Check, unit: str, whose: str = "") -> Sentence:
    low, high = check.expected
    text = f"{whose}{check.what}: {plain(check.value)} {unit}"
    expected = f"{text}, expected {plain(low)} to {plain(high)}"
    return Sentence(f"{expected}: within") if check.agrees else Sentence(f"{expected}: **outside**", "warn")


def _figures(found: Lattices, card: str) -> list[Figure]:
    figures = []
    for number, one in enumerate(found.lattices, start=1):
        if has_map(one):
            name = ident(f"lattice-{number}", card)
            draw = partial(lattice_panel, one, found.unit, name)
            lines = [f"Each cell is a box: {found.unit} per multiply-add. The stronger its grey, the more."]
            figures.append(Figure(name, f"{number}: {_title(one)}", draw, lines))
    return figures


def has_map(one: Lattice) -> bool:
    """Whether its boxes vary both in tile_p and in tile_k."""
    return min(len(_sides(one, "tile_p")), len(_sides(one, "tile_k"))) >= 2


def _title(one: Lattice) -> str:
    lanes = f", lanes {one.lanes}" if one.lanes else ""
    return f"{one.level}{lanes}; {short(one.operands_bytes, 'B')} of operands"


def _sides(one: Lattice, side: str) -> list[int]:
    return sorted({getattr(box, side) for box in one.per_box})


def lattice_panel(one: Lattice, unit: str, name: str = "lattice") -> Drawn:
    """Heat maps of cost per multiply-add over tile_p × tile_k, one for each tile_c.

    Args:
        one: a lattice with boxes.
        unit: pJ or ps.
        name: of the figure.
    """
    p_sides, k_sides, c_sides = (_sides(one, side) for side in ("tile_p", "tile_k", "tile_c"))
    costs = np.log([box.per_mac for box in one.per_box])
    span = max(float(np.ptp(costs)), _LEAST_SPAN)
    strengths = (0.5 + 0.78 * (costs - (costs.min() + costs.max()) / 2) / span).tolist()
    lines_of = 3 if len(c_sides) == 3 else min(len(c_sides), 2)
    lines = -(-len(c_sides) // lines_of)
    figure, panels = new_grid(lines, lines_of, PANEL_WIDTH, 60 + lines * (250 if lines_of == 1 else 150))
    for axes, tile_c in zip_longest(panels, c_sides):
        if tile_c is None:
            axes.set_axis_off()
            continue
        if len(c_sides) > 1:
            axes.set_title(f"tile_c {tile_c}", loc="left", color=INK)
        for box, strength in zip(one.per_box, strengths, strict=True):
            if box.tile_c == tile_c:
                at = k_sides.index(box.tile_k), p_sides.index(box.tile_p)
                _cell(axes, *at, box, strength)
                tell(axes, [at[0]], [at[1]], [f"{_box(box)}: {plain(box.per_mac)} {unit} per multiply-add"])
        axes.set_xticks(range(len(k_sides)), list(map(str, k_sides)))
        axes.set_yticks(range(len(p_sides)), list(map(str, p_sides)))
        axes.grid(visible=False)
    figure.supxlabel("tile_k: MACs per input read", fontsize=TEXT, color=MUTED)
    figure.supylabel("tile_p: MACs per weight read", fontsize=TEXT, color=MUTED)
    said = "; ".join(f"{_box(box)}: {plain(box.per_mac)}" for box in one.per_box)
    title = f"{unit} per multiply-add by box, {_title(one)}"
    return to_svg(figure, name, title=title, description=f"Medians over kernels. {said}.")


def _box(box: BoxCost) -> str:
    return f"tile_p {box.tile_p}, tile_k {box.tile_k}, tile_c {box.tile_c}"


def _cell(axes: Axes, line: int, row: int, box: BoxCost, strength: float) -> None:
    axes.fill_between(
        [line - 0.5, line + 0.5], row - 0.5, row + 0.5, color=FAINT, alpha=strength, linewidth=0
    )
    axes.text(line, row, plain(box.per_mac, 2), ha="center", va="center", color=INK)
