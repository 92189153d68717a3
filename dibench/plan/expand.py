"""From a plan file's rules to the kernels' choices: layers × variants × knob values that really fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import attrs

from dibench import architectures, networks
from dibench.counting import row_length
from dibench.errors import UserError
from dibench.layer import Layer
from dibench.plan import shapes
from dibench.plan.file import KernelRule, LayerRule, Pairs, PlanFile

if TYPE_CHECKING:
    from dibench.variants import Variant

MOST_CASES = 1_000_000
"""A plan of more is a mistake: at half a second a case it would take six days."""

Group = tuple[Layer, ...]
"""Layers measured together or not at all: one, or a pair of twins."""

Box = tuple[tuple[str, int | str], ...]
"""A kernel's knobs, resolved to numbers; some are words."""

_Asked = tuple[int | str, ...]  # values of the knobs a rule names, as written
_Resolved = tuple[_Asked, dict[str, Any] | UserError]


@attrs.frozen
class Choice:
    """What is to be measured, before it has a place in the order."""

    layer: Layer
    variant: str
    knobs: Box
    instances: int
    data: str
    sms: str = "all"
    cold: bool = False
    dtype: str = "fp32"


def expand(
    file: PlanFile, kernels: Mapping[str, Variant], dropped: Counter[str], arch: int | None = None
) -> list[tuple[Choice, ...]]:
    """All choices of a plan, in groups; what does not fit is counted in `dropped` by reason.

    Layers of the same shape are the same object, under the first name they came with.

    Raises:
        UserError: a rule names what does not exist, selects nothing, has a knob value that no case can use,
            or there are more than MOST_CASES.
    """
    table: dict[tuple[int, ...], Layer] = {}
    layer_sets = [
        (rule, [_interned(table, group) for group in _layer_groups(rule, dropped)]) for rule in file.layers
    ]
    choices: list[tuple[Choice, ...]] = []
    seen: set[tuple[object, ...]] = set()
    for rule in file.kernels:
        expansion = _Expansion(rule, _select(rule, kernels), dropped, max(file.instances), arch)
        groups = [
            (file.cold if layer_rule.cold is None else layer_rule.cold, group)
            for layer_rule, members in layer_sets
            if rule.on is None or layer_rule.name in rule.on
            for group in members
            if all(layer.op in rule.ops for layer in group)
        ]
        launches = list(product(file.instances, file.data, file.sms))
        per_group = prod(map(len, rule.knobs.values())) * len(launches)
        _bound(
            rule.where,
            len(choices) + sum(len(colds) for colds, _ in groups) * per_group * len(expansion.variants),
        )
        for colds, group in groups:
            for variant, boxes in expansion.fitting(group):
                for launch, cold, dtype in product(launches, colds, expansion.dtypes(variant)):
                    new = tuple(
                        choice
                        for layer, box in zip(group, boxes, strict=True)
                        if _is_new(seen, choice := Choice(layer, variant, box, *launch, cold, dtype))
                    )
                    if new:
                        choices.append(new)
        expansion.finish()
    return choices


def _interned(table: dict[tuple[int, ...], Layer], group: Group) -> Group:
    """The same object for the same shape, under its first name, so that shapes need not be compared again."""
    return tuple(table.setdefault(layer.shape, layer) for layer in group)


def _is_new(seen: set[tuple[object, ...]], choice: Choice) -> bool:
    before = len(seen)
    launch = (choice.instances, choice.data, choice.sms, choice.cold, choice.dtype)
    seen.add((id(choice.layer), choice.variant, choice.knobs, *launch))
    return len(seen) > before


def _bound(where: str, count: int) -> None:
    if count > MOST_CASES:
        raise UserError(where, f"must not make more than {MOST_CASES} combinations", count)


# Layers


def resolve_layer(text: str, where: str) -> Layer:
    """A layer by `network/layer` or by its dimensions."""
    try:
        return Layer.parse(text) if "=" in text else networks.find(text)
    except UserError as error:
        raise UserError(where, str(error)) from None


def _layer_groups(rule: LayerRule, dropped: Counter[str]) -> list[Group]:
    """The layers of one [[layers]] table, filtered, each shape once."""
    groups = {tuple(layer.shape for layer in group): group for group in reversed(_source(rule, dropped))}
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


