"""What a meter can resolve: noise against window length, as one figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import resources

from dibench.show.svg import ACCENT, MUTED, new_panel, standalone, to_svg


def noise_figure(noise: Mapping[float, float], between: float) -> str:
    """Standard deviation of a window (in %) by its length in seconds, as an SVG file of its own.

    Args:
        noise: relative standard deviation by window length, from one uninterrupted run.
        between: what a visit adds, relative.
    """
    figure, axes = new_panel(400, 285)
    lengths = sorted(noise)
    percent = [100 * noise[length] for length in lengths]
    axes.plot(lengths, percent, color=ACCENT, marker="o", linewidth=1.6)
    if lengths:
        falling = [percent[0] * math.sqrt(lengths[0] / length) for length in lengths]
        axes.plot(lengths, falling, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.annotate(
            "1/√length", (lengths[-1], falling[-1]), xytext=(0, -6), textcoords="offset points",
            color=MUTED, ha="right", va="top",
        )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(lengths, [f"{length:g}" for length in lengths])
        axes.minorticks_off()
    axes.axhline(100 * between, color=MUTED, linewidth=1.0)
    axes.annotate(
        "what a visit adds", (0.99, 100 * between), xycoords=("axes fraction", "data"), xytext=(0, 4),
        textcoords="offset points", color=MUTED, ha="right",
    )  # fmt: skip
    axes.set_xlabel("length of a window, s")
    axes.set_ylabel("1σ of its power, %")
    axes.set_ylim(bottom=0)
    said = ", ".join(f"{100 * noise[length]:.2g}% at {length:g} s" for length in lengths)
    panel = to_svg(
        figure,
        "noise",
        title="Noise against window length",
        description=f"The same load again and again: {said or 'too few windows'}; "
        f"a visit adds {100 * between:.2g}%.",
    )
    css = (resources.files("dibench.show") / "style.css").read_text("utf-8")
    return standalone(panel, css)
