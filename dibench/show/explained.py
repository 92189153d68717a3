"""Where a network's cost comes from, and which changes of its design would save most of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dibench.numbers import UNKNOWN, count, percent, short, times, with_interval
from dibench.show import cost_bars
from dibench.show.blocks import Block, Cell, Column, Figure, Note, Sentence, Table
from dibench.show.origin import costliest, coverage, introduction, kind_of
from dibench.show.partial import cost_text
from dibench.study.findings.explanation import over_layers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dibench.study.findings.explanation import Explanation, Saving

_MOST_LAYERS, _MOST_CHANGES = 16, 20


def blocks(found: Explanation, source: str, *, every: bool) -> list[Block]:
    """The cost, what it is made of, and the changes that save most.

    Args:
        found: the explanation.
        source: the file of the fit.
        every: show every layer and every change.
    """
    one = found.prediction
    cost = cost_text(one.per_inference, one.unit, one.covered)
    return [
        *introduction(found.origin, source),
        Sentence(f"{one.network}, batch {one.batch}: **{cost}** per inference"),
        _layers(found, every=every),
        Sentence(_whole(found)),
        _savings(found, every=every),
        *_notes(found),
    ]


def in_a_line(found: Explanation) -> str:
    """`resnet50, batch 1: 12.3 mJ (11.0 to 14.1) per inference; depthwise split saves most, 3.1 mJ …`."""
    one = found.prediction
    cost = cost_text(one.per_inference, one.unit, one.covered)
    said = f"{one.network}, batch {one.batch}: {cost} per inference"
    if not found.savings:
        return f"{said}; no change saves any"
    best = found.savings[0]
    saves = f"{best.knob} → {best.setting}, {best.where}: {with_interval(best.saved, one.unit)}"
    return f"{said}; what would save most: {saves}"


def figures(found: Explanation) -> list[Figure]:
    """Layers and operators split by term, and the changes that save most."""
    one, kind = found.prediction, kind_of(found.origin)
    return [
        cost_bars.layer_bars(one, found.terms, kind),
        cost_bars.operator_bars(one, found.terms, kind),
        cost_bars.saving_bars(one, strongest(found.savings), kind),
    ]


def _layers(found: Explanation, *, every: bool) -> Table:
    """The costliest layers first, or all as they run, their cost split by term."""
    layers = found.prediction.layers
    shown = costliest(found.prediction, len(layers) if every else _MOST_LAYERS)
    title = "What each layer's cost is made of"
    if len(shown) < len(layers):
        title += f" ({len(shown)} costliest of {len(layers)}, --all shows every one)"
    columns = [Column("layer", text=True, wraps=True), Column("op", text=True, rank=2), Column("cost")]
    columns += [Column(term, rank=1) for term in found.terms]
    columns.append(Column("dominant", text=True))
    return Table(title, columns, [_layer_row(found, row) for row in shown])


def _layer_row(found: Explanation, row: int) -> list[str | Cell]:
    one = found.prediction.layers[row]
    head: list[str | Cell] = [one.layer.name.partition("/")[2], one.layer.kind]
    dominant = found.dominant[row]
    if dominant is None:
        return [*head, UNKNOWN, *("" for _ in found.terms), Cell("operator not in the fit", "warn")]
    costs = [values[row] for values in found.terms.values()]
    whole = sum(costs)
    outside = "  outside the range" if one.outside else ""
    shares = [percent(cost / whole) for cost in costs]
    return [*head, short(whole, found.prediction.unit), *shares, dominant + outside]


def _whole(found: Explanation) -> str:
    """The terms of the whole network, and what constant power is."""
    sums = over_layers(found.terms)
    whole = sum(sums.values()) or 1.0
    what = "The layers that are predicted" if found.prediction.covered.partial else "The whole network"
    said = f"{what}: " + ", ".join(f"{term} {percent(value / whole)}" for term, value in sums.items())
    power = found.constant_power
    if power is None:
        return said
    kind = "in" if found.origin.response == "energy_j" else "on top of"
    watts = f"{short(power.power_w, 'W')} ({power.column}) × predicted time"
    return f"{said}. Constant power: {watts}, {kind} the energy above."


def _savings(found: Explanation, *, every: bool) -> Table:
    savings = list(found.savings) if every else strongest(found.savings)[:_MOST_CHANGES]
    where = " in the layers that are predicted" if found.prediction.covered.partial else ""
    title = f"Changes that would save most per inference{where}, by this model"
    if len(savings) < len(found.savings):
        title += f" ({len(savings)} of {len(found.savings)}, --all shows every one)"
    columns = (
        Column("change", text=True), Column("to", text=True), Column("where", text=True, wraps=True),
        Column("saves (95% interval)", text=True), Column("of the cost", rank=1), Column("MACs", rank=2),
        Column("but", text=True, wraps=True),
    )  # fmt: skip
    rows: list[list[str | Cell]] = []
    for one in savings:
        doubts = ["may save nothing"] * (not one.certain) + ["extrapolated"] * one.outside
        note = Cell(", ".join(doubts), "" if one.certain else "warn")
        saved = with_interval(one.saved, found.prediction.unit)
        rows.append([one.knob, one.setting, one.where, saved, percent(one.share), times(one.macs), note])
    return Table(title, columns, rows)


def strongest(savings: Sequence[Saving]) -> list[Saving]:
    """Of each knob at each place the setting that saves most."""
    best: dict[tuple[str, str], Saving] = {}
    for one in savings:
        best.setdefault((one.knob, one.where), one)
    return list(best.values())


def _notes(found: Explanation) -> list[Block]:
    note = "What a change does to accuracy is not known here."
    if any(one.outside for one in found.savings):
        note += " Extrapolated: a new layer lies outside the range that was measured."
    made: list[Block] = [Sentence(note)]
    if found.changes_that_save_nothing:
        number = count(found.changes_that_save_nothing, "further change")
        made.append(Note(f"{number} would save nothing by this model."))
    if found.whole_network_changes_left_out:
        made.append(
            Sentence(
                "No saving by batch or data type: they also change what is not predicted. Shares of the cost "
                "are not known either.",
                "warn",
            )
        )
    for op, changes in found.changes_not_predictable.items():
        number = count(changes, "change")
        made.append(Note(f"{number} would need {op} layers, which the fit has not seen."))
    return [*made, *coverage(found.prediction)]
