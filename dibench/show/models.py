"""Models as they are: their layers and networks with counts, reuse and intensity, and what they leave out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from dibench import networks
from dibench.layer import Layer
from dibench.models import Model, NotCovered
from dibench.models.intensities import AlphaValues, Drag, reuse_of
from dibench.numbers import UNKNOWN, count, number, percent, percent_apart, plain, shape_text, short
from dibench.show.blocks import Block, Note, Sentence, Table, columns
from dibench.show.partial import not_covered

_COUNTS = ("MACs", "weights", "inputs", "outputs")
_REUSE = ("M/W", "M/X", "M/Y")
_DI = ("DI weighted", "DI disjoint")
_RANKS = {"outputs": 6, "inputs": 5, "M/Y": 4, "M/X": 3, "M/W": 3, "weights": 2, "op": 1}
_LONG = 36
"""Characters of a name that may go on in a second line."""
_FEW_LAYERS = 16
"""So many are shown whole where the answer has to fit on a screen."""
_MOST_MACS = 10
_DRAGS_SHOWN, _DRAGS_IN_BRIEF = 10, 5
_PRODUCTS_SHOWN = 10


def layer_blocks(
    model: Model, alphas: AlphaValues | None, drags: Sequence[Drag], origin: str = "", *, brief: bool = False
) -> list[Block]:
    """One model: its layers, their sum, which of them drag it down, and what is no layer.

    Args:
        model: as loaded.
        alphas: for DI; None leaves it out.
        drags: the layers through which the model loses intensity, worst first.
        origin: where α comes from, where a fit found it.
        brief: of many layers those that matter most, on one screen.
    """
    shapes = ", ".join(f"{name} {list(shape)}".strip() for name, shape in model.input_shapes.items())
    about = f"{model.name}, batch {model.batch}" + (f", {shapes}" if shapes else "")
    what = "The table"
    if not model.layers:
        found: list[Block] = [Sentence(f"{about}: no layer that dibench knows.")]
    elif brief and len(model.layers) > _FEW_LAYERS:
        found = [Sentence(_sum(model, alphas, origin, about))]
        found += _drags(drags, alphas, _DRAGS_IN_BRIEF, partial=model.covered.partial)
        found.append(_heaviest(model, alphas))
        what = "What `--full` lists"
    else:
        found = [_layers(model.layers, alphas, about), Sentence(_sum(model, alphas, origin))]
        found += _drags(drags, alphas, _DRAGS_SHOWN, partial=model.covered.partial)
    found += not_covered(model.not_covered)
    found += _products(model)
    found += [Sentence(model.note)] if model.note else []
    return [*found, Sentence(f"{what} {model.coverage}.")]


def in_a_line(model: Model) -> str:
    """`resnet50, batch 8: 54 layers, 32.7G MACs, 25.5M weights, AI 82.5`."""
    about = f"{model.name}, batch {model.batch}: {count(len(model.layers), 'layer')}"
    if not model.layers:
        return about
    reuse = reuse_of(model.layers)
    more = f"; {count(len(model.not_covered), 'operation')} not covered" if model.not_covered else ""
    costs = f"{short(reuse.macs)} MACs, {short(reuse.weights)} weights, AI {number(reuse.ai, '.1f')}"
    return f"{about}, {costs}{more}"


def network_blocks(found: Sequence[Model], alphas: AlphaValues | None, what: str) -> list[Block]:
    """Models side by side, a line each.

    Args:
        found: the models.
        alphas: for DI; None leaves it out.
        what: how the table calls them, such as `25 networks`.
    """
    blocks: list[Block] = [_networks(found, alphas, what)]
    if alphas is not None:
        blocks.append(
            Sentence(
                f"DI at α = {plain(alphas.weighted)} (weighted) and {plain(alphas.disjoint)} (disjoint)."
            )
        )
    partial = [one for one in found if one.covered.partial]
    blocks += [Sentence(f"{one.name}: the table {one.coverage}.") for one in partial]
    if partial:
        blocks.append(Note("≥: a sum over part of the network; its reuse and AI are those of this part."))
    blocks.append(
        Note(
            "AI is M / (W + X + Y) in MAC per element, every layer's own tensors counted. "
            "Layers of one: `python -m dibench layers resnet50`"
        )
    )
    return blocks


def family(model: Model) -> str:
    """The architecture family of one of the 25 networks; else nothing."""
    return networks.family(model.name) if model.name in networks.names() else ""


def _heaviest(model: Model, alphas: AlphaValues | None) -> Table:
    """Layers that compute most, first."""
    ranked = sorted(model.layers, key=lambda layer: -layer.macs)[:_MOST_MACS]
    some = f"The {len(ranked)} of {len(model.layers)} layers with most MACs; `--full` lists every one"
    return _layers(ranked, alphas, some)


def _layers(layers: Sequence[Layer], alphas: AlphaValues | None, caption: str) -> Table:
    names = ("layer", "op", "shape", *_COUNTS, *_REUSE, "AI", *(_DI if alphas else ()))
    rows = []
    for layer in layers:
        reuse = reuse_of([layer])
        counts = (reuse.macs, reuse.weights, reuse.inputs, reuse.outputs)
        intensities = [reuse.ai, *(reuse.di(alphas) if alphas else ())]
        rows.append([
            layer.name.partition("/")[2], layer.op, shape_text(layer), *map(short, counts),
            *map(short, reuse.by_data_type), *(number(value, ".1f") for value in intensities),
        ])  # fmt: skip
    wraps = ("layer",) if max(len(row[0]) for row in rows) > _LONG else ()
    return Table(caption, columns(*names, text=("op", "shape"), wraps=wraps, ranks=_RANKS), rows)


def _sum(model: Model, alphas: AlphaValues | None, origin: str, whose: str = "") -> str:
    reuse = reuse_of(model.layers)
    per_w, per_x, per_y = map(short, reuse.by_data_type)
    least = "≥ " if model.covered.partial else ""
    of_it = f" ({model.covered.text})" if model.covered.partial else ""
    text = (
        f"**{whose or ('Its layers' if of_it else 'Network')}**: {least}{short(reuse.macs)} MACs{of_it}, "
        f"{least}{short(reuse.weights)} weights, {least}{short(reuse.inputs)} inputs, "
        f"{least}{short(reuse.outputs)} outputs; reuse M/W {per_w}, M/X {per_x}, "
        f"M/Y {per_y}; AI {number(reuse.ai, '.1f')}"
    )
    if alphas is not None:
        weighted, disjoint = reuse.di(alphas)
        text += (
            f"; DI weighted {number(weighted, '.1f')} at α = {plain(alphas.weighted)}, "
            f"disjoint {number(disjoint, '.1f')} at α = {plain(alphas.disjoint)}"
            + (f" ({origin})" if origin else "")
        )
    if model.parameters is not None:
        text += f". The model has {short(model.parameters)} parameters"
    return f"{text}."


def _drags(drags: Sequence[Drag], alphas: AlphaValues | None, most: int, *, partial: bool) -> Iterator[Block]:
    if not drags:
        return
    what = f"weighted DI (α = {plain(alphas.weighted)})" if alphas else "AI"
    whose = "its layers'" if partial else "the network's"
    more = f", the worst {most} of {len(drags)}" if len(drags) > most else ""
    rows = [
        [
            drag.layer.name.partition("/")[2],
            drag.layer.kind,
            percent(drag.macs_share, 1),
            percent(drag.elements_share, 1),
            percent_apart(drag.lost),
        ]
        for drag in drags[:most]
    ]
    yield Sentence(
        f"**What drags it down**{more}: by how much {whose} {what} would rise if the layer moved as "
        f"few elements per MAC as {'they do' if partial else 'the network does'}"
    )
    names = ("layer", "op", "of MACs", "of elements", "would rise")
    yield Table("", columns(*names, text=("op",), wraps=("layer",)), rows)


def _products(model: Model) -> Iterator[Block]:
    """Products of two activations by their counts, those that have most multiply-adds in all first."""
    kinds: dict[NotCovered, list[str]] = {}
    for part in model.not_covered:
        if part.reuse is not None:
            kinds.setdefault(attrs.evolve(part, name=""), []).append(part.name.partition("/")[2])
    if not kinds:
        return
    ranked = sorted(kinds.items(), key=lambda each: -(each[0].macs or 0) * len(each[1]))
    rows = [
        [
            named[0] + (" …" if len(named) > 1 else ""), part.op, str(len(named)),
            *map(short, (part.macs, *(part.operands or ()), part.outputs)),
            *map(short, part.reuse or ()), number(part.ai, ".1f"),
        ]
        for part, named in ranked[:_PRODUCTS_SHOWN]
    ]  # fmt: skip
    names = ("product", "op", "×", "MACs", "first", "second", "outputs", "M/1st", "M/2nd", "M/Y", "AI")
    more = f", {len(rows)} of {len(ranked)} kinds" if len(ranked) > len(rows) else ""
    note = "×: how many have these counts; MACs and elements are of one of them."
    if any(part.reason.startswith("attention") for part in kinds):
        note += " Attention as one operator: first is Q, second K and V; scores are not counted."
    ranks = {"op": 5, "M/Y": 4, "M/2nd": 3, "M/1st": 3}
    yield Table(
        f"products of two activations{more}",
        columns(*names, text=("op",), wraps=("product",), ranks=ranks), rows, note,
    )  # fmt: skip


def _networks(found: Sequence[Model], alphas: AlphaValues | None, what: str) -> Table:
    di = _DI if alphas else ()
    batches = sorted({model.batch for model in found})
    several = ("batch",) if len(batches) > 1 else ()
    rows = []
    for model in found:
        total = reuse_of(model.layers)
        least = "≥ " if model.covered.partial else ""
        counts = [least + short(one) for one in (total.macs, total.weights, total.inputs, total.outputs)]
        reuse = [UNKNOWN] * (4 + len(di))
        if model.layers:
            intensities = [total.ai, *(total.di(alphas) if alphas else ())]
            reuse = [*map(short, total.by_data_type), *(number(value, ".1f") for value in intensities)]
        shapes = str(len(networks.distinct(model.layers)))
        own = [str(model.batch)] if several else []
        rows.append([model.name, *own, str(len(model.layers)), *counts, *reuse, shapes, family(model)])
    names = ("network", *several, "layers", *_COUNTS, *_REUSE, "AI", *di, "shapes", "family")
    ranks = _RANKS | {"shapes": 6, "family": 6}
    return Table(
        f"{what}, batch {', '.join(map(str, batches))}", columns(*names, text=("family",), ranks=ranks), rows
    )
