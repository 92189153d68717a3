"""Figures beyond one fit: the reuse lattice, whole networks, generality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dibench.report.axes import log_axes, note
from dibench.report.numbers import is_number, plain
from dibench.report.svg import (
    ACCENT,
    FAINT,
    INK,
    MUTED,
    SURFACE,
    new_panel,
    to_svg,
)

if TYPE_CHECKING:
    from dibench.report.svg import Drawn

Json = Mapping[str, Any]

_LEAST_SPAN = float(np.log(1.1))
"""Of the heat map's colours, in log cost."""


def lattice_panel(frame: pd.DataFrame, column: str, unit: str) -> Drawn | None:
    """Heat map of cost per multiply-add over tile_p × tile_k of the widest lattice; None without boxes."""
    boxes = ["tile_p", "tile_k"]
    rows = frame[frame[boxes].notna().all(axis=1) & (frame[column] > 0) & (frame["macs"] > 0)]
    rows = rows[rows["stationarity"] == "output"]
    if not len(rows):
        return None
    shape = [name for name in ("N", "C", "H", "W", "K", "R", "S") if name in rows]
    groups = rows.groupby(shape, sort=False)
    rows = max((group for _, group in groups), key=lambda group: len(group[boxes].drop_duplicates()))
    cost = (rows[column] / rows["macs"].astype(float)).groupby([rows[name] for name in boxes]).median() * 1e12
    grid = cost.unstack()
    if grid.shape[0] < 2 or grid.shape[1] < 2:
        return None
    figure, axes = new_panel(360, 300)
    values: Any = np.log(grid.to_numpy(dtype=float))
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    # Boxes that differ by less than a tenth all look alike: the colours shall not magnify noise.
    low, high = min(low, (low + high) / 2 - _LEAST_SPAN / 2), max(high, (low + high) / 2 + _LEAST_SPAN / 2)
    for row, line in np.argwhere(np.isfinite(values)).tolist():
        value = float(values[row, line])
        strength = 0.12 + 0.78 * (value - low) / (high - low)
        axes.fill_between(
            [line - 0.5, line + 0.5], row - 0.5, row + 0.5, color=ACCENT, alpha=strength, linewidth=0
        )
        colour = SURFACE if strength > 0.55 else INK
        axes.text(
            line, row, plain(float(np.exp(value)), 3), ha="center", va="center", color=colour, fontsize=11
        )
    axes.set_xticks(range(grid.shape[1]), [str(int(tile)) for tile in grid.columns])
    axes.set_yticks(range(grid.shape[0]), [str(int(tile)) for tile in grid.index])
    axes.set(
        xlabel="tile_k: multiply-adds an input read serves",
        ylabel="tile_p: multiply-adds a weight read serves",
    )
    axes.grid(visible=False)
    return to_svg(
        figure,
        "lattice",
        title=f"{unit} per MAC by box",
        description="Darker is dearer; medians over the rest.",
    )


def ranking_panel(networks: Json, adjective: str) -> Drawn | None:
    """Ranks of the networks by their cost (`adjective`: measured, simulated…), MACs, AI and DI, as lines."""
    ranked: Sequence[Json] = networks.get("ranked") or ()
    columns = [(adjective, "efficiency"), ("MACs", "macs"), ("AI", "ai"), ("DI", "di_weighted")]
    if len(ranked) < 4 or any(name not in ranked[0]["predictors"] for _, name in columns[1:]):
        return None
    values = {
        label: [one["efficiency"] if name == "efficiency" else one["predictors"][name] for one in ranked]
        for label, name in columns
    }
    ranks = {label: np.argsort(np.argsort(-np.asarray(one, dtype=float))) for label, one in values.items()}
    figure, axes = new_panel(420, 60 + 17 * len(ranked))
    for index, one in enumerate(ranked):
        heights = [ranks[label][index] for label, _ in columns]
        moved = max(abs(heights[0] - heights[2]), abs(heights[0] - heights[3])) >= len(ranked) / 3
        axes.plot(
            range(4), heights, color=ACCENT if moved else MUTED, linewidth=1.6, marker="o", markersize=3.5
        )
        axes.text(-0.08, heights[0], one["network"], ha="right", va="center", fontsize=9.5, color=INK)
    axes.set(xlim=(-1.5, 3.2), ylim=(len(ranked) - 0.4, -0.6))
    axes.set_xticks(range(4), [label for label, _ in columns])
    axes.set_yticks([])
    axes.grid(visible=False)
    first = ", ".join(one["network"] for one in ranked[:3])
    return to_svg(figure, "ranking", title="Networks ranked", description=f"Most efficient: {first}.")


