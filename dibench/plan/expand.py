"""Expands a plan file's rules: every combination of layer, variant and knob values that fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import attrs

from dibench.errors import UserError
from dibench.kernels import architectures
from dibench.layer import Layer
from dibench.plan.boxes import default_box, resolved, room
from dibench.plan.file import KernelRule, LayerRule, PlanFile
from dibench.plan.layers import Group, bound, layer_groups

if TYPE_CHECKING:
    from dibench.kernels import Variant

Box = tuple[tuple[str, int | str], ...]
"""A kernel's knobs, resolved to numbers; some are words."""

_Asked = tuple[int | str, ...]  # values of the knobs a rule names, as written
_Resolved = tuple[_Asked, dict[str, Any] | UserError]


@attrs.frozen
class KernelChoice:
    """What is to be measured; its place in the order comes later."""

    layer: Layer
    variant: str
    knobs: Box
    instances: int
    data: str
    sms: str = "all"
    cold: bool = False
    dtype: str = "fp32"


def expand(
    file: PlanFile,
    kernels: Mapping[str, Variant],
    dropped: Counter[str],
    partial: list[str],
    arch: int | None = None,
) -> list[tuple[KernelChoice, ...]]:
    """All choices of a plan, in groups; combinations that do not fit are counted in `dropped`, by reason.

    Networks that layers do not cover are told in `partial`. Layers of the same shape are the same object,
    under the first name they came with.

    Raises:
        UserError: a rule names what does not exist, selects nothing, has a knob value that no case can use,
            or there are more than MOST_CASES.
    """
    table: dict[tuple[int, ...], Layer] = {}
    layer_sets: list[tuple[LayerRule, list[Group]]] = []
    for layer_rule in file.layers:
        before = sum(len(members) for _, members in layer_sets)
        made = layer_groups(layer_rule, dropped, partial, before)
        layer_sets.append((layer_rule, [_interned(table, group) for group in made]))
    choices: list[tuple[KernelChoice, ...]] = []
    seen: set[tuple[object, ...]] = set()
    for rule in file.kernels:
        expansion = _Expansion(rule, _select(rule, kernels), dropped, arch)
        groups = [
            (file.cold if layer_rule.cold is None else layer_rule.cold, group)
            for layer_rule, members in layer_sets
            if rule.on is None or layer_rule.name in rule.on
            for group in members
            if all(layer.op in rule.ops for layer in group)
        ]
        launches = list(product(file.data, file.sms))
        per_group = (
            prod(map(len, rule.knobs.values())) * len(file.instances) * len(launches) * len(rule.dtype)
        )
        bound(
            rule.where,
            len(choices) + sum(len(colds) for colds, _ in groups) * per_group * len(expansion.variants),
        )
        for colds, group in groups:
            for variant, instances, boxes in expansion.fitting(group, file.instances):
                dtypes = [dtype for dtype in rule.dtype if dtype in variant.dtypes]
                for launch, cold, dtype in product(launches, colds, dtypes):
                    further = (instances, *launch, cold, dtype)
                    new = tuple(
                        choice
                        for layer, box in zip(group, boxes, strict=True)
                        if _is_new(seen, choice := KernelChoice(layer, variant.name, box, *further))
                    )
                    if new:
                        choices.append(new)
        expansion.finish()
    return choices


def _interned(table: dict[tuple[int, ...], Layer], group: Group) -> Group:
    """One object for each shape, under its first name: comparing objects is faster than comparing shapes."""
    return tuple(table.setdefault(layer.shape, layer) for layer in group)


def _is_new(seen: set[tuple[object, ...]], choice: KernelChoice) -> bool:
    before = len(seen)
    launch = (choice.instances, choice.data, choice.sms, choice.cold, choice.dtype)
    seen.add((id(choice.layer), choice.variant, choice.knobs, *launch))
    return len(seen) > before


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


class _Expansion:
    """The variants and knob values of one [[kernels]] table, tried on one layer after the other."""

    def __init__(
        self,
        rule: KernelRule,
        variants: list[Variant],
        dropped: Counter[str],
        arch: int | None,
    ) -> None:
        self.variants = variants
        self._arch = arch
        self._rule = rule
        self._dropped = dropped
        self._running: dict[tuple[str, ...], list[Variant]] = {}  # by the operators of a group
        self._used: set[tuple[str, object]] = set()  # knob values as written that made a case
        self._obstacle: dict[tuple[str, object], UserError] = {}
        self._boxes: dict[tuple[object, ...], list[_Resolved]] = {}
        self._made_any = False

    def fitting(self, group: Group, instances: Sequence[int]) -> Iterator[tuple[Variant, int, list[Box]]]:
        """Variant, instances, and each layer's box, for every combination that fits all layers of a group."""
        ops = tuple(layer.op for layer in group)
        if ops not in self._running:
            self._running[ops] = [variant for variant in self.variants if set(ops) <= set(variant.ops)]
        for variant, number in product(self._running[ops], instances):
            per_layer = [self._resolved(variant, layer, number) for layer in group]
            for combination in zip(*per_layer, strict=True):
                boxes = self._fit(variant, group, number, combination)
                if boxes is not None:
                    yield variant, number, boxes

    def finish(self) -> None:
        """Refuse a table that made no case, or a knob value that no case can use."""
        useless = [
            (knob, value, self._obstacle[knob, value])
            for knob, values in self._rule.knobs.items()
            for value in values
            if (knob, value) not in self._used and (knob, value) in self._obstacle
        ]
        # Name first the knob that the limit is about, then those that only met it.
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
        instances: int,
        combination: tuple[_Resolved, ...],
    ) -> list[Box] | None:
        written = combination[0][0]
        try:
            boxes = []
            for layer, (_, box) in zip(group, combination, strict=True):
                if isinstance(box, UserError):
                    raise box
                variant.check(layer, box)
                architectures.check(variant, layer, box, instances, self._arch)
                boxes.append(tuple(box.items()))
            if any(box != boxes[0] for box in boxes):
                raise UserError("knobs", "must be the same for both halves of a pair")
        except UserError as error:
            # Without its values the rule is one reason for all layers that break it.
            self._dropped[f"{variant.name}: {error.field}: {error.rule.partition(' with ')[0]}"] += 1
            for asked in zip(self._asked(variant), written, strict=True):
                self._obstacle.setdefault(asked, error)
            return None
        self._used.update(zip(self._asked(variant), written, strict=True))
        self._made_any = True
        return boxes

    def _asked(self, variant: Variant) -> list[str]:
        return [knob for knob in self._rule.knobs if knob in variant.knobs]

    def _resolved(self, variant: Variant, layer: Layer, instances: int) -> list[_Resolved]:
        """Values as written, and the box they make on this layer, for every combination of values."""
        most = room(layer)
        # What a header prefers may follow from all of the layer.
        key = (variant.name, *((layer.shape, instances) if variant.prefer else most.values()))
        if key not in self._boxes:
            asked = self._asked(variant)
            left_out = default_box(variant, layer, instances=instances)
            self._boxes[key] = [
                (values, resolved(variant, left_out, dict(zip(asked, values, strict=True)), most))
                for values in product(*(self._rule.knobs[knob] for knob in asked))
            ]
        return self._boxes[key]
