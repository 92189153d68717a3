"""Figures of predicted costs: layers split by term, operators, networks side by side, savings.

A figure that becomes a file holds its title. On a page the title stands above, and `page_name` names it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dibench.intensity import OPERATORS
from dibench.numbers import common_scale, percent, short
from dibench.show.axes import linear_axis
from dibench.show.blocks import Figure
from dibench.show.marks import tell
from dibench.show.palette import (
    INK,
    MUTED,
    OPERATOR_COLOURS,
    PANEL_WIDTH,
    SURFACE,
    TERM_COLOURS,
    UNITS_PER_INCH,
)
from dibench.show.partial import at_least
from dibench.show.svg import new_panel, slug, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Panel

    from dibench.show.svg import Drawn
    from dibench.study.findings.explanation import Saving
    from dibench.study.findings.prediction import PredictedCost, Prediction

Array = Any  # of float64
Terms = Mapping[str, Sequence[float]]
"""What each layer's cost is made of, by term."""

LAYERS = 28
"""Only so many bars can be read: the costliest layers are drawn."""
SAVINGS = 14
_ROW, _LINE, _FRAME, _HEADING, _LETTER, _LABEL, _WIDTH, _NARROW = 19, 15, 86, 18, 7.4, 26, 620, PANEL_WIDTH


def layer_bars(found: Prediction, terms: Terms, kind: str) -> Figure:
    """One bar a layer, in execution order, split by term, with the 95% interval of a measurement."""
    costs = np.array([one.value for one in found.layers])
    known = np.isfinite(costs)
    rank = np.argsort(np.where(known, -costs, np.inf), kind="stable")
    rows = np.sort(rank[: min(LAYERS, int(known.sum()))])

    def draw() -> Drawn:
        layers = [found.layers[row] for row in rows]
        names = [one.layer.name.partition("/")[2] or str(one.layer) for one in layers]
        parts = {term: np.asarray(values)[rows] for term, values in terms.items()}
        # The interval is of the fitted cost; constant power on top of it shifts it.
        above = _sum(parts, len(rows)) - costs[rows]
        ends = np.array([[one.low for one in layers], [one.high for one in layers]]).reshape(2, -1) + above
        figure, axes, scale = _bars(names, parts, TERM_COLOURS, ends, found.unit)
        _label(axes, f"{kind} ({scale})")
        return _drawn(figure, name, title, _said(names, parts, found.unit))

    name = f"layers-{slug(found.network)}"
    few = f", the {len(rows)} costliest" if len(rows) < len(found.layers) else ""
    title = f"{found.network}: {kind} of each layer{few}{_partly(found)}"
    return Figure(name, title, draw)


def operator_bars(found: Prediction, terms: Terms, kind: str, *, page_name: str = "") -> Figure:
    """One bar an operator, split by term: the whole network at a glance."""

    def draw() -> Drawn:
        known = np.array([one.known for one in found.layers], dtype=bool)
        op = np.array([one.layer.op for one in found.layers])
        present = [one for one in OPERATORS if one in found.by_operator]
        parts = {
            term: np.array([np.asarray(values)[known & (op == one)].sum() for one in present])
            for term, values in terms.items()
        }
        above = _sum(parts, len(present)) - np.array([found.by_operator[one].value for one in present])
        ends = _ends([found.by_operator[one] for one in present]) + above
        labels = [f"{one} ({int((op == one).sum())})" for one in present]
        figure, axes, scale = _bars(labels, parts, TERM_COLOURS, ends, found.unit, width=_NARROW)
        _label(axes, f"{kind} of one batch ({scale})")
        return _drawn(figure, name, title, _said(labels, parts, found.unit), heading=not page_name)

    network = f"{found.network} at batch {found.batch}"
    name = page_name or f"operators-{slug(network)}"
    title = f"{network}: {kind} by operator{_partly(found)}"
    return Figure(name, title, draw)


def side_by_side(found: Sequence[Prediction], kind: str, *, page_name: str = "") -> Figure:
    """Networks and batches side by side: one inference each, split by operator."""

    def draw() -> Drawn:
        names = [at_least(f"{one.network}, batch {one.batch}", one.covered) for one in found]
        each = [one.batch for one in found]
        parts = {
            op: np.array([one.by_operator[op].value if op in one.by_operator else 0.0 for one in found])
            / each
            for op in OPERATORS
            if any(op in one.by_operator for one in found)
        }
        ends, unit = _ends([one.per_inference for one in found]), found[0].unit
        figure, axes, scale = _bars(names, parts, OPERATOR_COLOURS, ends, unit, width=_NARROW)
        _label(axes, f"{kind} per inference ({scale})")
        return _drawn(figure, name, title, _said(names, parts, unit), heading=not page_name)

    networks = " and ".join(dict.fromkeys(one.network for one in found))
    name, title = page_name or "comparison", f"{networks}: {kind} per inference"
    return Figure(name, title, draw)


