"""Exact twins: does it matter which operand is the large one? Pairs as a table, and as slopes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dibench.numbers import UNKNOWN, bracketed, count, number, p_value, percent, times
from dibench.show.blocks import Block, Cell, Figure, Note, Section, Sentence, Table, Tone, columns
from dibench.show.marks import tell
from dibench.show.missing import ABSENT
from dibench.show.palette import INK, MUTED, OPERATOR_COLOURS, OPERATOR_MARKERS, PANEL_WIDTH, SURFACE, TEXT
from dibench.show.svg import ident, new_grid, to_svg
from dibench.study.findings.twins import NOT_TESTABLE, Compared, Pairs, TwinPairs, Twins

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dibench.show.svg import Drawn

TWINS, PLACEBO = (0.0, 1.0), (1.6, 2.6)
"""Where the two halves of a pair stand along x."""

_MAPPINGS = {"p": "lanes p", "k": "lanes k", "both": "p and k", "": ""}
_TONES: dict[str, Tone] = {"equivalent": "good", "differs": "", "undecided": "warn"}
_LEAST_SPAN = 1.03
"""Ratio from the middle to the edge of the scale, at least, so that noise does not look like a slope."""


def section(found: Twins | None, card: str = "") -> Section:
    """The pairs of every response, a figure for each operator, and what is not testable.

    Args:
        found: None where nothing was measured: then how to measure it.
        card: its name where there are several.
    """
    if found is None:
        told: list[Block] = [Sentence(ABSENT["twins"], "warn")]
    else:
        told = [*_lead(found), *_figures(found, card), *tables(found)]
    told += [Note(f"{what}: not testable, {why}.") for what, why in NOT_TESTABLE.items()]
    left_out = 0 if found is None else sum(found.not_exact.values())
    if left_out:
        why = "the kernel chooses its tiles by the layer, and reads or computes more in one half"
        told.append(Note(f"{count(left_out, 'pair')} of rows left out: {why}."))
    return Section("twins", "Twins", "Does it matter which operand is the large one?", told)


def _lead(found: Twins) -> list[Block]:
    what = (
        "Exact twins are two layers whose weights and inputs exchange their sizes, while nothing else "
        f"differs. Of {found.basis}."
    )
    how = (
        "Ratio: the half with more weights over the half with more inputs. AI says 1; above 1, a weight "
        f"costs more than an input. Equivalent: within {percent(found.margin, 0)}. The placebo exchanges "
        "height and width, which changes no count: what it shows is not due to the data type."
    )
    return [Sentence(what, "" if found.measured else "warn"), Sentence(how)]


def tables(found: Twins) -> list[Table]:
    """One for energy and one for time: every operator under every lane mapping, its placebo beside."""
    return [_table(response, kinds) for response, kinds in found.responses.items()]


def _table(response: str, kinds: Compared) -> Table:
    placebo = {(one.op, one.lanes): one for one in kinds.placebo}
    rows = []
    for one in kinds.twins:
        beside = placebo.pop((one.op, one.lanes), None)
        rows.append([one.op, _lanes(one), *_cells(one), *_placebo(beside)])
    rows += [[one.op, _lanes(one), "", "", "", "no twins", "", *_placebo(one)] for one in placebo.values()]
    header = columns(
        *("operator", "lanes", "pairs", "ratio", "p (Holm)", "says", "fitted α", "placebo", "placebo says"),
        text=["lanes", "says", "fitted α", "placebo says"],
        wraps=["says"],
        ranks={"placebo says": 5, "p (Holm)": 4, "fitted α": 3, "pairs": 2, "placebo": 1},
    )
    return Table(
        f"Exact twins in {response}: the half with more weights over the half with more inputs",
        header,
        rows,
        "In brackets the 95% interval, by sign flips over pairs of layers. Placebo: wide over tall.",
    )


def _cells(one: TwinPairs) -> list[str | Cell]:
    says = one.decision + (f": {one.reason}" if one.decision == "undecided" else "")
    decided = Cell(says, _TONES[one.decision], strong=one.decision == "differs")
    return [count(one.pairs), _ratio(one), p_value(one.p_holm), decided, one.fitted_alpha]


def _lanes(one: Pairs) -> str:
    return {"": UNKNOWN, "both": "p and k"}.get(one.lanes, one.lanes)


def _ratio(one: Pairs) -> str:
    """`1.082 (1.051 to 1.113)`; few pairs bound nothing."""
    said = bracketed(one.ratio, one.ci_low, one.ci_high, lambda value: number(value, ".3f"))
    return said if "(" in said else f"{said} (unbounded)"


def _placebo(one: Pairs | None) -> list[str]:
    if one is None:
        return ["no placebo", ""]
    return [_ratio(one), f"{one.decision}, {count(one.pairs, 'pair')}"]


def _figures(found: Twins, card: str) -> list[Figure]:
    """Of each operator, by the response that decides."""
    response, kinds = next(iter(found.responses.items()))
    reading = (
        "Thin lines: pairs; thick: their mean; bar: its 95% interval. Grey: a pair differs by less than "
        f"{percent(found.margin, 0)}."
    )
    figures = []
    for op in dict.fromkeys(one.op for one in kinds.twins):
        name = ident(f"twins-{op}", card)
        draw = partial(slopes_panel, kinds, op, response, found.margin, name=name)
        figures.append(Figure(name, _says(op, kinds.twins, found.margin), draw, [reading]))
    return figures


def _says(op: str, entries: Sequence[Pairs], margin: float) -> str:
    """An operator with what its twins decide, under both mappings together where there are two."""
    own = [one for one in entries if one.op == op]
    chosen = next((one for one in own if one.lanes == "both"), own[0])
    if chosen.decision == "differs":
        return f"{op}: a weight costs {'more' if chosen.ratio > 1 else 'less'} than an input"
    if chosen.decision == "equivalent":
        return f"{op}: equal within {percent(margin, 0)}"
    return f"{op}: undecided"


def slopes_panel(
    kinds: Compared, op: str, response: str, margin: float, *, name: str = "twins"
) -> Drawn | None:
    """Lines of one operator's pairs, a row for each lane mapping, the placebo beside; None without any.

    Args:
        kinds: the pairs of a response.
        op: operator.
        response: what the ratios are of.
        margin: relative, of the grey band.
        name: of the figure.
    """
    twins = {one.lanes: one for one in kinds.twins if one.op == op}
    placebo = {one.lanes: one for one in kinds.placebo if one.op == op}
    mappings = [lanes for lanes in _MAPPINGS if lanes in twins and twins[lanes].by_pair]
    if not mappings:
        return None
    figure, rows = new_grid(len(mappings), 1, PANEL_WIDTH, 75 + 122 * len(mappings))
    half = (1 + margin) ** 0.5
    for axes, lanes in zip(rows, mappings, strict=True):
        axes.axhspan(1 / half, half, color=MUTED, alpha=0.16, linewidth=0)
        axes.set_title(_MAPPINGS[lanes], loc="left", color=INK, weight="bold", pad=20)
        _draw(axes, twins[lanes], TWINS, OPERATOR_COLOURS[op], "twins")
        if lanes in placebo:
            _draw(axes, placebo[lanes], PLACEBO, MUTED, "placebo")
        else:
            middle = sum(PLACEBO) / 2
            axes.text(middle, 1.0, "no placebo", ha="center", va="center", color=MUTED)
    _scales(rows, [*twins.values(), *placebo.values()])
    figure.supylabel(f"{response} / mean of pair", fontsize=TEXT, color=MUTED)
    said = "; ".join(_words(lanes, twins[lanes], placebo.get(lanes)) for lanes in mappings)
    return to_svg(figure, name, title=f"Exact twins: {op}, {response}", description=f"{said}.")


def _draw(axes: Axes, one: Pairs, at: tuple[float, float], colour: str, kind: str) -> None:
    """The pairs, their mean with its interval at the right half, and the mean as a number above."""
    ratios = np.array(one.by_pair)
    axes.plot(at, [ratios**-0.5, ratios**0.5], color=colour, linewidth=0.9, alpha=0.6)
    words = [f"{kind}, pair {number}: {times(ratio, 3)}" for number, ratio in enumerate(ratios, start=1)]
    tell(axes, [at[1]] * len(words), ratios**0.5, words)
    tell(axes, [at[0]], [one.ratio**-0.5], [f"{kind}, mean of {count(one.pairs, 'pair')}: {_ratio(one)}"])
    mean = [one.ratio**-0.5, one.ratio**0.5]
    marker = OPERATOR_MARKERS.get(one.op, "o")
    if one.ci_low is not None and one.ci_high is not None:
        ends = [one.ci_low**0.5, one.ci_high**0.5]
        axes.plot([at[1] + 0.1] * 2, ends, color=colour, linewidth=3.5, alpha=0.55, solid_capstyle="butt")
    axes.plot(
        at, mean, color=colour, linewidth=2.4, marker=marker, markersize=6, markeredgecolor=SURFACE,
        label=f"{kind}, mean",
    )  # fmt: skip
    axes.annotate(
        times(one.ratio, 3), (sum(at) / 2, 1.0), xycoords=axes.get_xaxis_transform(), xytext=(0, 4),
        textcoords="offset points", ha="center", color=INK,
    )  # fmt: skip


def _scales(rows: Sequence[Axes], entries: Sequence[Pairs]) -> None:
    """A scale that holds every pair, with one over the least ratio as far from the middle as the largest."""
    ends = [value for one in entries for value in (*one.by_pair, one.ci_low, one.ci_high)]
    widest = max(abs(np.log(value)) for value in ends if value is not None and value > 0) / 2
    widest = max(1.1 * widest, float(np.log(_LEAST_SPAN)))
    step = next((step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if 3.4 * step > widest), 1.0)
    values = [1.0, *(1 + sign * step * number for number in (1, 2, 3) for sign in (-1, 1))]
    values = [value for value in values if value > 0 and abs(np.log(value)) <= widest]
    for axes in rows:
        axes.set(yscale="log", ylim=(np.exp(-widest), np.exp(widest)), xlim=(-0.25, 2.85))
        axes.set_yticks(values, [number(value, ".2f") for value in values], minor=False)
        axes.minorticks_off()
        axes.grid(axis="x", visible=False)
    ticks = [*TWINS, *PLACEBO]
    rows[-1].set_xticks(ticks, ["many\ninputs", "many\nweights", "tall", "wide"])


def _words(lanes: str, twins: Pairs, placebo: Pairs | None) -> str:
    named = f"{_MAPPINGS[lanes]}: " if lanes else ""
    beside = "no placebo" if placebo is None else f"placebo {_ratio(placebo)}, {placebo.decision}"
    return f"{named}{count(twins.pairs, 'pair')}, ratio {_ratio(twins)}, {twins.decision}; {beside}"
