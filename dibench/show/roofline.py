"""The roofline: what this machine can do at most, by its own peaks, and what the kernels reach."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dibench.numbers import count, is_number, plain, share, short
from dibench.show import axes as ax
from dibench.show import energy_roofline
from dibench.show.blocks import Figure, Section, Sentence
from dibench.show.studies import Study
from dibench.show.svg import ACCENT, INK, MUTED, SURFACE, new_panel, to_svg

if TYPE_CHECKING:
    import pandas as pd

    from dibench.show.svg import Drawn


@attrs.frozen
class Peaks:
    """What this machine can do at most, as the sweep measured it."""

    mac_per_s: float
    bytes_per_s: float


@attrs.frozen
class Attained:
    """Shares of the roof that the fastest kernel of an operator reaches on its layers."""

    median: float
    best: float


def peaks_of(manifest: Mapping[str, Any] | None) -> Peaks | None:
    """The peaks that a manifest records; None where it has none."""
    found = (manifest or {}).get("peaks")
    if not isinstance(found, Mapping):
        return None
    values = [found.get(field.name) for field in attrs.fields(Peaks)]
    known = [float(value) for value in values if value is not None and is_number(value) and value > 0]
    return Peaks(*known) if len(known) == len(values) else None


def section(study: Study, peaks: Peaks | None, shares: Mapping[str, Attained]) -> Section:
    """Work per second under the roof of this machine's peaks; of fits of energy, work per joule too."""
    lines = ["No peaks of this machine were recorded, so there is no roof to compare with."]
    if peaks:
        simulated = bool((study.rows["energy_source"] == "simulated").any())
        whose = "the simulated device's" if simulated else "this machine's own"
        basis = "set beforehand" if simulated else "measured in this sweep"
        each = ", ".join(f"{op} {share(own.median)}" for op, own in shares.items())
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
    draw = partial(roofline_panel, study.rows, peaks)
    near = Figure("roofline", "How near does each layer come?", draw, beside)
    question = "How near do the kernels come to what this machine can do?"
    return Section(
        "roofline", "Roofline", question, [*map(Sentence, lines), near, *energy_roofline.figures(study)]
    )


def attainable(mac_per_byte: Any, peaks: Peaks) -> Any:
    """The roof in MAC/s: the lesser of peak compute and intensity times peak bandwidth.

    >>> attainable(np.array([2.0, 50.0]), Peaks(mac_per_s=100.0, bytes_per_s=10.0))
    array([ 20., 100.])
    """
    return np.minimum(peaks.mac_per_s, mac_per_byte * peaks.bytes_per_s)


def attained(rows: pd.DataFrame, peaks: Peaks | None) -> dict[str, Attained]:
    """By operator, over the fastest row of each layer; empty without peaks."""
    if peaks is None:
        return {}
    fastest = rows[rows["fastest"]]
    shares = fastest["mac_per_s"] / attainable(fastest["mac_per_byte"], peaks)
    by_operator = {op: shares[fastest["op"] == op] for op in ax.present(fastest)}
    return {op: Attained(float(own.median()), float(own.max())) for op, own in by_operator.items()}


def roofline_panel(rows: pd.DataFrame, peaks: Peaks | None) -> Drawn:
    """MAC/s against MAC per compulsory byte; filled: the fastest kernel of each operator."""
    usable = rows[rows["usable"]]
    fast = ax.thin(usable[usable["fastest"]], "mac_per_byte", "mac_per_s")
    rest = ax.thin(usable[~usable["fastest"]], "mac_per_byte", "mac_per_s")
    figure, axes = new_panel(420, 330)
    tops = [peaks.mac_per_s] if peaks else []
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
    ridge = peaks.mac_per_s / peaks.bytes_per_s
    x = np.array(sorted({low, min(max(ridge, low), high), high}))
    axes.plot(x, attainable(x, peaks), color=ACCENT, linewidth=2, solid_joinstyle="round")
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top * 1.6)  # room for the words above the roof
    bold = {"textcoords": "offset points", "va": "bottom", "color": INK, "fontsize": 10, "weight": "bold"}
    compute = f"peak compute {short(peaks.mac_per_s, 'MAC/s')}"
    axes.annotate(compute, (high, peaks.mac_per_s), xytext=(-2, 5), ha="right", **bold)
    start = max(low, bottom / peaks.bytes_per_s)
    if ridge > start * 3:
        at = (start * ridge) ** 0.5
        axes.annotate(
            f"peak bandwidth {short(peaks.bytes_per_s, 'B/s')}", (at, attainable(at, peaks)), xytext=(-6, 6),
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


def _description(usable: pd.DataFrame, fast: pd.DataFrame, peaks: Peaks | None) -> str:
    roof = (
        f"The roof: {short(peaks.mac_per_s, 'MAC/s')} and {short(peaks.bytes_per_s, 'B/s')}, "
        "as the manifest says. "
        if peaks
        else "No peaks were recorded, so no roof is drawn. "
    )
    best = {op: fast.loc[fast["op"] == op, "mac_per_s"].max() for op in ax.present(fast)}
    each = ", ".join(f"{op} {short(float(value), 'MAC/s')}" for op, value in best.items())
    return f"{roof}{count(len(usable), 'row')}. Fastest kernel by operator: {each}."
