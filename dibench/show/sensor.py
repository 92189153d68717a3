"""What a GPU's power sensor can resolve: a table, and noise against window length as a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dibench.numbers import count, percent, short
from dibench.show.blocks import Block, Headline, Note, Sentence, Table, columns
from dibench.show.palette import ACCENT, MUTED
from dibench.show.svg import new_panel, standalone, to_svg

if TYPE_CHECKING:
    from pathlib import Path

    from dibench.measure.calibration import Calibration


def brief(found: Calibration, kept: Path) -> list[Block]:
    """How many visits a case needs, how sure that is, what to do next; then the table."""
    rows = [[count(int(number)), f"±{percent(width)}"] for number, width in found.half_width.items()]
    table = Table(
        "How well energy is known, by visits to a case",
        columns("visits", "energy, 95%"),
        rows,
        f"`--full` shows the sensor, both idle powers and noise. Kept as {kept}, a figure beside it.",
    )
    return [
        Headline(_answer(found), "" if found.visits else "warn"),
        Sentence(_how_sure(found), "warn" if found.notes else ""),
        Sentence(_next(found)),
        table,
    ]


def _answer(found: Calibration) -> str:
    gpu = found.meter["gpu"]
    if not found.half_width:
        return f"No answer: no energy was read of {gpu} in this time."
    if found.visits is None:
        most, width = list(found.half_width.items())[-1]
        return f"Noisy: even {most} visits to a case tell its energy on {gpu} to ±{percent(width)} only."
    visits, width = count(found.visits, "visit"), found.half_width[str(found.visits)]
    tell = "tells" if found.visits == 1 else "tell"
    return f"{visits} to a case {tell} its energy on {gpu} to ±{percent(width)} (95%)."


def _how_sure(found: Calibration) -> str:
    """What a visit adds to noise, from how much it was found, and what was odd."""
    said = f"How sure: a case's power scatters by {percent(found.between)} from visit to visit"
    if found.noise:
        length, sd = list(found.noise.items())[-1]
        said += f", by {percent(sd)} from one window of {length} s to the next"
    if not found.notes:
        return f"{said}."
    more = f", and {count(len(found.notes) - 1, 'more remark')}" if len(found.notes) > 1 else ""
    return f"{said}; but {found.notes[0]}{more}."


def _next(found: Calibration) -> str:
    if not found.half_width:
        return "Next: `python -m dibench calibrate --long`, with other work off the GPU."
    visits = f" --visits {found.visits}" if found.visits else ""
    quiet = "" if found.visits else "take other work off the GPU and calibrate again `--long`, or "
    return f"Next: {quiet}`python -m dibench sweep default{visits} --out results/local/gpu`."


def full(found: Calibration, kept: Path) -> list[Block]:
    """The same sentences, then all that was found."""
    return [*brief(found, kept)[:3], *_sensor(found, kept)]


def _sensor(found: Calibration, kept: Path) -> list[Block]:
    """What was found, and where it is kept."""
    rows = [
        ["joules by", str(found.meter["estimator"])],
        ["energy counter", _moves(found.meter["counter_period_s"])],
        ["power", _moves(found.meter["power_period_s"])],
    ]
    if found.idle_power_w is not None:
        rows.append(["idle", f"{short(found.idle_power_w, 'W')} ± {short(found.idle_ci_w or 0, 'W')}"])
    noise = ", ".join(f"{percent(sd)} in {length} s" for length, sd in found.noise.items())
    widths = ", ".join(f"±{percent(width)} from {number}" for number, width in found.half_width.items())
    rows += [
        ["active idle", f"{short(found.active_idle_power_w, 'W')} ± {short(found.active_idle_ci_w, 'W')}"],
        ["noise (1σ)", f"{noise or 'too few windows'}; a visit adds {percent(found.between)}"],
        ["visits", widths or "no energy was read"],
        ["reading", str(found.meter["reading"])],
    ]
    title = f"**{found.meter['gpu']}**  {found.device_uuid}"
    table = Table(title, columns("of the sensor", "found", text=["found"], wraps=["found"]), rows)
    return [table, *map(Note, found.notes), Sentence(f"Kept as {kept}, with a figure beside it.")]


def _moves(period_s: float | None) -> str:
    return "not there" if period_s is None else f"moves every {short(period_s, 's')}"


def noise_figure(noise: Mapping[float, float], between: float) -> str:
    """Standard deviation of a window (in %) by its length in seconds, as an SVG file of its own.

    Args:
        noise: relative standard deviation by window length, from one uninterrupted run.
        between: what a visit adds, relative.
    """
    figure, axes = new_panel(400, 285)
    lengths = sorted(noise)
    heights = [100 * noise[length] for length in lengths]
    axes.plot(lengths, heights, color=ACCENT, marker="o", linewidth=1.6)
    if lengths:
        falling = [heights[0] * math.sqrt(lengths[0] / length) for length in lengths]
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
    said = ", ".join(f"{percent(noise[length])} at {length:g} s" for length in lengths)
    panel = to_svg(
        figure,
        "noise",
        title="Noise against window length",
        description=f"The same load again and again: {said or 'too few windows'}; "
        f"a visit adds {percent(between)}.",
    )
    return standalone(panel)
