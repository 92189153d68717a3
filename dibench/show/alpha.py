"""The figure of α by card and operator, with intervals: it stands beside the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import attrs

from dibench.intensity import OPERATORS
from dibench.numbers import interval
from dibench.show.axes import above, rows_under_text, shortened
from dibench.show.blocks import Figure
from dibench.show.marks import tell
from dibench.show.palette import INK, MUTED, OPERATOR_COLOURS, OPERATOR_MARKERS, SURFACE
from dibench.show.studies import Study
from dibench.show.svg import new_panel, to_svg
from dibench.study.findings.estimate import Estimate
from dibench.study.findings.ladder import MARGIN
from dibench.words import BESIDE_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dibench.show.svg import Drawn
    from dibench.study.findings.all_findings import Several

ALL_OPERATORS, ALL_CARDS = "all operators", "all, gains fitted"
BESIDE = "+"
"""Lines of all operators together with a further term, such as `+ capacity`."""

WIDEST = (-0.5, 1.5)
"""Ends of the scale: what lies beyond is an arrow at the edge, and a number."""

MOST_CARDS = 4
_ROW = 34  # SVG units


@attrs.frozen
class Line:
    """One α: of which operator, of which card (empty where there is one), whether it carries an answer."""

    op: str
    card: str
    found: Estimate
    reliable: bool

    @property
    def drawn(self) -> bool:
        """Whether it is drawn: an α that is not bounded on both sides is given in words."""
        return None not in (self.found.value, self.found.ci_low, self.found.ci_high)


def alpha_figure(studies: Sequence[Study], several: Several | None) -> Figure:
    """The figure; nothing to see if no α is bounded on both sides."""
    lines = alpha_lines(studies, several)
    beside = ["Number and bar: α with its 95% interval; an arrow: it goes on."]
    if any(line.drawn and not line.reliable for line in lines):
        beside.append("Hollow: unreliable, of too few rows or families, or of a model that misses.")
    title = "How much does a weight weigh against an activation?"
    return Figure("alpha", title, partial(alpha_panel, lines), beside)


def alpha_lines(studies: Sequence[Study], several: Several | None) -> list[Line]:
    """All operators together, then each, of every card; the joint fit of the cards with all operators.

    Of more than `MOST_CARDS` only the first, which the page is about, operator by operator.
    """
    fits = [(study.card, study.fit) for study in studies if study.fit is not None]
    lines = [Line(ALL_OPERATORS, card, fit.alpha.weighted, fit.reliable) for card, fit in fits]
    lines += [
        Line(f"{BESIDE} {BESIDE_NAMES[name]}", card, one.alpha, one.adequate is not False)
        for card, fit in fits[:1]
        for name, one in fit.beside.items()
        if fit.determined
    ]
    if several is not None and several.compared.joint is not None:
        fit_all = all(fit.adequacy.adequate is not False for _, fit in fits)
        lines.append(Line(ALL_OPERATORS, ALL_CARDS, several.compared.joint.alpha, fit_all))
    for op in OPERATORS:
        for card, fit in fits if len(fits) <= MOST_CARDS else fits[:1]:
            if op in fit.by_operator:
                own = fit.by_operator[op]
                lines.append(Line(op, card, own.alpha.weighted, own.reliable))
    return lines


def scale(found: Iterable[Estimate]) -> tuple[float, float]:
    """The ends of a scale of α: 0 and 1 and all ends of these intervals, within `WIDEST`.

    >>> from dibench.study.findings.estimate import Estimate
    >>> scale([]), scale([Estimate(0.4, -3.0, 1.2), Estimate(0.4, None, None)])
    ((-0.05, 1.05), (-0.5, 1.2))
    """
    ends = [end for one in found for end in (one.ci_low, one.ci_high) if end is not None]
    return max(WIDEST[0], min([-0.05, *ends])), min(WIDEST[1], max([1.05, *ends]))


def alpha_panel(lines: Sequence[Line]) -> Drawn | None:
    """A row for each α, grouped by operator where there are several cards; None where none has a mark."""
    drawn = [line for line in lines if line.drawn]
    if not drawn:
        return None
    rows = _rows(lines)
    figure, axes = new_panel(height=62 + _ROW * len(rows))
    low, high = scale(line.found for line in drawn)
    axes.set_xlim(low, high)
    axes.axvspan(*MARGIN, color=MUTED, alpha=0.16, linewidth=0, label="AI is good enough")
    axes.axvline(0.5, color=MUTED, linewidth=1.2)
    for height, row in enumerate(rows):
        if isinstance(row, Line):
            _draw(axes, row, height)
    axes.set_xticks([0, 0.5, 1], ["0\nactivations", "½\nAI", "1\nweights"])
    _label(axes, rows)
    said = "; ".join(f"{' '.join(filter(None, (one.op, one.card)))} {interval(one.found)}" for one in lines)
    return to_svg(figure, "alpha", title="α of weighted DI, by card and operator", description=f"{said}.")


def _rows(lines: Sequence[Line]) -> list[Line | str]:
    """The lines, of several cards with the operator as a heading of its own above each group."""
    if not any(line.card for line in lines):
        return list(lines)
    rows: list[Line | str] = []
    for line in lines:
        if not rows or (isinstance(rows[-1], Line) and rows[-1].op != line.op):
            rows.append(line.op)
        rows.append(line)
    return rows


def _label(axes: Axes, rows: Sequence[Line | str]) -> None:
    names = [row if isinstance(row, str) else shortened(row.card or row.op) for row in rows]
    for row, text in zip(rows, rows_under_text(axes, range(len(rows)), names), strict=True):
        if isinstance(row, str) or not row.card:
            text.set(weight="bold")


def _draw(axes: Axes, line: Line, height: float) -> None:
    """Interval and mark of one α, and both as a number above; words alone where it has none."""
    above(axes, interval(line.found), 1.0, height, INK if line.reliable else MUTED)
    value, first, last = line.found.value, line.found.ci_low, line.found.ci_high
    if value is None or first is None or last is None:
        return
    low, high = axes.get_xlim()
    colour = OPERATOR_COLOURS.get(line.op, INK)
    shown = [min(max(end, low), high) for end in (first, last)]
    axes.plot(
        shown,
        [height] * 2,
        color=colour,
        linewidth=4,
        alpha=0.35,
        solid_capstyle="butt",
        label="95% interval",
    )
    for at, beyond, marker in ((low, first < low, "<"), (high, last > high, ">")):
        if beyond:
            axes.plot([at], [height], marker=marker, markersize=7, color=colour, clip_on=False)
    if low <= value <= high:
        whose = ", ".join(filter(None, (line.op, line.card)))
        tell(axes, [value], [height], [f"{whose}: α {interval(line.found)}"])
        axes.plot(
            [value], [height], linestyle="none", marker=OPERATOR_MARKERS.get(line.op, "o"), markersize=7.5,
            color=colour, markerfacecolor=colour if line.reliable else SURFACE,
            label="" if line.op in OPERATOR_COLOURS else "α",
            markeredgecolor=SURFACE if line.reliable else colour,
        )  # fmt: skip
