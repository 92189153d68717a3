"""The roofline panel: what this machine could do, by its own peaks, and what the kernels reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dibench.show import axes as ax
from dibench.show import energy_roofline
from dibench.show.blocks import Section
from dibench.show.numbers import count, plain, share, short
from dibench.show.parts import Study, panel, section_of
from dibench.show.svg import ACCENT, INK, MUTED, SURFACE, new_panel, to_svg

if TYPE_CHECKING:
    import pandas as pd

    from dibench.show.svg import Drawn

# Peaks = {"mac_per_s": ..., "bytes_per_s": ...} of the manifest, measured by the sweep on this machine.
Peaks = dict[str, float]


def section(study: Study, peaks: Peaks | None, shares: Mapping[str, Any]) -> Section:
    """Work per second under the roof of this machine's peaks; of fits of energy, work per joule too."""
    if peaks:
        simulated = bool((study.rows["energy_source"] == "simulated").any())
        whose = "the simulated device's" if simulated else "this machine's own"
        basis = "set beforehand" if simulated else "measured in this sweep"
        lines = [
            f"The roof is {whose}: {short(peaks['mac_per_s'], 'MAC/s')} of multiply-adds and "
            f"{short(peaks['bytes_per_s'], 'B/s')} from memory, both {basis}.",
            attained_words(shares),
        ]
    else:
        lines = ["No peaks of this machine were recorded, so there is no roof to compare with."]
    beside = [
        "Filled: the fastest kernel of each operator. Hollow: all other kernels, whose reuse is a knob.",
        "Bytes are compulsory: every element once. Kernels with little reuse access far more, mostly in "
        "caches; data that stay in a cache can lift a layer above the slanted roof.",
    ]
    near = panel("How near does each layer come?", beside, roofline_panel(study.rows, peaks))
    question = "How near do the kernels come to what this machine can do?"
    return section_of("roofline", "Roofline", question, lines, [near, *energy_roofline.panels(study)])


def attainable(mac_per_byte: Any, peaks: Peaks) -> Any:
    """The roof in MAC/s: the lesser of peak compute and intensity times peak bandwidth.

    >>> attainable(np.array([2.0, 50.0]), {"mac_per_s": 100.0, "bytes_per_s": 10.0})
    array([ 20., 100.])
    """
    return np.minimum(peaks["mac_per_s"], mac_per_byte * peaks["bytes_per_s"])


def attained(rows: pd.DataFrame, peaks: Peaks) -> dict[str, dict[str, float]]:
    """Over the fastest row of each layer, by operator: layers, median and best share of the roof, MAC/s."""
    fastest = rows[rows["fastest"]]
    shares = fastest["mac_per_s"] / attainable(fastest["mac_per_byte"], peaks)
    return {
        op: {
            "layers": len(own),
            "median": float(shares[own.index].median()),
            "best": float(shares[own.index].max()),
            "mac_per_s": float(own["mac_per_s"].max()),
        }
        for op in ax.present(fastest)
        if len(own := fastest[fastest["op"] == op])
    }


def roofline_panel(rows: pd.DataFrame, peaks: Peaks | None) -> Drawn:
    """MAC/s against MAC per compulsory byte; filled: the fastest kernel of each operator."""
    usable = rows[rows["usable"]]
    fast = ax.thin(usable[usable["fastest"]], "mac_per_byte", "mac_per_s")
    rest = ax.thin(usable[~usable["fastest"]], "mac_per_byte", "mac_per_s")
    figure, axes = new_panel(420, 330)
    tops = [peaks["mac_per_s"]] if peaks else []
    ax.log_axes(axes, [usable["mac_per_byte"]], [usable["mac_per_s"], tops])
    ax.scatter_open(axes, rest, "mac_per_byte", "mac_per_s", alpha=0.35)
    ax.scatter(axes, fast, "mac_per_byte", "mac_per_s", size=5.4, alpha=0.95)
    if peaks:
        _draw_roof(axes, peaks)
    axes.yaxis.set_major_formatter(lambda value, _: short(value))
    axes.set_xlabel("MAC per compulsory byte")
    axes.set_ylabel("MAC/s")
    return to_svg(
        figure, "roofline", title="Roofline of this machine", description=_description(usable, fast, peaks)
    )


def _draw_roof(axes: Any, peaks: Peaks) -> None:
    low, high = axes.get_xlim()
    ridge = peaks["mac_per_s"] / peaks["bytes_per_s"]
    x = np.array(sorted({low, min(max(ridge, low), high), high}))
    axes.plot(x, attainable(x, peaks), color=ACCENT, linewidth=2, solid_joinstyle="round")
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top * 1.6)  # room for the words above the roof
    axes.annotate(
        f"peak compute {short(peaks['mac_per_s'], 'MAC/s')}",
        (high, peaks["mac_per_s"]),
        xytext=(-2, 5),
        textcoords="offset points",
        ha="right",
        va="bottom",
        color=INK,
        fontsize=10,
        weight="bold",
    )
    start = max(low, bottom / peaks["bytes_per_s"])
    if ridge > start * 3:
        # The slanted roof's words stand along it, so their angle follows the drawn slope.
        at = (start * ridge) ** 0.5
        box = axes.get_position()
        width, height = (axes.figure.get_size_inches() * (box.width, box.height)).tolist()
        decades_x, decades_y = np.log10(high / low), np.log10(axes.get_ylim()[1] / bottom)
        angle = float(np.degrees(np.arctan2(height / decades_y, width / decades_x)))
        axes.annotate(
            f"peak bandwidth {short(peaks['bytes_per_s'], 'B/s')}",
            (at, attainable(at, peaks)),
            xytext=(-6, 6),
            textcoords="offset points",
            rotation=angle,
            rotation_mode="anchor",
            ha="center",
            va="bottom",
            color=INK,
            fontsize=10,
            weight="bold",
            bbox={"facecolor": SURFACE, "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
        )
    else:
        ax.note(axes, f"ridge at {plain(ridge)} MAC per byte, left of every layer", y=0.03)
    axes.tick_params(labelcolor=MUTED)


def _description(usable: pd.DataFrame, fast: pd.DataFrame, peaks: Peaks | None) -> str:
    roof = (
        f"The roof: {short(peaks['mac_per_s'], 'MAC/s')} and {short(peaks['bytes_per_s'], 'B/s')}, "
        "as the manifest says. "
        if peaks
        else "No peaks were recorded, so no roof is drawn. "
    )
    best = {op: fast.loc[fast["op"] == op, "mac_per_s"].max() for op in ax.present(fast)}
    each = ", ".join(f"{op} {short(float(value), 'MAC/s')}" for op, value in best.items())
    return f"{roof}{count(len(usable), 'row')}. Fastest kernel by operator: {each}."


def attained_words(shares: Mapping[str, Any]) -> str:
    """One sentence: how near the fastest kernels come to the roof.

    >>> attained_words({"fc": {"layers": 3, "median": 0.5, "best": 0.61, "mac_per_s": 1e9}})
    'Median share of the roof that the fastest kernel of each operator attains: fc 50%.'
    """
    each = ", ".join(f"{op} {share(own['median'])}" for op, own in shares.items())
    return f"Median share of the roof that the fastest kernel of each operator attains: {each}."
