"""Reuse: what the shapes allow, what the kernels do, and what that costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dibench.numbers import count, plain, tick
from dibench.show import axes as ax
from dibench.show.blocks import Figure, Note, Section, Sentence
from dibench.show.palette import FAINT, MUTED
from dibench.show.svg import new_panel, to_svg

if TYPE_CHECKING:
    import pandas as pd

    from dibench.show.svg import Drawn


def section(rows: pd.DataFrame, rank: float | None) -> Section:
    """What shapes allow, what kernels do, and what an access costs.

    Args:
        rows: of layers.
        rank: Spearman's correlation of accesses per MAC and time per MAC.
    """
    lead = (
        "A shape bounds reuse: every weight and every activation moved once. A kernel's box decides how much "
        "of it happens: tile_p positions share a weight, tile_k channels share an input."
    )
    networks, boxes = "faint: the layers of 25 networks at batch 1", "all variants and boxes"
    reads = f"counted reads, {boxes}"
    figures = [
        Figure("reuse-shapes", "What the shapes allow", partial(shapes_panel, rows), [networks]),
        Figure("reuse-kernels", "What the kernels do", partial(kernels_panel, rows), [reads]),
        Figure("reuse-cost", "What an access costs", partial(accesses_panel, rows, rank), [boxes]),
    ]
    usable, most = int(rows["usable"].sum()), ax.POINTS_PER_PANEL
    shown = f"Figures of more than {count(most)} points show an even selection of the {count(usable, 'row')}."
    notes = [Note(shown)] if usable > most else []
    return Section("reuse", "Reuse", "Which reuse did the sweep cover?", [Sentence(lead), *figures, *notes])


@cache
def network_reuse() -> Any:
    """Weight and activation reuse of the distinct layers of 25 networks at batch 1: shape (2, layers)."""
    from dibench import networks

    layers = networks.distinct(layer for name in networks.names() for layer in networks.load(name))
    return np.array([(layer.macs / layer.weights, layer.macs / layer.activations) for layer in layers]).T


def shapes_panel(rows: pd.DataFrame) -> Drawn:
    """Weight reuse against activation reuse that the shapes allow, before the layers of 25 networks."""
    usable = rows[rows["usable"]]
    background = network_reuse()
    shapes = usable.drop_duplicates(["op", "weight_reuse", "activation_reuse"])
    drawn = ax.thin(shapes, "weight_reuse", "activation_reuse")
    figure, axes = new_panel()
    ax.log_axes(axes, [background[0], drawn["weight_reuse"]], [background[1], drawn["activation_reuse"]])
    axes.plot(
        *background, linestyle="none", marker="o", markersize=2.4, color=FAINT, markeredgewidth=0,
        label="25 networks",
    )  # fmt: skip
    _draw_equal_ai(axes)
    says = "{} MAC per weight, {} per activation"
    ax.scatter(axes, drawn, "weight_reuse", "activation_reuse", _says(says), size=5)
    axes.set_xlabel("weight reuse (MAC per weight)")
    axes.set_ylabel("activation reuse (MAC per activation)")
    return to_svg(
        figure,
        "reuse-shapes",
        title="Reuse that the layers' shapes allow",
        description=f"{count(len(shapes), 'distinct shape')} measured; weight reuse "
        f"{_range(shapes['weight_reuse'])}, activation reuse {_range(shapes['activation_reuse'])} MAC per "
        f"element. Faint points behind: {count(background.shape[1])} distinct layers of 25 networks.",
    )


def _says(words: str) -> Callable[[float, float], str]:
    return lambda x, y: words.format(plain(x), plain(y))


def _range(values: pd.Series[float]) -> str:
    return f"from {plain(float(values.min()))} to {plain(float(values.max()))}"


def _draw_equal_ai(axes: Any) -> None:
    """Curves of equal AI: 1/AI = W/M + A/M, so a layer far along either axis may still have a low AI."""
    (x_low, x_high), (y_low, y_high) = axes.get_xlim(), axes.get_ylim()
    for intensity in (1.0, 10.0, 100.0, 1000.0):
        x = np.geomspace(intensity * 1.001, max(x_high, intensity * 1.002), 400)
        y = 1 / (1 / intensity - 1 / x)
        inside = (x > x_low) & (y > y_low) & (y < y_high)
        if inside.sum() < 20:
            continue
        axes.plot(x[inside], y[inside], color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)), zorder=1.5)
        axes.annotate(
            f"AI {tick(intensity)}",
            (x[inside][-1], y[inside][-1]),
            xytext=(-2, 3),
            textcoords="offset points",
            ha="right",
            va="bottom",
            color=MUTED,
            bbox=ax.HALO,
            zorder=5,
        )


def kernels_panel(rows: pd.DataFrame) -> Drawn | None:
    """Effective weight reuse against effective input reuse, by the counted reads; None without counts."""
    usable = rows[rows["usable"]]
    drawn = ax.thin(usable, "weight_reuse_done", "input_reuse_done")
    if drawn.empty:
        return None
    figure, axes = new_panel()
    ax.log_axes(axes, [drawn["weight_reuse_done"]], [drawn["input_reuse_done"]])
    says = "{} MAC per weight read, {} per input read"
    ax.scatter(axes, drawn, "weight_reuse_done", "input_reuse_done", _says(says), alpha=0.6)
    axes.set_xlabel("MAC per weight read")
    axes.set_ylabel("MAC per input read")
    return to_svg(
        figure,
        "reuse-kernels",
        title="Reuse that the kernels do",
        description=f"{_drawn_of(drawn, usable)}. MAC per weight read {_range(drawn['weight_reuse_done'])}, "
        f"per input read {_range(drawn['input_reuse_done'])}.",
    )


def accesses_panel(rows: pd.DataFrame, rank: float | None) -> Drawn | None:
    """Time per MAC against accesses per MAC: what an access costs; None without counts."""
    usable = rows[rows["usable"]]
    drawn = ax.thin(usable, "accesses_per_mac", "ps_per_mac")
    if drawn.empty:
        return None
    figure, axes = new_panel()
    ax.log_axes(axes, [drawn["accesses_per_mac"]], [drawn["ps_per_mac"]])
    says = "{} accesses per MAC, {} ps per MAC"
    ax.scatter(axes, drawn, "accesses_per_mac", "ps_per_mac", _says(says), alpha=0.6)
    axes.set_xlabel("element accesses per MAC")
    axes.set_ylabel("time per MAC (ps)")
    return to_svg(
        figure,
        "reuse-cost",
        title="What accesses cost in time",
        description=f"{_drawn_of(drawn, usable)}. Spearman's rank correlation of accesses per MAC and time "
        f"per MAC: {plain(rank, 2)}.",
    )


def _drawn_of(drawn: pd.DataFrame, usable: pd.DataFrame) -> str:
    every = count(len(usable), "row")
    return every if len(drawn) == len(usable) else f"{count(len(drawn))} of {every} drawn"
