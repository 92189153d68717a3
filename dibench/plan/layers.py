"""Finds or makes the layers of a plan file's [[layers]] tables."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from math import prod

from dibench import models, networks
from dibench.errors import UserError
from dibench.layer import Layer
from dibench.models.inputs import parse_inputs
from dibench.models.named import beside
from dibench.plan import shapes
from dibench.plan.file import LayerRule, PairRule

MOST_CASES = 1_000_000
"""A plan of more cases is a mistake: at half a second each it would take six days."""

Group = tuple[Layer, ...]
"""Layers measured together or not at all: one, or a pair of twins."""


def bound(where: str, count: int) -> None:
    """Refuse more than MOST_CASES combinations before they are made."""
    if count > MOST_CASES:
        raise UserError(where, f"must not make more than {MOST_CASES} combinations", count)


def resolve_layer(text: str, where: str) -> Layer:
    """A layer by `network/layer` or by its dimensions."""
    try:
        return Layer.parse(text) if "=" in text else networks.find(text)
    except UserError as error:
        raise UserError(where, str(error)) from None


def _of_a_network(text: str, batch: int | None, rule: LayerRule, where: str) -> Layer:
    """A layer of any network, such as `my.onnx/conv1`."""
    with _told(where):
        sizes = parse_inputs(list(rule.input_shape))
        return models.find(beside(text, rule.folder), batch=batch, shapes=sizes)


def layer_groups(rule: LayerRule, dropped: Counter[str], partial: list[str], before: int = 0) -> list[Group]:
    """The layers of one [[layers]] table, filtered, each shape once.

    What makes no layer is counted in `dropped`, and networks that layers do not cover are told in `partial`.

    Args:
        rule: the table.
        dropped: what makes no layer, by reason.
        partial: networks that layers do not cover.
        before: groups that the tables above have made; together there are no more than MOST_CASES.
    """
    source = _source(rule, dropped, partial, before)
    groups = {tuple(layer.shape for layer in group): group for group in reversed(source)}
    kept = [
        group
        for group in reversed(groups.values())
        if all(rule.min_macs <= layer.macs <= rule.max_macs and layer.op in rule.ops for layer in group)
    ]
    if rule.per_op is not None:
        kept = [(layer,) for layer in shapes.spread([group[0] for group in kept], rule.per_op)]
    if not kept:
        raise UserError(rule.where, "must select at least one layer", "none")
    return kept


def _source(rule: LayerRule, dropped: Counter[str], partial: list[str], before: int) -> list[Group]:
    where = f"{rule.where}: {rule.source}" if rule.where else ""
    if rule.source == "networks":
        return _of_networks(rule, where, partial, before)
    if rule.source == "layers":
        bound(where, before + len(rule.value) * len(rule.batches))
        groups: list[Group] = []
        for text in rule.value:
            if isinstance(text, Layer):
                groups.append((text,))
            elif "=" in text:  # a written-out shape says its own N
                groups.append((resolve_layer(text, where),))
            else:
                groups += [(_of_a_network(text, batch, rule, where),) for batch in rule.batches]
        return groups
    if rule.source == "grid":
        return _grid(rule, where, dropped, before)
    if rule.source == "iso_macs":
        text, steps = rule.value
        return [(layer,) for layer in shapes.iso_macs(resolve_layer(text, where), min(steps, 31))]
    if isinstance(rule.value, PairRule):
        return _generated(rule.value, rule.source, where)
    return [_pair(resolve_layer(text, where), text, rule.source, where) for text in rule.value]


def _of_networks(rule: LayerRule, where: str, partial: list[str], before: int) -> list[Group]:
    """The distinct layers of all networks, each at every batch."""
    named = [name for text in rule.value for name in (networks.names() if text == "all" else (text,))]
    with _told(where):
        sizes = parse_inputs(list(rule.input_shape))
        sources = [beside(name, rule.folder) for name in named]
        first = [models.load(source, batch=rule.batches[0], shapes=sizes) for source in sources]
    bound(where, before + sum(len(model.layers) for model in first) * len(rule.batches))
    with _told(where):
        of_batches = [
            first,
            *([models.load(source, batch=N, shapes=sizes) for source in sources] for N in rule.batches[1:]),
        ]
    partial += [f"{model.name}: the plan {model.coverage}" for model in of_batches[0] if model.not_covered]
    if not any(model.layers for model in of_batches[0]):
        raise UserError(where, "must have a layer that dibench knows", ", ".join(sources))
    # Layer by layer: they are as many at every batch, but where two shapes differ at one batch only.
    turns = zip_longest(
        *(networks.distinct(each for model in found for each in model.layers) for found in of_batches)
    )
    return [(layer,) for turn in turns for layer in turn if layer is not None]


@contextlib.contextmanager
def _told(where: str) -> Iterator[None]:
    """Within it, what is wrong with a network is told of this key of the plan, where there is one."""
    try:
        yield
    except UserError as error:
        if not where:
            raise
        if error.field == "network" and not error.where:  # such as a name that is misspelt
            raise UserError(where, error.rule, error.value) from None
        raise UserError(where, str(error)) from None


def _grid(rule: LayerRule, where: str, dropped: Counter[str], before: int) -> list[Group]:
    bound(where, before + prod(map(len, rule.value.values())))
    groups: list[Group] = []
    first: UserError | None = None
    for layer in shapes.grid(rule.value):
        if isinstance(layer, UserError):
            first = first or layer
            dropped[f"{where}: {layer.field}: makes no layer"] += 1
        else:
            groups.append((layer,))
    if first is not None and not groups:
        raise UserError(where, f"must make at least one layer: {first}")
    return groups


def _generated(rule: PairRule, source: str, where: str) -> list[Group]:
    """Pairs of each operator: layers and their twins, or the same layers made oblong and transposed."""
    groups: list[Group] = []
    for op in shapes.TWIN_OPERATORS:
        halves = shapes.twin_halves(
            op,
            per_op=rule.per_op,
            multiple=rule.multiple,
            tile=rule.tile,
            macs=(rule.min_macs, rule.max_macs),
        )
        for half in halves:
            layer = half if source == "twins" else shapes.oblong(half)
            if layer is not None:  # a fully-connected layer has no image
                groups.append(_pair(layer, str(half), source, where))
    if not groups:
        raise UserError(
            where, "must make at least one pair: other multiples, or more between the MACs", "none"
        )
    return groups


def _pair(layer: Layer, text: str, source: str, where: str) -> Group:
    other = shapes.twin(layer) if source == "twins" else shapes.transposed(layer)
    if other is None:
        rule = (
            "must have an exact twin: stride 1, same padding, N*P*Q divisible by R*S, R*S*K/groups by P*Q"
            if source == "twins"
            else "must be a layer that is not square"
        )
        raise UserError(where, rule, text)
    return (layer, other)