def saving_bars(found: Prediction, savings: Sequence[Saving], kind: str) -> Figure:
    """The changes that save most per inference, each with its interval; hollow where it may save nothing."""

    def draw() -> Drawn:
        shown = savings[:SAVINGS]
        names = [f"{one.knob} {one.setting}: {one.where}" for one in shown]
        figure, axes = new_panel(_WIDTH, _FRAME + _ROW * max(len(shown), 1))
        size, prefix = common_scale([one.saved.value for one in shown])
        for row, one in enumerate(shown):
            low, value, high = (x / size for x in (one.saved.low, one.saved.value, one.saved.high))
            axes.plot([low, high], [row, row], color=MUTED, linewidth=1.6, zorder=3, label="95% interval")
            filled, says = (INK, "surely saves") if one.certain else (SURFACE, "may save nothing")
            axes.plot(
                [value], [row], "o", markersize=7, color=filled, markeredgecolor=INK, zorder=4, label=says
            )
        axes.axvline(0, color=INK, linewidth=1.2)
        linear_axis(axes, "x", *axes.get_xlim())
        _finish(axes, names)
        _label(axes, f"{kind} saved per inference ({prefix}{found.unit})")
        said = "; ".join(f"{n} {short(o.saved.value, found.unit)}" for n, o in zip(names, shown, strict=True))
        return _drawn(figure, name, title, said + ".")

    name = f"savings-{slug(found.network)}"
    title = f"{found.network}: what would save most{_partly(found)}"
    return Figure(name, title, draw)


def _partly(found: Prediction) -> str:
    """Of a figure that shows only part of a network."""
    return f", {found.covered.text}" if found.covered.partial else ""


def _drawn(figure: Panel, name: str, title: str, description: str, *, heading: bool = True) -> Drawn:
    if heading:
        width, height = figure.get_size_inches()
        # The heading begins where the bars do, and has the room that they have.
        labels = max(
            (len(line) for one in figure.axes[0].get_yticklabels() for line in one.get_text().split("\n")),
            default=0,
        )
        room = max(16, int(width * UNITS_PER_INCH / _LETTER) - labels)
        shown = textwrap.fill(title, room)
        figure.set_size_inches(width, height + _HEADING * shown.count("\n") / UNITS_PER_INCH)
        figure.axes[0].set_title(shown, loc="left", color=INK)
    return to_svg(figure, name, title=title, description=description)


def _sum(parts: Mapping[str, Array], number: int) -> Array:
    return np.add.reduce(list(parts.values())) if parts and number else np.zeros(number)


def _bars(
    names: Sequence[str],
    parts: Mapping[str, Array],
    colours: Mapping[str, str],
    ends: Array,
    unit: str,
    width: float = _WIDTH,
) -> tuple[Panel, Axes, str]:
    """Stacked horizontal bars with intervals; the figure, its axes, the unit with its prefix."""
    labels = [textwrap.fill(name, _LABEL) if width < _WIDTH else name for name in names]
    lines = 1 + max((label.count("\n") for label in labels), default=0)
    figure, axes = new_panel(width, _FRAME + (_ROW + _LINE * (lines - 1)) * max(len(names), 1))
    size, prefix = common_scale(np.append(np.add.reduce(list(parts.values())), 0.0).tolist())
    left = np.zeros(len(names))
    rows = np.arange(len(names))
    for part, values in parts.items():
        axes.barh(
            rows, values / size, left=left, height=0.72, label=part,
            color=colours[part], edgecolor=SURFACE, linewidth=0.6,
        )  # fmt: skip
        words = [
            f"{name}: {part} {short(float(value), unit)}" for name, value in zip(names, values, strict=True)
        ]
        tell(axes, left + values / size / 2, rows, words)
        left = left + values / size
    if len(names):
        axes.errorbar(
            left, rows, xerr=np.maximum(np.stack([left - ends[0] / size, ends[1] / size - left]), 0.0),
            fmt="none", color=INK, ecolor=INK, elinewidth=1.1, capsize=2.5,
        )  # fmt: skip
    _finish(axes, labels)
    linear_axis(axes, "x", 0.0, axes.get_xlim()[1])
    return figure, axes, f"{prefix}{unit}"


def _label(axes: Axes, text: str) -> None:
    """The axis' label ends where the bars' axis ends: on a phone it may reach back under the rows' names."""
    axes.set_xlabel(text, loc="right")


def _finish(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


def _ends(estimates: Sequence[PredictedCost]) -> Array:
    return np.array([[one.low for one in estimates], [one.high for one in estimates]]).reshape(2, -1)


def _said(names: Sequence[str], parts: Mapping[str, Array], unit: str) -> str:
    """Each bar with its largest part, for screen readers."""
    said, whole = [], _sum(parts, len(names))
    for row, name in enumerate(names):
        if not whole[row]:
            said.append(f"{name} nothing")
            continue
        part = max(parts, key=lambda part: float(parts[part][row]))
        of_it = percent(float(parts[part][row]) / float(whole[row]))
        said.append(f"{name} {short(float(whole[row]), unit)}, {part} {of_it}")
    return "; ".join(said) + "."
