"""The roofline: what this machine can do at most, by its own peaks, and what the kernels reach."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dibench.numbers import count, percent, plain, short
from dibench.show import axes as ax
from dibench.show import energy_roofline
from dibench.show.blocks import Figure, Section, Sentence
from dibench.show.palette import INK, MUTED
from dibench.show.studies import Study
from dibench.show.svg import new_panel, to_svg

if TYPE_CHECKING:
    import pandas as pd

    from dibench.show.svg import Drawn
    from dibench.study.findings.described import Peaks, Roofs, Speed


def section(study: Study, peaks: Peaks | None, roofs: Roofs | None, speeds: Mapping[str, Speed]) -> Section:
    """Work per second under the roof of this machine's peaks; of fits of energy, work per joule too."""
    lines = ["No peaks of this machine were recorded, so there is no roof to compare with."]
    if peaks:
        simulated = bool((study.rows["energy_source"] == "simulated").any())
        whose = "the simulated device's" if simulated else "this machine's own"
        basis = "set beforehand" if simulated else "measured in this sweep"
        lines = [
            f"The roof is {whose}: {short(peaks.mac_per_s, 'MAC/s')} of multiply-adds and "
            f"{short(peaks.bytes_per_s, 'B/s')} from memory, both {basis}.",
            *_shares(peaks, roofs, speeds),
        ]
    beside = [
        "Filled: the fastest kernel of each operator. Hollow: all other kernels, whose reuse is a knob.",
        "Bytes are compulsory: every element once. Kernels with little reuse access far more, mostly in "
        "caches; data that stay in a cache can lift a layer above the slanted roof.",
    ]
    draw = partial(roofline_panel, study.rows, peaks, speeds)
    near = Figure("roofline", "How near does each layer come?", draw, beside)
    question = "How near do the kernels come to what this machine can do?"
    return Section(
        "roofline", "Roofline", question, [*map(Sentence, lines), near, *energy_roofline.figures(study)]
    )


def _shares(peaks: Peaks, roofs: Roofs | None, speeds: Mapping[str, Speed]) -> list[str]:
    """What the kernels attain of their roofs, and what binds; or that the roofs are wrong."""
    if roofs is None:
        return []
    if roofs.beaten:
        return [
            f"This roof is wrong: {count(roofs.beaten, 'row')} beat it, one by {plain(roofs.most)} times, so "
            "the machine was disturbed while its peaks were measured. Shares of it are not shown; the same "
            "sweep with `--fresh` measures peaks and rows again."
        ]
    lines = []
    if peaks.caches:
        rates = ", ".join(short(cache.bytes_per_s, "B/s") for cache in peaks.caches)
        lines += [
            f"Caches, from the first level on, give {rates}. A layer's own roof takes the nearest cache that "
            "holds its operands instead of memory."
        ]
    each = ", ".join(
        f"{op} {percent(own.median_share)} (arithmetic binds {percent(own.by_arithmetic)} of the layers)"
        for op, own in speeds.items()
        if own.layers
    )
    lines += [f"Median share of its roof that the fastest kernel of each operator attains: {each}."]
    if roofs.scalar_share is not None and peaks.scalar_mac_per_s is not None:
        lines += [
            "All other kernels compute one number at a time, on purpose. Their roof is the peak of that, "
            f"{short(peaks.scalar_mac_per_s, 'MAC/s')}; they attain a median {percent(roofs.scalar_share)}."
        ]
    return lines


def roofline_panel(rows: pd.DataFrame, peaks: Peaks | None, speeds: Mapping[str, Speed]) -> Drawn:
    """MAC/s against MAC per compulsory byte; filled: the fastest kernel of each operator."""
    usable = rows[rows["usable"]]
    fast = ax.thin(usable[usable["fastest"]], "mac_per_byte", "mac_per_s")
    rest = ax.thin(usable[~usable["fastest"]], "mac_per_byte", "mac_per_s")
    figure, axes = new_panel(height=300)
    tops = [peaks.mac_per_s] if peaks else []
    ax.log_axes(axes, [usable["mac_per_byte"]], [usable["mac_per_s"], tops], prefixes="y")
    ax.scatter(axes, fast, "mac_per_byte", "mac_per_s", _says, size=5.4, alpha=0.95)
    ax.scatter(axes, rest, "mac_per_byte", "mac_per_s", _says, size=3.4, alpha=0.8, hollow=True)
    if len(rest):
        axes.plot(
            [], [], linestyle="none", marker="o", markersize=5, color=MUTED, markerfacecolor="none",
            label="other kernels",
        )  # fmt: skip
    if peaks:
        _draw_roof(axes, peaks)
    axes.set_xlabel("MAC per compulsory byte")
    axes.set_ylabel("MAC/s")
    return to_svg(
        figure,
        "roofline",
        title="Roofline of this machine",
        description=_description(len(usable), peaks, speeds),
    )


def _says(mac_per_byte: float, mac_per_s: float) -> str:
    return f"{plain(mac_per_byte)} MAC per byte, {short(mac_per_s, 'MAC/s')}"


def _draw_roof(axes: Any, peaks: Peaks) -> None:
    low, high = axes.get_xlim()
    ridge = peaks.mac_per_s / peaks.bytes_per_s
    x = np.array(sorted({low, min(max(ridge, low), high), high}))
    axes.plot(x, peaks.attainable(x), color=INK, linewidth=2, solid_joinstyle="round", label="roof")
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top * 1.6)  # room for the words above the roof
    peak = f"{short(peaks.mac_per_s, 'MAC/s')}, {short(peaks.bytes_per_s, 'B/s')}"
    axes.annotate(
        f"roof: {peak}", (high, peaks.mac_per_s), xytext=(-2, 5), textcoords="offset points", color=INK,
        ha="right", va="bottom", bbox=ax.HALO, zorder=5,
    )  # fmt: skip
    axes.tick_params(labelcolor=MUTED)


def _description(rows: int, peaks: Peaks | None, speeds: Mapping[str, Speed]) -> str:
    roof = (
        f"The roof: {short(peaks.mac_per_s, 'MAC/s')} and {short(peaks.bytes_per_s, 'B/s')}, "
        "as the manifest says. "
        if peaks
        else "No peaks were recorded, so no roof is drawn. "
    )
    each = ", ".join(f"{op} {short(own.most_mac_per_s, 'MAC/s')}" for op, own in speeds.items() if own.layers)
    return f"{roof}{count(rows, 'row')}. Fastest kernel by operator: {each}."
