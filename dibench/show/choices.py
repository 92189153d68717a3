"""The verdict under every reasonable choice: one sentence, the specification curve, and a table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dibench.numbers import count, interval
from dibench.show.alpha import scale
from dibench.show.axes import rows_under_text
from dibench.show.blocks import Block, Cell, Figure, Section, Sentence, Table, columns
from dibench.show.marks import tell
from dibench.show.palette import ACCENT, FAINT, INK, MUTED, PANEL_WIDTH, SURFACE
from dibench.show.svg import ident, new_stack, to_svg
from dibench.study.findings.ladder import MARGIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dibench.show.svg import Drawn
    from dibench.study.findings.choices import Choices, ReasonableChoice

FEW = 3
"""Choices that are named one by one."""

_SAYS = {
    "DI": ("DI", "that says DI", "that say DI"),
    "AI": ("AI", "that says AI", "that say AI"),
    "undecided": ("undecided", "that is undecided", "that are undecided"),
    "not adequate": ("the model misses", "that the model misses", "that the model misses"),
}
"""Of each verdict its words, those of one such choice, and those of several."""
_MARKS: dict[str, dict[str, Any]] = {
    "DI": {"marker": "o", "color": ACCENT, "markerfacecolor": ACCENT},
    "AI": {"marker": "s", "color": INK, "markerfacecolor": INK},
    "undecided": {"marker": "o", "color": MUTED, "markerfacecolor": SURFACE},
    "not adequate": {"marker": "x", "color": MUTED, "markerfacecolor": "none"},
}
_CURVE, _ROW, _ENDS = 190, 27, 44  # SVG units


def section(found: Choices, card: str = "") -> Section:
    """The sentence, the curve and the table, of one card where there are several."""
    return _section(Sentence(sentence(found)), figure(found, card), table(found))


def short(found: Choices) -> Section:
    """The sentence alone, for a terminal."""
    return _section(Sentence(sentence(found, "(--choices)")))


def _section(*told: Block) -> Section:
    return Section("choices", "Choices", "Would other reasonable choices have said the same?", told)


def sentence(found: Choices, of: str = "of rows, response and terms") -> str:
    """How many choices say what, and which say otherwise."""
    total, what = len(found.choices), f"reasonable choices {of}"
    if found.answers[found.most] == total:
        return f"All {total} {what} say the same: {_SAYS[found.most][0]}."
    counts = ", ".join(f"{_SAYS[said][0]} in {often or 'none'}" for said, often in found.answers.items())
    others = [_otherwise(found, said) for said in list(found.answers)[1:] if found.answers[said]]
    return f"Of {total} {what}: {'; '.join([counts, *others])}."


def _otherwise(found: Choices, verdict: str) -> str:
    """Which choices have a verdict that is not the most frequent."""
    own, (_, singular, plural) = found.of(verdict), _SAYS[verdict]
    if len(own) <= FEW:
        names = "; ".join(f"{one.name}, α {interval(one.alpha)}" for one in own)
        return f"the one {singular}: {names}" if len(own) == 1 else f"those {plural}: {names}"
    if not (common := found.common(verdict)):
        return f"those {plural} have nothing in common"
    alone = ", and no other has" if found.only(verdict) else ""
    return f"all {plural} have in common{alone}: {', '.join(common)}"


def table(found: Choices) -> Table:
    """A line for each choice, by α."""
    note = "By family: the interval if rows of one family err together. A verdict needs both."
    if found.at_most is not None:
        note += f" Of a choice with more rows, {count(found.at_most)} taken at random are judged."
    if found.too_few:
        note += f" Left out, as too few rows are left: {'; '.join(found.too_few)}."
    return Table(
        f"The verdict under {count(len(found.choices), 'choice')}, by α",
        columns(
            "choice", "rows", "α (95%)", "by family", "says", text=("α (95%)", "by family", "says"),
            wraps=("choice", "says"), ranks={"rows": 2, "by family": 1},
        ),
        [_row(one) for one in found.choices],
        note,
        best_rows=frozenset(number for number, one in enumerate(found.choices) if not one.changes),
        folded=True,
    )  # fmt: skip


def _row(one: ReasonableChoice) -> Sequence[str | Cell]:
    by_family = interval(one.alpha_by_family)
    return [one.name, count(one.rows), interval(one.alpha), by_family, f"{one.verdict}: {one.brief}"]


def figure(found: Choices, card: str = "") -> Figure:
    """The specification curve."""
    marks = {
        "DI": "red: DI",
        "AI": "square: AI",
        "undecided": "hollow: undecided",
        "not adequate": "cross: the model misses",
    }
    shown = ", ".join(text for said, text in marks.items() if found.answers.get(said))
    lines = [
        f"Each column is one choice, by α; below, what it changes. {shown[0].upper()}{shown[1:]}. "
        "Dashed: the fit itself.",
    ]
    if not all(one.bounded for one in found.choices):
        lines.append("Without a mark: α has no bound, or is not determined.")
    name = ident("choices", card)
    return Figure(name, "α under every reasonable choice", partial(curve, found, name), lines)


def curve(found: Choices, name: str) -> Drawn | None:
    """α with both intervals above, a dot for each change of each choice below; None where no α is bounded."""
    if not any(one.bounded for one in found.choices):
        return None
    rows = len(found.changes)
    drawing, (above, below) = new_stack((_CURVE, _ROW * rows), PANEL_WIDTH, _CURVE + _ROW * rows + _ENDS)
    above.set_xlim(-0.7, len(found.choices) - 0.3)
    above.set_ylim(*scale(one.alpha for one in found.choices))
    above.axhspan(*MARGIN, color=MUTED, alpha=0.16, linewidth=0)
    above.axhline(0.5, color=MUTED, linewidth=1.2)
    above.set_yticks([0, 0.5, 1], ["0: only\nactivations", "½: AI", "1: only\nweights"])
    rows_under_text(below, range(rows), found.changes)
    size = min(5.5, 250 / len(found.choices))
    for column, one in enumerate(found.choices):
        if not one.changes:
            for axes in (above, below):
                axes.axvline(column, color=FAINT, linewidth=1.2, linestyle=(0, (3, 2)), zorder=0)
        _alpha(above, one, column, size)
        dots = [found.changes.index(change) for change in one.changes]
        below.plot([column] * len(dots), dots, linestyle="none", markersize=size, **_MARKS[one.verdict])
    for axes in (above, below):
        axes.grid(axis="x", visible=False)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
    said = "; ".join(f"{one.name}: {one.verdict}, {interval(one.alpha)}" for one in found.choices)
    return to_svg(drawing, name, title="α of weighted DI under each choice", description=f"{said}.")


def _alpha(axes: Axes, one: ReasonableChoice, column: int, size: float) -> None:
    """Both intervals and the mark; nothing where α is not bounded on both sides."""
    if not one.bounded:
        return
    low, high = axes.get_ylim()
    mark = _MARKS[one.verdict]
    whose = ((one.alpha_by_family, 0.9, "families err as one"), (one.alpha, 2.6, "95% interval"))
    for found, width, says in whose:
        bottom = low if found.ci_low is None else max(low, found.ci_low)
        top = high if found.ci_high is None else min(high, found.ci_high)
        axes.plot([column] * 2, [bottom, top], color=mark["color"], linewidth=width, alpha=0.55, label=says)
    if one.alpha.value is not None and low <= one.alpha.value <= high:
        axes.plot(
            [column],
            [one.alpha.value],
            markersize=size,
            linestyle="none",
            label=_SAYS[one.verdict][0],
            **mark,
        )
        tell(axes, [column], [one.alpha.value], [f"{one.name}: {one.verdict}, α {interval(one.alpha)}"])