def _source(rule: LayerRule, dropped: Counter[str]) -> list[Group]:
    where = f"{rule.where}: {rule.source}"
    if rule.source == "networks":
        named = networks.names() if rule.value == ("all",) else rule.value
        return _batched(_of_networks(named, where), rule.batches)
    if rule.source == "layers":
        groups: list[Group] = []
        for text in rule.value:
            layer = resolve_layer(text, where)
            # A written-out shape says its own N.
            groups += [(layer,)] if "=" in text else _batched([layer], rule.batches)
        return groups
    if rule.source == "grid":
        return _grid(rule, where, dropped)
    if rule.source == "iso_macs":
        text, steps = rule.value
        return [(layer,) for layer in shapes.iso_macs(resolve_layer(text, where), min(steps, 31))]
    if isinstance(rule.value, Pairs):
        return _generated(rule.value, rule.source, where)
    return [_pair(resolve_layer(text, where), text, rule.source, where) for text in rule.value]


def _of_networks(names: Sequence[str], where: str) -> list[Layer]:
    try:
        return networks.distinct(layer for name in names for layer in networks.load(name))
    except UserError as error:
        raise UserError(where, error.rule, error.value) from None


def _batched(layers: Iterable[Layer], batches: Sequence[int]) -> list[Group]:
    return [(layer if N == layer.N else layer.with_batch(N),) for layer in layers for N in batches]


def _grid(rule: LayerRule, where: str, dropped: Counter[str]) -> list[Group]:
    _bound(where, prod(map(len, rule.value.values())))
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


def _generated(rule: Pairs, source: str, where: str) -> list[Group]:
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


# Kernels


def _select(rule: KernelRule, kernels: Mapping[str, Variant]) -> list[Variant]:
    for name in rule.variants:
        if name not in kernels:
            raise UserError(f"{rule.where}: variants", "must be one of " + ", ".join(kernels), name)
    selected = [
        variant
        for name, variant in kernels.items()
        if name in rule.variants
        or (rule.fast and variant.fast)
        or (not variant.fast and variant.stationarity in rule.stationarity)
    ]
    if not selected:
        raise UserError(rule.where, "must select at least one kernel variant", "none")
    has = sorted({dtype for variant in selected for dtype in variant.dtypes})
    selected = [variant for variant in selected if set(rule.dtype) & set(variant.dtypes)]
    if not selected:
        raise UserError(f"{rule.where}: dtype", f"must be one of {', '.join(has)}", ", ".join(rule.dtype))
    for knob, values in rule.knobs.items():
        legal = [variant.knobs[knob] for variant in selected if knob in variant.knobs]
        if not legal:
            names = ", ".join(variant.name for variant in selected)
            raise UserError(f"{rule.where}: {knob}", f"must be a knob of {names}", values[0])
    return selected


def room(layer: Layer) -> dict[str, int]:
    """The most that each knob, or symbol for one, can be on a layer.

    A tile of positions may not leave its row; see counting.row_length.
    """
    K, C = layer.K // layer.groups, layer.C // layer.groups
    row, taps = row_length(layer), layer.R * layer.S
    return {
        "tile_p": row, "tile_k": K, "tile_c": C, "taps": taps, "window": 1,
        "row": row, "K": K, "C": C, "S": layer.S, "RS": taps,
    }  # fmt: skip


def default_box(variant: Variant, layer: Layer) -> dict[str, Any]:
    """Knobs that a plan leaves out: all the layer has where any value is legal, else the smallest.

    Where the header says which values suit the layer, those. Of knobs that are no part of the box, the value
    that the header names first.
    """
    most = room(layer)
    usual = {
        knob: most[knob] if legal == "any" else min(legal) if knob in most else _usual(knob, legal)
        for knob, legal in variant.knobs.items()
    }
    return {**usual, **variant.preferred(layer)}


def _usual(knob: str, legal: tuple[Any, ...]) -> Any:
    """What a kernel runs with where nobody asks: one that can stage an operand does, blocks have 8 warps."""
    if knob.startswith("stage_"):
        return max(legal)
    return 8 if knob == "warps" and 8 in legal else legal[0]


