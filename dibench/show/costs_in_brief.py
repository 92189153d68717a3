"""What `predict` and `explain` answer first: three sentences and a table; the rest is behind `--full`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from dibench.numbers import UNKNOWN, count, percent, short, times, with_interval
from dibench.show import noise
from dibench.show.blocks import Block, Column, Headline, Sentence, Table, columns
from dibench.show.explained import strongest
from dibench.show.partial import at_least, cost_text, part_of, transposed_text
from dibench.show.svg import slug
from dibench.study.findings.explanation import over_layers

if TYPE_CHECKING:
    from dibench.study.findings.explanation import Explanation
    from dibench.study.findings.fitted_model import Origin
    from dibench.study.findings.prediction import LayerCost, Prediction, Predictions

_LAYERS = 8
_CHANGES = 8
_MOST_EXTRAPOLATED = 0.25
"""Of a cost: from this share on, the next step is to measure the network's own layers."""


@attrs.frozen
class Typed:
    """How one types what may come next: on the command line."""

    model: str = ""
    """The first network as it was named."""
    fit: str = ""
    """The file of the fit."""
    compare: str = ""
    """The second network as it was named."""
    shapes: str = ""
    """The `--input-shape` options that were given, each with a space before it."""
    full: str = "--full"
    every: str = "--all"

    def explain(self) -> str:
        """What explains the first network."""
        return f"python -m dibench explain {self.model}{self.shapes} --fit {self.fit}"

    def sweep(self, one: Prediction, *, first: bool) -> str:
        """What measures a network's own layers."""
        batch = "" if one.batch == 1 else f" --batch {one.batch}"
        named = self.model if first else self.compare
        return f"python -m dibench sweep {named}{self.shapes}{batch} --out results/local/{slug(one.network)}"


class TypedInPython(Typed):
    """The same in Python, where `model` and `fit` are what the caller has at hand."""

    def explain(self) -> str:
        """What explains the first network."""
        return "dibench.explain(model, fit=fit)"

    def sweep(self, one: Prediction, *, first: bool) -> str:
        """What measures a network's own layers."""
        batch = "" if one.batch == 1 else f", batch={one.batch}"
        return f'dibench.sweep(model{batch}, out="results/local/{slug(one.network)}")'


IN_PYTHON = TypedInPython(full=".full()", every=".to_json()")


def predicted(found: Predictions, typed: Typed) -> list[Block]:
    """What networks cost, how sure that is, what to do next; then the costliest layers, or all networks."""
    first, several = found.predictions[0], len(found.predictions) > 1
    table = _networks(found.predictions, typed) if several else _costliest(first, typed)
    return [
        Headline(_cost(first, found.origin), "" if found.origin.measured else "warn"),
        Sentence(_how_sure(found), "warn" if _noisy(found.origin) else ""),
        Sentence(_after_predict(found.predictions, typed)),
        table,
    ]


def explained(found: Explanation, typed: Typed) -> list[Block]:
    """What a network costs, what that is made of and what would save most; then the changes."""
    one = found.prediction
    return [
        Headline(_cost(one, found.origin), "" if found.origin.measured else "warn"),
        Sentence(_noisy(found.origin) + _made_of(found), "warn" if _noisy(found.origin) else ""),
        Sentence(_after_explain(found)),
        _changes(found, typed),
    ]


def _cost(one: Prediction, origin: Origin) -> str:
    check = "" if origin.measured or origin.is_time else "A check of the program, no prediction: "
    takes = "takes" if origin.is_time else "costs"
    cost = cost_text(one.per_inference, one.unit, one.covered)
    return f"{check}An inference of {one.network} at batch {one.batch} {takes} {cost} on {origin.device}."


def _how_sure(found: Predictions) -> str:
    """What the brackets mean, how far layers lie off, and how much is extrapolated."""
    said = f"{_noisy(found.origin)}How sure: the brackets hold 95 of 100 measurements"
    if found.scatter.network is None:
        said += " if networks have nothing in common, which this fit cannot tell"
    said += f"; single layers lie {percent(found.scatter.layers)} off the fit"
    share = max(one.extrapolated for one in found.predictions)
    if share:
        said += f", and up to {percent(share)} of the cost is outside what was measured"
    modelled = [text for text in map(transposed_text, found.predictions) if text]
    return " ".join([f"{said}.", *modelled])


def _noisy(origin: Origin) -> str:
    """Where most rows of the fit were disturbed, that and what to do."""
    if origin.disturbed <= noise.MOST:
        return ""
    share = percent(origin.disturbed)
    return f"Noisy: other work disturbed {share} of the fit's rows, so {noise.REMEDY}. "


def _after_predict(found: Sequence[Prediction], typed: Typed) -> str:
    first, worst = found[0], max(found, key=lambda one: one.extrapolated)
    if first.unpredicted_operators:
        lacks = ", ".join(first.unpredicted_operators)
        sweep = typed.sweep(first, first=True)
        return f"Next: the fit has no {lacks} layer, so measure the network's own, `{sweep}`, and fit them."
    if worst.extrapolated > _MOST_EXTRAPOLATED:
        sweep = typed.sweep(worst, first=worst.network == first.network)
        return f"Next: measure the layers of {worst.network}, `{sweep}`, and fit them."
    if first.covered.partial:
        left = ", ".join(dict.fromkeys(f"{part.op} ({part.reason})" for part in first.not_covered))
        return f"Next: read the total as the least that it costs; left out is {left or 'a part not known'}."
    return f"Next: `{typed.explain()}` says what would save most."


