"""What networks will cost: by layer, by operator, side by side, and beside what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from dibench.intensity import OPERATORS
from dibench.numbers import UNKNOWN, number, percent, plain, share_text, short, times, with_interval
from dibench.schema import LIBRARY
from dibench.show import between_layers, cost_bars, library_costs
from dibench.show.blocks import Block, Cell, Column, Figure, Sentence, Table
from dibench.show.compared import pace_text
from dibench.show.origin import costliest, coverage, introduction, kind_of
from dibench.show.partial import cost_text, part_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dibench.study.findings.fitted_model import Origin
    from dibench.study.findings.prediction import LayerCost, MeasuredNetwork, Prediction, Predictions, Scatter

_MOST_LAYERS = 24
_BAR = 14  # characters of the costliest layer's bar


def blocks(found: Predictions, source: str, *, every: bool) -> list[Block]:
    """All of it: layers where there is one network, then operators, then networks and batches.

    Args:
        found: what was predicted.
        source: the file of the fit.
        every: show every layer, not the costliest only.
    """
    predictions, made = found.predictions, introduction(found.origin, source)
    networks = _first_of_each(predictions)
    if len(networks) == 1:
        made.append(_layers(predictions[0], every=every))
    quantity = "Time" if found.origin.is_time else "Energy"
    made += [
        _operators([one for one in predictions if one.network == first.network], quantity)
        for first in networks
    ]
    if found.library is not None:
        made += library_costs.blocks(predictions, found.library)
    made += [_scatter(found.scatter), _outside(predictions)]
    if found.library is not None:
        theirs = _outside([one.prediction for one in found.library.beside])
        made += [attrs.evolve(theirs, text=f"By the library's fit: {theirs.text}")] if theirs.tone else []
    if len(predictions) > 1:
        made += _side_by_side(predictions)
    for one in networks:
        made += coverage(one)
    return made


def in_a_line(found: Predictions) -> str:
    """`resnet50, batch 8: 12.3 mJ (11.0 to 14.1) per inference`, and how many more."""
    one, *others = found.predictions
    more = f", and {len(others)} more" if others else ""
    cost = cost_text(one.per_inference, one.unit, one.covered)
    said = f"{one.network}, batch {one.batch}: {cost} per inference"
    return f"{said}{more} ({kind_of(found.origin)})"


def figures(found: Predictions) -> list[Figure]:
    """Layers and operators of each network at its first batch, and all of them side by side."""
    kind, made = kind_of(found.origin), []
    for one in _first_of_each(found.predictions):
        terms = {term: [layer.terms[term] for layer in one.layers] for term in _terms(one)}
        made += [cost_bars.layer_bars(one, terms, kind), cost_bars.operator_bars(one, terms, kind)]
    if len(found.predictions) > 1:
        made.append(cost_bars.side_by_side(found.predictions, kind))
    return made


def checked(found: Predictions) -> list[Block]:
    """Networks as a whole, and beside what was measured; nothing without whole networks."""
    if found.whole is None:
        return []
    told = [*between_layers.blocks(found.whole), *measured(found)]
    if found.pace_apart is not None:
        told.append(Sentence(pace_text(found.pace_apart, "the fit's sweep", "the measured networks"), "warn"))
    return told


def measured(found: Predictions) -> list[Block]:
    """Each network that was measured whole, beside what is predicted for its layers."""
    told = [Sentence(_measured(one, found.origin)) for one in found.measured_networks]
    if found.library is not None:
        told += [Sentence(_measured(one, found.library.origin)) for one in found.library.measured_networks]
    told += [Sentence(f"Not compared: {one}.", "warn") for one in found.measured_otherwise]
    return [*told] or [Sentence("No whole network of these was measured at these batch sizes.")]


def _measured(one: MeasuredNetwork, fit: Origin) -> str:
    unit, by = fit.unit, "by the library's fit " if fit.backend == LIBRARY else ""
    whole = f"{one.network}, batch {one.batch}, whole: measured {short(one.measured, unit)} per batch"
    if one.covered.partial:
        return (
            f"{whole} ({one.backend}); predicted {by}is a part of it, {one.covered.text}: {times(one.ratio)} "
            "that, which neither confirms nor contradicts the fit."
        )
    return (
        f"{whole} ({one.backend}); predicted {by}for its layers is {times(one.ratio)} that, the measurement "
        f"{'inside' if one.inside else 'outside'} the interval."
    )


def _first_of_each(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Each network once, at its first batch size."""
    found: dict[str, Prediction] = {}
    for one in predictions:
        found.setdefault(one.network, one)
    return list(found.values())


