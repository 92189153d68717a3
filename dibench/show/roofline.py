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
from dibench.show.studies import Study
from dibench.show.svg import ACCENT, INK, MUTED, SURFACE, new_panel, to_svg

if TYPE_CHECKING:
    import pandas as pd

    from dibench.show.svg import Drawn
    from dibench.study.findings.described import Peaks, Speed


def section(study: Study, peaks: Peaks | None, speeds: Mapping[str, Speed]) -> Section:
    """Work per second under the roof of this machine's peaks; of fits of energy, work per joule too."""
    lines = ["No peaks of this machine were recorded, so there is no roof to compare with."]
    if peaks:
        simulated = bool((study.rows["energy_source"] == "simulated").any())
        whose = "the simulated device's" if simulated else "this machine's own"
        basis = "set beforehand" if simulated else "measured in this sweep"
        each = ", ".join(f"{op} {percent(own.median_share)}" for op, own in speeds.items() if own.layers)
        lines = [
            f"The roof is {whose}: {short(peaks.mac_per_s, 'MAC/s')} of multiply-adds and "
            f"{short(peaks.bytes_per_s, 'B/s')} from memory, both {basis}.",
            f"Median share of the roof that the fastest kernel of each operator attains: {each}.",
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


def roofline_panel(rows: pd.DataFrame, peaks: Peaks | None, speeds: Mapping[str, Speed]) -> Drawn:
    """MAC/s against MAC per compulsory byte; filled: the fastest kernel of each operator."""
    usable = rows[rows["usable"]]
    fast = ax.thin(usable[usable["fastest"]], "mac_per_byte", "mac_per_s")
    rest = ax.thin(usable[~usable["fastest"]], "mac_per_byte", "mac_per_s")
    figure, axes = new_panel(420, 330)
    tops = [peaks.mac_per_s] if peaks else []
    ax.log_axes(axes, [usable["mac_per_byte"]], [usable["mac_per_s"], tops])
    ax.scatter(axes, rest, "mac_per_byte", "mac_per_s", size=3.4, alpha=0.35, hollow=True)
    ax.scatter(axes, fast, "mac_per_byte", "mac_per_s", size=5.4, alpha=0.95)
    if peaks:
        _draw_roof(axes, peaks)
    axes.yaxis.set_major_formatter(lambda value, _: short(value))
    axes.set_xlabel("MAC per compulsory byte")
    axes.set_ylabel("MAC/s")
    return to_svg(
        figure,
        "roofline",
        title="Roofline of this machine",
        description=_description(len(usable), peaks, speeds),
    )


def _draw_roof(axes: Any, peaks: Peaks) -> None:
    low, high = axes.get_xlim()
    ridge = peaks.mac_per_s / peaks.bytes_per_s
    x = np.array(sorted({low, min(max(ridge, low), high), high}))
    axes.plot(x, peaks.attainable(x), color=ACCENT, linewidth=2, solid_joinstyle="round")
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top * 1.6)  # room for the words above the roof
    bold = {"textcoords": "offset points", "va": "bottom", "color": INK, "fontsize": 10, "weight": "bold"}
    compute = f"peak compute {short(peaks.mac_per_s, 'MAC/s')}"
    axes.annotate(compute, (high, peaks.mac_per_s), xytext=(-2, 5), ha="right", **bold)
    start = max(low, bottom / peaks.bytes_per_s)
    if ridge > start * 3:
        at = (start * ridge) ** 0.5
        axes.annotate(
            f"peak bandwidth {short(peaks.bytes_per_s, 'B/s')}", (at, peaks.attainable(at)), xytext=(-6, 6),
            rotation=_slope_angle(axes), rotation_mode="anchor", ha="center",
            bbox={"facecolor": SURFACE, "edgecolor": "none", "alpha": 0.75, "pad": 0.5}, **bold,
        )  # fmt: skip
    else:
        ax.note(axes, f"ridge at {plain(ridge)} MAC per byte, left of every layer", y=0.03)
    axes.tick_params(labelcolor=MUTED)


def _slope_angle(axes: Any) -> float:
    """Degrees at which the slanted roof is drawn: its words stand along it."""
    (low, high), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    box = axes.get_position()
    width, height = (axes.figure.get_size_inches() * (box.width, box.height)).tolist()
    per_decade = width / np.log10(high / low), height / np.log10(top / bottom)
    return float(np.degrees(np.arctan2(per_decade[1], per_decade[0])))


def _description(rows: int, peaks: Peaks | None, speeds: Mapping[str, Speed]) -> str:
    roof = (
        f"The roof: {short(peaks.mac_per_s, 'MAC/s')} and {short(peaks.bytes_per_s, 'B/s')}, "
        "as the manifest says. "
        if peaks
        else "No peaks were recorded, so no roof is drawn. "
    )
    each = ", ".join(f"{op} {short(own.most_mac_per_s, 'MAC/s')}" for op, own in speeds.items() if own.layers)
    return f"{roof}{count(rows, 'row')}. Fastest kernel by operator: {each}."