class _Expansion:
    """The variants and knob values of one [[kernels]] table, fitted to layer after layer."""

    def __init__(
        self,
        rule: KernelRule,
        variants: list[Variant],
        dropped: Counter[str],
        instances: int,
        arch: int | None,
    ) -> None:
        self.variants = variants
        self._instances, self._arch = instances, arch
        self._rule = rule
        self._dropped = dropped
        self._running: dict[tuple[str, ...], list[Variant]] = {}  # by the operators of a group
        self._used: set[tuple[str, object]] = set()  # knob values, as written, that made a case
        self._obstacle: dict[tuple[str, object], UserError] = {}
        self._boxes: dict[tuple[object, ...], list[_Resolved]] = {}
        self._made_any = False

    def fitting(self, group: Group) -> Iterator[tuple[str, list[Box]]]:
        """Variant and box of each layer of a group, for every combination that fits all of them."""
        ops = tuple(layer.op for layer in group)
        if ops not in self._running:
            self._running[ops] = [variant for variant in self.variants if set(ops) <= set(variant.ops)]
        for variant in self._running[ops]:
            per_layer = [self._resolved(variant, layer) for layer in group]
            for combination in zip(*per_layer, strict=True):
                boxes = self._fit(variant, group, combination)
                if boxes is not None:
                    yield variant.name, boxes

    def dtypes(self, variant: str) -> list[str]:
        """Those asked for that the variant has."""
        (found,) = (selected for selected in self.variants if selected.name == variant)
        return [dtype for dtype in self._rule.dtype if dtype in found.dtypes]

    def finish(self) -> None:
        """Refuse a table that made no case, or a knob value that no case can use."""
        useless = [
            (knob, value, self._obstacle[knob, value])
            for knob, values in self._rule.knobs.items()
            for value in values
            if (knob, value) not in self._used and (knob, value) in self._obstacle
        ]
        # Where none made a case, the knob that the limit is about comes before those that met it.
        for knob, value, limit in sorted(useless, key=lambda one: one[0] != one[2].field):
            rule = f"no case can use this value: {limit.field} {limit.rule}"
            raise UserError(f"{self._rule.where}: {knob}", rule, value)
        if not self._made_any:
            names = ", ".join(variant.name for variant in self.variants)
            raise UserError(self._rule.where, f"must have a layer that can run {names}", "none")

    def _fit(
        self,
        variant: Variant,
        group: Group,
        combination: tuple[_Resolved, ...],
    ) -> list[Box] | None:
        written = combination[0][0]
        try:
            boxes = []
            for layer, (_, box) in zip(group, combination, strict=True):
                if isinstance(box, UserError):
                    raise box
                variant.check(layer, box)
                architectures.check(variant, layer, box, self._instances, self._arch)
                boxes.append(tuple(box.items()))
            if any(box != boxes[0] for box in boxes):
                raise UserError("knobs", "must be the same for both halves of a pair")
        except UserError as error:
            # The rule without its values: one reason for all layers that break it.
            self._dropped[f"{variant.name}: {error.field}: {error.rule.partition(' with ')[0]}"] += 1
            for asked in zip(self._asked(variant), written, strict=True):
                self._obstacle.setdefault(asked, error)
            return None
        self._used.update(zip(self._asked(variant), written, strict=True))
        self._made_any = True
        return boxes

    def _asked(self, variant: Variant) -> list[str]:
        return [knob for knob in self._rule.knobs if knob in variant.knobs]

    def _resolved(self, variant: Variant, layer: Layer) -> list[_Resolved]:
        """Values as written, and the box they make on this layer, for every combination of values."""
        most = room(layer)
        key = (variant.name, *most.values())
        if key not in self._boxes:
            asked = self._asked(variant)
            left_out = default_box(variant, layer)
            self._boxes[key] = [
                (values, _box(variant, left_out, dict(zip(asked, values, strict=True)), most))
                for values in product(*(self._rule.knobs[knob] for knob in asked))
            ]
        return self._boxes[key]


def _box(
    variant: Variant, left_out: Mapping[str, Any], asked: Mapping[str, int | str], most: Mapping[str, int]
) -> dict[str, Any] | UserError:
    """Knobs as numbers; what is more than the layer has becomes the most that is legal on it."""
    box = dict(left_out)
    for knob, written in asked.items():
        if knob not in most:
            if written not in variant.knobs[knob]:
                return UserError(knob, "must be one of " + ", ".join(map(str, variant.knobs[knob])), written)
            box[knob] = written
            continue
        value = most[written] if isinstance(written, str) else written
        legal = variant.knobs[knob]
        if legal != "any" and not isinstance(written, str) and value not in legal:
            return UserError(knob, "must be one of " + ", ".join(map(str, legal)), value)
        # A fast kernel's tile is its own affair: it may be larger than a row.
        if value > most[knob] and not variant.fast:
            fitting = [most[knob]] if legal == "any" else [v for v in legal if v <= most[knob]]
            if not fitting:
                return UserError(knob, f"must be at most {most[knob]}", value)
            value = max(fitting)
        box[knob] = value
    return box
