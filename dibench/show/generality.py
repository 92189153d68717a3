"""Over subsets of networks and layers: how the correlation with DI spreads, and how normal that looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dibench.show.axes import note
from dibench.show.blocks import Figure, Section
from dibench.show.numbers import plain
from dibench.show.parts import Json, Study, panel, section_of
from dibench.show.svg import ACCENT, FAINT, MUTED, new_panel, to_svg
from dibench.study.findings.generality import nearest_half

if TYPE_CHECKING:
    from dibench.show.svg import Drawn


def sections(study: Study) -> list[Section]:
    """Where networks and layers suffice for subsets; else none."""
    panels = distribution_panels(study.generality or {})
    if study.generality is None or not panels:
        return []
    notes = ["Bell shapes over subsets of a fixed set describe; they are no evidence for other networks."]
    question = "Would other networks have said the same?"
    return [section_of("generality", "Generality", question, list(study.generality["words"]), panels, notes)]


def distribution_panels(generality: Json) -> list[Figure]:
    """Over subsets: the distribution of the correlation with DI beside combinatorics' curve, and its Q–Q."""
    panels = []
    for unit, population in (generality.get("populations") or {}).items():
        sizes = population["sizes"]
        if not sizes:
            continue
        half = nearest_half([one["k"] for one in sizes], population["n"])
        size = next(one for one in sizes if one["k"] == half)
        spread = size["spreads"].get("di_weighted")
        if not spread or not spread["z"]:
            continue
        drawn = f"subsets of {size['k']} of {population['n']} {unit}"
        beside = ["curve: the spread that drawing from a fixed set gives by itself"]
        panels.append(panel(f"Over {drawn}", beside, _histogram(unit, size, spread)))
        panels.append(
            panel(f"How normal, over {drawn}", ["on the line: normal"], _quantiles(unit, spread["z"]))
        )
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
    note(axes, f"spread {plain(z['sd'], 2)}\nof the curve {plain(spread['curve'], 2)}")
    axes.set(xlabel="correlation with DI (Fisher's z)", yticks=[])
    return to_svg(
        figure,
        f"generality-{unit}",
        title=f"Over subsets of {unit}",
        description=f"{size['subsets']} subsets; the curve is what drawing from a fixed set gives by itself.",
    )


def _quantiles(unit: str, z: Json) -> Drawn:
    normal = np.asarray(z["normal_quantiles"], dtype=float)
    own = np.asarray(z["quantiles"], dtype=float)  # standardised
    figure, axes = new_panel(330, 270)
    axes.plot(normal, normal, color=MUTED, linewidth=1)
    axes.plot(normal, own, linestyle="none", marker="o", markersize=3, color=ACCENT)
    axes.set(xlabel="normal quantile", ylabel="quantile of the subsets")
    words = f"skew {plain(z['skew'], 2)}\nexcess kurtosis {plain(z['excess_kurtosis'], 2)}"
    note(axes, words)
    return to_svg(
        figure, f"generality-quantiles-{unit}", title=f"Q–Q over subsets of {unit}", description=words
    )