def _by_cost(layers: Sequence[LayerCost]) -> list[LayerCost]:
    return sorted((one for one in layers if one.known), key=lambda one: -one.value)


def _costliest(found: Prediction, typed: Typed) -> Table:
    """The costliest layers first, then all others and the total."""
    known = _by_cost(found.layers)
    rows = [
        [
            one.layer.name.partition("/")[2] or str(one.layer),
            one.layer.kind,
            short(one.value, found.unit),
            part_of(one.value / found.total.value, found.covered),
            max(one.terms, key=lambda term: one.terms[term]),
        ]
        for one in known[:_LAYERS]
    ]
    if rest := known[_LAYERS:]:
        amount = sum(one.value for one in rest)
        share = part_of(amount / found.total.value, found.covered)
        rows.append([f"{count(len(rest))} others", "", short(amount, found.unit), share, ""])
    rows.append(["all", "", at_least(short(found.total.value, found.unit), found.covered), "", ""])
    batch = "" if found.batch == 1 else f", a batch of {found.batch}"
    return Table(
        f"The costliest layers of {found.network}{batch}",
        columns(
            "layer", "op", "cost", "share", "mostly for", text=("op", "mostly for"), wraps=("layer",),
            ranks={"op": 2, "mostly for": 1},
        ),
        rows,
        f"`{typed.full}` shows intervals, operators and what is outside the range; "
        f"`{typed.every}` every layer.",
        best_rows=frozenset({len(rows) - 1}),
    )  # fmt: skip


def _networks(found: Sequence[Prediction], typed: Typed) -> Table:
    """Every network at every batch; only totals of whole networks are compared."""
    whole = [one for one in found if not one.covered.partial]
    first = whole[0].per_inference.value if len(whole) == len(found) else 0.0
    rows = []
    for one in found:
        relative = times(one.per_inference.value / first) if first else UNKNOWN
        macs = sum(layer.layer.macs for layer in one.layers if layer.known)
        per_mac = UNKNOWN if one.covered.partial else short(one.total.value / macs, one.unit)
        cost = cost_text(one.per_inference, one.unit, one.covered)
        rows.append([one.network, count(one.batch), cost, relative, per_mac])
    head = columns(
        "network", "batch", "an inference", "relative", "a MAC", text=("an inference",), ranks={"a MAC": 1}
    )
    note = "" if first else "A sum over part of a network is compared with nothing. "
    return Table(
        "Networks and batches", head, rows, f"{note}`{typed.full}` shows layers and operators of each."
    )


def _made_of(found: Explanation) -> str:
    """The largest parts of the cost, and the costliest layer."""
    sums = over_layers(found.terms)
    whole = sum(sums.values()) or 1.0
    largest = sorted(sums, key=lambda term: -sums[term])[:3]
    parts = ", ".join(f"{percent(sums[term] / whole)} {term}" for term in largest)
    one, one_total = _by_cost(found.prediction.layers)[0], found.prediction.total.value
    name = one.layer.name.partition("/")[2] or str(one.layer)
    share = part_of(one.value / one_total, found.prediction.covered)
    return f"It goes to {parts}; the costliest layer is {name} ({one.layer.op}) with {share}."


def _after_explain(found: Explanation) -> str:
    sure = [one for one in found.savings if one.certain]
    if not sure:
        return "Next: no change that is known here surely saves something; other batches or devices may."
    best = sure[0]
    saved = with_interval(best.saved, found.prediction.unit)
    share = "" if best.share is None else f" ({percent(best.share)})"
    where = best.where if best.where.startswith("wherever") else f"at {best.where}"
    return (
        f"Next: try {best.knob} {best.setting} {where}, which would save {saved}{share}; what that does to "
        "accuracy is not known here."
    )


def _changes(found: Explanation, typed: Typed) -> Table:
    """Of each kind of change at each place the one that saves most, most first."""
    rows = []
    for one in strongest(found.savings)[:_CHANGES]:
        share = UNKNOWN if one.share is None else percent(one.share)
        doubt = " and ".join(["may save nothing"] * (not one.certain) + ["extrapolated"] * one.outside)
        saved = with_interval(one.saved, found.prediction.unit)
        rows.append([f"{one.knob} → {one.setting}", one.where, saved, share, doubt])
    head = (
        Column("change", text=True),
        Column("where", text=True, wraps=True),
        Column("saves an inference", text=True),
        Column("of the cost", rank=1),
        Column("but", text=True, wraps=True),
    )
    note = (
        f"In brackets 95% intervals. `{typed.full}` shows what each layer's cost is made of, `{typed.every}` "
        "every change."
    )
    return Table("Changes that would save most", head, rows, note)