def _terms(found: Prediction) -> list[str]:
    return list(found.layers[0].terms) if found.layers else []


def _layers(found: Prediction, *, every: bool) -> Table:
    """The costliest layers first, or all as they run, each with a bar of its share."""
    number = len(found.layers)
    shown = costliest(found, number if every else _MOST_LAYERS)
    most = max((found.layers[row].value for row in shown if found.layers[row].known), default=0.0)
    which = "every layer"
    if len(shown) < number:
        which = f"the {len(shown)} costliest of {number} layers, --all shows every one"
    columns = (
        Column("layer", text=True, wraps=True), Column("op", text=True, rank=5), Column("MACs", rank=4),
        Column("AI", rank=4), Column("cost"), Column("95% interval", text=True), Column("share", rank=1),
        Column("", text=True, rank=6), Column("dominant", text=True, rank=2),
        Column("outside the measured range", text=True, rank=3),
    )  # fmt: skip
    rows = [_layer_row(found, found.layers[row], most) for row in shown]
    return Table(f"{found.network}, batch {found.batch}: {which}", columns, rows)


def _layer_row(found: Prediction, one: LayerCost, most: float) -> list[str | Cell]:
    layer, unit = one.layer, found.unit
    name = layer.name.partition("/")[2]
    head: list[str | Cell] = [name, layer.kind, short(layer.macs), number(layer.ai, ".1f")]
    if not one.known:
        return [*head, UNKNOWN, "", "", "", "", Cell("operator not in the fit", "warn")]
    term = max(one.terms, key=lambda term: one.terms[term])
    return [
        *head,
        short(one.value, unit),
        f"{short(one.low, unit)} to {short(one.high, unit)}",
        part_of(one.value / found.total.value, found.covered),
        "█" * max(1, round(_BAR * one.value / most)),
        f"{term} {percent(one.terms[term] / one.value)}",
        _farthest(one.outside),
    ]


def _farthest(outside: str) -> str:
    """The one count that lies farthest outside, and how many more do.

    >>> _farthest("macs 1.2× below, inputs 5× below"), _farthest("")
    ('inputs 5× below, 1 more', '')
    """
    said = outside.split(", ")
    if len(said) < 2:
        return outside
    farthest = max(said, key=lambda words: float(words.split()[1].rstrip("×")))
    return f"{farthest}, {len(said) - 1} more"


def _scatter(found: Scatter) -> Sentence:
    """Why a total is not as certain as its many layers would make it."""
    layers = f"Measured layers lie {percent(found.layers)} around the fit (standard deviation)"
    if found.network is None:
        why = "its rows are of too few networks to tell what all layers of a network have in common"
        return Sentence(f"{layers}; {why}, so intervals of totals hold only if that is nothing.", "warn")
    common = f"what all layers of a network have in common is {percent(found.network)}"
    return Sentence(f"{layers}; {common}, and stays in its total.")


