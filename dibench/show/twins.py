"""Exact twins as slopes: each pair a line from its half of many inputs to its half of many weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dibench.show.blocks import Section
from dibench.show.numbers import is_number, plain
from dibench.show.parts import Json, Study, panel, section_of
from dibench.show.svg import INK, MUTED, OPERATOR_COLOURS, OPERATOR_MARKERS, SURFACE, new_grid, to_svg
from dibench.study.findings.twins import NOT_TESTABLE
from dibench.study.questions.twins import MARGIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dibench.show.svg import Drawn

_PERCENT = f"{100 * np.expm1(MARGIN):.0f}%"
TWINS, PLACEBO = (0.0, 1.0), (1.6, 2.6)
"""Where the two halves of a pair stand along x."""

_MAPPINGS = {"p": "lanes p", "k": "lanes k", "both": "p and k", "": ""}
_LEAST_SPAN = 1.03
"""Ratio from the middle to the edge of the scale, at least: noise shall not look like a slope."""


def sections(studies: Sequence[Study]) -> list[Section]:
    """One panel an operator and card, of the response that decides; none where the rows have no twins."""
    panels, bases = [], []
    for study in studies:
        twins = (study.fit or {}).get("twins")
        if not twins:
            continue
        response = next(iter(twins["responses"]))
        kinds = twins["responses"][response]
        bases.append(twins["basis"])
        for op in dict.fromkeys(one["op"] for one in kinds["twins"]):
            svg = slopes_panel(kinds, op, response, name=study.ident(f"twins-{op}"))
            if svg is not None:
                panels.append(panel(_says(op, kinds["twins"]), [], svg, study.card))
    if not panels:
        return []
    lead = [
        "Two layers whose weights and inputs exchange their sizes and nothing else does: "
        f"{', '.join(dict.fromkeys(bases))}. Each thin line is one such pair, the thick line their mean, "
        "the bar its 95% interval. AI: level. A line that rises says that a weight costs more than an input.",
        f"Inside the grey band a pair differs by less than {_PERCENT}. The placebo exchanges height and "
        "width, which leaves every count as it was: a slope there is no matter of the data type.",
    ]
    untestable = [f"{what}: not testable, {why}." for what, why in NOT_TESTABLE.items()]
    question = "Does it matter which operand is the large one?"
    return [section_of("twins", "Twins", question, lead, panels, untestable)]


def _says(op: str, entries: Sequence[Json]) -> str:
    """An operator with what its twins decide, under both mappings together where there are two."""
    own = [one for one in entries if one["op"] == op]
    chosen = next((one for one in own if one["lanes"] == "both"), own[0])
    if chosen["decision"] == "differs":
        return f"{op}: a weight costs {'more' if chosen['ratio'] > 1 else 'less'} than an input"
    if chosen["decision"] == "equivalent":
        return f"{op}: equal within {_PERCENT}"
    return f"{op}: undecided"


def slopes_panel(
    kinds: Mapping[str, Sequence[Json]], op: str, response: str, *, name: str = "twins"
) -> Drawn | None:
    """Lines of one operator's pairs, a row a lane mapping, the placebo beside; None without any.

    Args:
        kinds: `twins` and `placebo`, as `Twins.to_json()` has them for a response.
        op: operator.
        response: what the ratios are of.
        name: of the figure.
    """
    own = {kind: {one["lanes"]: one for one in entries if one["op"] == op} for kind, entries in kinds.items()}
    mappings = [lanes for lanes in _MAPPINGS if lanes in own["twins"] and own["twins"][lanes]["by_pair"]]
    if not mappings:
        return None
    figure, rows = new_grid(len(mappings), 1, 330, 75 + 105 * len(mappings))
    for axes, lanes in zip(rows, mappings, strict=True):
        axes.axhspan(np.exp(-MARGIN / 2), np.exp(MARGIN / 2), color=MUTED, alpha=0.16, linewidth=0)
        axes.set_title(_MAPPINGS[lanes], loc="left", fontsize=10, color=INK, weight="bold")
        for kind, at in (("twins", TWINS), ("placebo", PLACEBO)):
            if lanes in own[kind]:
                _draw(axes, own[kind][lanes], at, OPERATOR_COLOURS[op] if kind == "twins" else MUTED)
            else:
                axes.text(sum(at) / 2, 1.0, "no placebo", ha="center", va="center", color=MUTED, fontsize=10)
    _scales(rows, [one for lines in own.values() for one in lines.values()])
    figure.supylabel(f"{response}, over the mean of its pair", fontsize=11, color=MUTED)
    said = "; ".join(_words(lanes, own["twins"][lanes], own["placebo"].get(lanes)) for lanes in mappings)
    return to_svg(figure, name, title=f"Exact twins: {op}, {response}", description=f"{said}.")


def _draw(axes: Axes, one: Json, at: tuple[float, float], colour: str) -> None:
    """The pairs, their mean with its interval at the right half, and the mean as a number above."""
    ratios = np.array(one["by_pair"])
    axes.plot(at, [ratios**-0.5, ratios**0.5], color=colour, linewidth=0.9, alpha=0.6)
    mean = [one["ratio"] ** -0.5, one["ratio"] ** 0.5]
    marker = OPERATOR_MARKERS.get(one["op"], "o")
    if is_number(one["ci_low"]) and is_number(one["ci_high"]):
        ends = [one["ci_low"] ** 0.5, one["ci_high"] ** 0.5]
        axes.plot([at[1] + 0.1] * 2, ends, color=colour, linewidth=3.5, alpha=0.55, solid_capstyle="butt")
    axes.plot(at, mean, color=colour, linewidth=2.4, marker=marker, markersize=6, markeredgecolor=SURFACE)
    axes.annotate(
        f"×{one['ratio']:.3f}", (sum(at) / 2, 1.0), xycoords=axes.get_xaxis_transform(), xytext=(0, 4),
        textcoords="offset points", ha="center", fontsize=10, color=INK,
    )  # fmt: skip


def _scales(rows: Sequence[Axes], entries: Sequence[Json]) -> None:
    """A scale that holds every pair, with one over the least ratio as far from the middle as the largest."""
    ends = [value for one in entries for value in (*one["by_pair"], one["ci_low"], one["ci_high"])]
    widest = max(abs(np.log(value)) for value in ends if is_number(value) and value > 0) / 2
    widest = max(1.1 * widest, float(np.log(_LEAST_SPAN)))
    step = next((step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if 3.4 * step > widest), 1.0)
    values = [1.0, *(1 + sign * step * number for number in (1, 2, 3) for sign in (-1, 1))]
    values = [value for value in values if value > 0 and abs(np.log(value)) <= widest]
    for axes in rows:
        axes.set(yscale="log", ylim=(np.exp(-widest), np.exp(widest)), xlim=(-0.25, 2.85))
        axes.set_yticks(values, [f"{value:.2f}" for value in values], minor=False)
        axes.minorticks_off()
        axes.grid(axis="x", visible=False)
    ticks = [*TWINS, *PLACEBO]
    rows[-1].set_xticks(ticks, ["many\ninputs", "many\nweights", "placebo:\ntall", "\nwide"])


def _words(lanes: str, twins: Json, placebo: Json | None) -> str:
    named = f"{_MAPPINGS[lanes]}: " if lanes else ""
    beside = "no placebo" if placebo is None else f"placebo {plain(placebo['ratio'])}, {placebo['decision']}"
    return f"{named}{twins['pairs']} pairs, ratio {plain(twins['ratio'])}, {twins['decision']}; {beside}"