def held_out_panel(held_out: Json, unit: str, adjective: str) -> Drawn | None:
    """Whole networks: predicted by weighted DI without their family, against the sum of their layers.

    None without any. `adjective` says what these sums are: measured, modelled, simulated.
    """
    found = [
        one
        for one in held_out.get("networks") or ()
        if is_number(one.get("measured")) and is_number((one.get("held_out") or {}).get("di_weighted"))
    ]
    if len(found) < 3:
        return None
    x = np.array([one["measured"] for one in found])
    y = np.array([one["held_out"]["di_weighted"] for one in found])
    figure, axes = new_panel(330, 300)
    log_axes(axes, [x, y], [x, y])
    ends = [min(x.min(), y.min()), max(x.max(), y.max())]
    axes.plot(ends, ends, color=MUTED, linewidth=1)
    axes.plot(x, y, linestyle="none", marker="o", markersize=5, color=ACCENT, markeredgecolor=SURFACE)
    axes.set(xlabel=f"{adjective}, {unit} an inference", ylabel="predicted unseen")
    return to_svg(figure, "held-out", title="Unseen networks", description=f"{len(found)} networks.")


def distribution_panels(generality: Json) -> list[tuple[str, Drawn]]:
    """Over subsets: the distribution of the correlation with DI beside combinatorics' curve, and its Q–Q."""
    panels = []
    for unit, population in (generality.get("populations") or {}).items():
        sizes = population["sizes"]
        if not sizes:
            continue
        size = min(sizes, key=lambda one: abs(one["k"] - population["n"] / 2))
        spread = size["spreads"].get("di_weighted")
        if not spread or not spread["z"]:
            continue
        panels.append((f"{size['k']} of {population['n']} {unit}", _histogram(unit, size, spread)))
        panels.append((f"Q–Q, {size['k']} of {population['n']} {unit}", _quantiles(unit, spread["z"])))
    return panels


def _histogram(unit: str, size: Json, spread: Json) -> Drawn:
    z = spread["z"]
    edges, counts = np.asarray(z["edges"]), np.asarray(z["counts"], dtype=float)
    density = counts / counts.sum() / np.diff(edges)
    figure, axes = new_panel(330, 270)
    axes.stairs(density, edges, fill=True, color=FAINT)
    axes.stairs(density, edges, color=MUTED, linewidth=1)
    at = np.linspace(edges[0], edges[-1], 200)
    curve = (
        np.exp(-((at - z["mean"]) ** 2) / (2 * spread["curve"] ** 2)) / spread["curve"] / np.sqrt(2 * np.pi)
    )
    axes.plot(at, curve, color=ACCENT, linewidth=1.8)
    note(axes, f"sd {plain(z['sd'], 2)}, curve {plain(spread['curve'], 2)}")
    axes.set(xlabel="Fisher's z of the correlation, DI", yticks=[])
    return to_svg(
        figure,
        f"subsets-{unit}",
        title=f"Over subsets of {unit}",
        description=f"{size['subsets']} subsets; the curve is what drawing from a fixed set gives by itself.",
    )


def _quantiles(unit: str, z: Json) -> Drawn:
    normal = np.asarray(z["normal_quantiles"], dtype=float)
    own = np.asarray(z["quantiles"], dtype=float)  # standardised
    figure, axes = new_panel(300, 270)
    axes.plot(normal, normal, color=MUTED, linewidth=1)
    axes.plot(normal, own, linestyle="none", marker="o", markersize=3, color=ACCENT)
    axes.set(xlabel="normal quantile", ylabel="of the subsets")
    words = f"skew {plain(z['skew'], 2)}, excess kurtosis {plain(z['excess_kurtosis'], 2)}"
    note(axes, words)
    return to_svg(figure, f"quantiles-{unit}", title=f"Q–Q over subsets of {unit}", description=words)