def _outside(predictions: Sequence[Prediction]) -> Sentence:
    """Share of each cost in layers that lie outside the range that was measured."""
    said = []
    for one in predictions:
        if one.extrapolated:
            whole = "what is predicted" if one.covered.partial else "the cost"
            said.append(f"{percent(one.extrapolated)} of {whole} of {one.network} at batch {one.batch}")
    if not said:
        every = all(layer.known for one in predictions for layer in one.layers)
        what = "Every layer" if every else "Every layer that is predicted"
        return Sentence(f"{what} lies inside the range that was measured.")
    text = f"Outside the range that was measured, so extrapolated: {'; '.join(said)}."
    return Sentence(text, "warn")


def _operators(predictions: Sequence[Prediction], quantity: str) -> Table:
    """One network per inference, by operator and in total; one column for each batch."""
    columns = [Column("operator", text=True, wraps=True)]
    columns += [Column(f"{one.network}, batch {one.batch}", text=True, wraps=True) for one in predictions]
    first = predictions[0]
    partial = any(one.covered.partial for one in predictions)
    rows = [
        [op + (_of_macs(first, op) if partial else ""), *(_of_operator(one, op) for one in predictions)]
        for op in OPERATORS
        if any(op in one.by_operator or op in one.unpredicted_operators for one in predictions)
    ]
    if any(one.not_covered for one in predictions):
        rows.append([f"no layer{_of_macs(first, '')}", *("not covered" for _ in predictions)])
    totals = [cost_text(one.per_inference, one.unit, one.covered) for one in predictions]
    title = f"{quantity} per inference, with 95% intervals"
    best = frozenset() if partial else frozenset({len(rows)})
    return Table(title, columns, [*rows, ["total", *totals]], best_rows=best)


def _of_macs(found: Prediction, op: str) -> str:
    """An operator's share of a model's multiply-adds; under no operator, of what is no layer."""
    whole = found.covered.macs_known
    layers = [one.layer for one in found.layers if one.layer.op == op or not op]
    macs = sum(layer.macs for layer in layers)
    part = macs if op else whole - macs
    if not op and not part:
        return ", MACs not known" if found.covered.macs_unknown else ""
    return f", {share_text(part, whole)} of MACs" if whole else ""


def _of_operator(found: Prediction, op: str) -> str:
    if op in found.by_operator:
        return with_interval(found.by_operator[op].per(found.batch), found.unit)
    return "not in the fit" if op in found.unpredicted_operators else UNKNOWN


def _side_by_side(predictions: Sequence[Prediction]) -> list[Block]:
    """How reuse and cost change from network to network and batch to batch; partial totals rank nothing."""
    columns = (
        Column("network", text=True), Column("batch"), Column("MACs per inference", rank=4),
        Column("M/W", rank=3), Column("M/A", rank=3), Column("AI", rank=2),
        Column("per inference", text=True, wraps=True), Column("relative", rank=1), Column("per MAC", rank=2),
    )  # fmt: skip
    first = predictions[0]
    rows = []
    for one in predictions:
        layers = [cost.layer for cost in one.layers]
        m, w, a = (
            sum(getattr(layer, what) for layer in layers) for what in ("macs", "weights", "activations")
        )
        partial = one.covered.partial
        ranked = not partial and not first.covered.partial
        rows.append(
            [
                one.network,
                str(one.batch),
                short(one.covered.macs_known / one.batch),
                plain(m / w),
                plain(m / a),
                number(m / (w + a), ".1f"),
                cost_text(one.per_inference, one.unit, one.covered),
                times(one.per_inference.value / first.per_inference.value) if ranked else UNKNOWN,
                UNKNOWN if partial else short(one.total.value / m, one.unit),
            ]
        )
    return [Table("Reuse and cost", columns, rows), *_unranked(predictions)]


def _unranked(predictions: Sequence[Prediction]) -> list[Block]:
    """Why some networks are not compared."""
    partial = list(dict.fromkeys(one.network for one in predictions if one.covered.partial))
    if not partial:
        return []
    names = " and ".join(partial)
    text = f"Not compared: {names}. A partial total is less than the cost, by an amount that is not known. "
    return [Sentence(f"{text}M/W, M/A and AI are of layers only.", "warn")]
