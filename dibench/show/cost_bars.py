"""Figures of predicted costs: layers split by term, operators, networks side by side, savings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dibench.intensity import OPERATORS
from dibench.show.numbers import common_scale, share, short
from dibench.show.parts import slug
from dibench.show.svg import ACCENT, INK, MUTED, OPERATOR_COLOURS, SURFACE, TERM_COLOURS, new_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dibench.study.use.explain import Saving
    from dibench.study.use.predict import Estimate, LayerCosts, Prediction

Array = Any  # of float64

LAYERS = 28
"""More bars than this nobody reads: the costliest are drawn."""
SAVINGS = 14
_ROW, _FRAME, _WIDTH, _NARROW = 19, 112, 620, 330


@attrs.frozen
class Drawing:
    """A figure, and what it says to who cannot see it."""

    name: str
    title: str
    description: str
    figure: Figure


def layer_bars(network: str, costs: LayerCosts, terms: Mapping[str, Array], unit: str, kind: str) -> Drawing:
    """One bar a layer, in execution order, split by term, with the 95% interval of a measurement."""
    rank = np.argsort(np.where(costs.known, -costs.mean, np.inf), kind="stable")
    rows = np.sort(rank[: min(LAYERS, int(costs.known.sum()))])
    names = [costs.layers[row].name.partition("/")[2] or str(costs.layers[row]) for row in rows]
    parts = {term: np.asarray(values)[rows] for term, values in terms.items()}
    whole = np.add.reduce(list(parts.values())) if len(rows) else np.zeros(0)
    # The interval is of the fitted cost: constant power on top of it moves it along.
    above = whole - costs.mean[rows]
    ends = np.stack([costs.low[rows] + above, costs.high[rows] + above])
    figure, axes, scale = _bars(names, parts, TERM_COLOURS, ends, unit)
    axes.set_xlabel(f"{kind} ({scale})")
    left_out = len(costs.layers) - len(rows)
    title = f"{network}: {kind} of each layer" + (f", the {len(rows)} costliest" if left_out else "")
    return Drawing(f"layers-{slug(network)}", title, _said(names, parts, whole, unit), figure)


def operator_bars(found: Prediction, terms: Mapping[str, Array], unit: str, kind: str) -> Drawing:
    """One bar an operator, split by term: the whole network in a glance."""
    costs, name = found.costs, f"{found.network.name} at batch {found.network.batch}"
    op = np.array([layer.op for layer in costs.layers])
    present = [one for one in OPERATORS if one in found.by_operator]
    parts = {
        term: np.array([np.asarray(values)[costs.known & (op == one)].sum() for one in present])
        for term, values in terms.items()
    }
    whole = np.add.reduce(list(parts.values())) if present else np.zeros(0)
    above = whole - np.array([found.by_operator[one].value for one in present])
    ends = _ends([found.by_operator[one] for one in present]) + above
    labels = [f"{one} ({int((op == one).sum())})" for one in present]
    figure, axes, scale = _bars(labels, parts, TERM_COLOURS, ends, unit, width=_NARROW)
    axes.set_xlabel(f"{kind} of one batch ({scale})")
    title = f"{name}: {kind} by operator"
    return Drawing(f"operators-{slug(name)}", title, _said(labels, parts, whole, unit), figure)


def comparison(found: Sequence[Prediction], unit: str, kind: str) -> Drawing:
    """Networks and batches side by side: one inference each, split by operator."""
    names = [f"{one.network.name}, batch {one.network.batch}" for one in found]
    each = [one.network.batch for one in found]
    parts = {
        op: np.array([one.by_operator[op].value if op in one.by_operator else 0.0 for one in found]) / each
        for op in OPERATORS
        if any(op in one.by_operator for one in found)
    }
    whole = np.array([one.per_inference.value for one in found])
    ends = _ends([one.per_inference for one in found])
    figure, axes, scale = _bars(names, parts, OPERATOR_COLOURS, ends, unit, width=_NARROW)
    axes.set_xlabel(f"{kind} per inference ({scale})")
    networks = " and ".join(dict.fromkeys(one.network.name for one in found))
    title = f"{networks}: {kind} per inference"
    return Drawing("comparison", title, _said(names, parts, whole, unit), figure)


def saving_bars(network: str, savings: Sequence[Saving], unit: str, kind: str) -> Drawing:
    """The changes that save most per inference, each with its interval; hollow where it may save nothing."""
    shown = savings[:SAVINGS]
    names = [f"{one.knob} {one.setting}: {one.where}" for one in shown]
    figure, axes = new_panel(_WIDTH, _FRAME + _ROW * max(len(shown), 1))
    size, prefix = common_scale([one.saved.value for one in shown])
    for row, one in enumerate(shown):
        low, value, high = (x / size for x in (one.saved.low, one.saved.value, one.saved.high))
        axes.plot([low, high], [row, row], color=MUTED, linewidth=1.6, zorder=3)
        filled = INK if one.certain else SURFACE
        axes.plot([value], [row], "o", markersize=7, color=filled, markeredgecolor=INK, zorder=4)
    axes.axvline(0, color=ACCENT, linewidth=1.2)
    _finish(axes, names)
    axes.set_xlabel(f"{kind} saved per inference ({prefix}{unit}); hollow: may save nothing")
    said = "; ".join(f"{n} {short(o.saved.value, unit)}" for n, o in zip(names, shown, strict=True))
    title = f"{network}: what would save most"
    return Drawing(f"savings-{slug(network)}", title, said + ".", figure)


def _bars(
    names: Sequence[str],
    parts: Mapping[str, Array],
    colours: Mapping[str, str],
    ends: Array,
    unit: str,
    width: float = _WIDTH,
) -> tuple[Figure, Axes, str]:
    """Stacked horizontal bars with a legend and intervals; the figure, its axes, the unit with its prefix."""
    figure, axes = new_panel(width, _FRAME + _ROW * max(len(names), 1))
    size, prefix = common_scale(np.append(np.add.reduce(list(parts.values())), 0.0).tolist())
    left = np.zeros(len(names))
    rows = np.arange(len(names))
    for part, values in parts.items():
        axes.barh(
            rows, values / size, left=left, height=0.72, label=part,
            color=colours[part], edgecolor=SURFACE, linewidth=0.6,
        )  # fmt: skip
        left = left + values / size
    if len(names):
        axes.errorbar(
            left, rows, xerr=np.maximum(np.stack([left - ends[0] / size, ends[1] / size - left]), 0.0),
            fmt="none", color=INK, ecolor=INK, elinewidth=1.1, capsize=2.5,
        )  # fmt: skip
    _finish(axes, names)
    axes.set_xlim(left=0)
    if parts:
        figure.legend(
            loc="outside upper left", ncols=min(len(parts), round(width / 85)), frameon=False, fontsize=10,
            labelcolor=INK, handlelength=0.9, handletextpad=0.4, columnspacing=1.1,
        )  # fmt: skip
    return figure, axes, f"{prefix}{unit}"


def _finish(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=9.5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


def _ends(estimates: Sequence[Estimate]) -> Array:
    return np.array([[one.low for one in estimates], [one.high for one in estimates]]).reshape(2, -1)


def _said(names: Sequence[str], parts: Mapping[str, Array], whole: Array, unit: str) -> str:
    """Each bar with its largest part."""
    said = []
    for row, name in enumerate(names):
        if not parts or not whole[row]:
            said.append(f"{name} nothing")
            continue
        part = max(parts, key=lambda part: float(parts[part][row]))
        of_it = share(float(parts[part][row]) / float(whole[row]))
        said.append(f"{name} {short(float(whole[row]), unit)}, {part} {of_it}")
    return "; ".join(said) + "."
