"""From a plan file to a plan: layers × kernels × knob values, as cases in measuring order.

The set of cases follows from the plan file and the kernel registry alone, never from the machine.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import attrs

from dibench import networks
from dibench.case_ids import former_form
from dibench.errors import UserError
from dibench.kernels import anchors, architectures
from dibench.layer import Layer
from dibench.models import is_model
from dibench.plan import ordering
from dibench.plan.boxes import default_box
from dibench.plan.case import DTYPE, Case, knob_fields
from dibench.plan.expand import KernelChoice, expand
from dibench.plan.file import OF_OPTIONS, PlanFile, parse_plan, plan_of_model, read_plan
from dibench.plan.layers import resolve_layer
from dibench.plan.shard import WHOLE, Shard

if TYPE_CHECKING:
    from dibench.kernels import Variant

ANCHOR_LAYER = Layer.fc(N=1, C=1, K=1)
"""A placeholder: an anchor computes no layer, and its id and row have no dimensions."""

_Group = tuple[KernelChoice, ...]
"""Choices that are measured together, and their round."""


@attrs.frozen
class Plan:
    """Cases in measuring order, and what was left out of them."""

    name: str
    description: str
    backend: str
    cases: tuple[Case, ...] = attrs.field(repr=False)
    seed: int  # of the order
    sha: str  # of the set of cases of all shards, in any order
    dropped: Mapping[str, int]  # combinations that do not fit, by reason
    shard: str = ""
    """`3/16` where the cases are one of several parts of the plan."""
    partial: tuple[str, ...] = ()
    """Of each network that layers do not cover whole, how much they do."""
    dropped_ids: frozenset[str] = attrs.field(default=frozenset(), repr=False)
    """Of cases that an earlier run may have measured, and that are not measured any more."""

    @property
    def ids(self) -> frozenset[str]:
        """Of cases whose rows a sweep of this plan may hold."""
        return self.dropped_ids | {case.case_id for case in self.cases}


def presets() -> tuple[str, ...]:
    """Names of the plans that come with the program."""
    files = resources.files("dibench.presets").iterdir()
    return tuple(sorted(file.name[:-5] for file in files if re.fullmatch(r"\w+\.toml", file.name)))


# Wide because a plan is asked for in all these ways, and a model in two more.
def load_plan(
    source: str | Path,
    *,
    backend: str,
    batches: Sequence[int | None] = (None,),
    input_shape: Sequence[str] = (),
    seed: int = 1,
    registry: Mapping[str, Variant] | None = None,
    arch: int | None = None,
    visits: int | None = None,
    shard: Shard | None = None,
) -> Plan:
    """The plan of a file, a preset or a model for one backend, in the measuring order of `seed`.

    Args:
        source: a TOML file (see dibench.plan.file), the name of a preset, or a model as `models.load` takes
            it: its distinct layers under the fast kernels.
        backend: kernels of this backend are planned.
        batches: of a model; None is its own, or 1.
        input_shape: sizes of a model's inputs, as the option --input-shape takes them.
        seed: of the random part of the order; the set of cases is the same for every seed.
        registry: kernel variants by name; by default those found in csrc/.
        arch: compute capability of the GPU to plan for, 90 for sm_90; what it cannot run is left out.
        visits: how often each case is visited on a metered GPU, in place of what the plan says.
        shard: only this part of the plan.

    Raises:
        UserError: the plan breaks a rule; the message names file, key, rule and value. Or the model cannot
            be read, or a batch or size is given to a plan that has its own.
    """
    if registry is None:
        from dibench import kernels

        registry = kernels.registry(backend)
    file = _open(str(source), backend, batches, input_shape)
    if visits is not None:
        file = attrs.evolve(file, visits=visits)
    return make_plan(file, backend=backend, seed=seed, registry=registry, arch=arch, shard=shard)


def _open(name: str, backend: str, batches: Sequence[int | None], input_shape: Sequence[str]) -> PlanFile:
    if name not in presets() and is_model(name):
        return plan_of_model(name, tuple(batches), tuple(input_shape))
    given = {"--batch": [batch for batch in batches if batch is not None], "--input-shape": input_shape}
    for option, values in given.items():
        if values:
            rule = f"is of models: the plan {name} says it itself, as {OF_OPTIONS[option]}"
            raise UserError(option, rule, ",".join(map(str, values)))
    if name in presets():
        # A preset may have a file of its own for a backend: a GPU needs larger layers to be busy.
        folder = resources.files("dibench.presets")
        own = folder / f"{name}.{backend}.toml"
        text = (own if own.is_file() else folder / f"{name}.toml").read_text(encoding="utf-8")
        return parse_plan(text, where=f"preset {name}", name=name)
    path = Path(name)
    if not path.suffix and "/" not in name and not path.exists():
        close = get_close_matches(name, (*presets(), *networks.names()), n=1)
        hint = f", perhaps {close[0]}" if close else ""
        rule = f"must be a file, a model or one of the presets {', '.join(presets())}{hint}"
        raise UserError("plan", rule, name)
    return read_plan(path)


def make_plan(
    file: PlanFile,
    *,
    backend: str,
    seed: int,
    registry: Mapping[str, Variant],
    arch: int | None = None,
    shard: Shard | None = None,
) -> Plan:
    """Layers × kernels × knob values of a plan file, ordered and numbered, with sentinels.

    A shard has sentinels of its own. What is measured together, such as the halves of a twin, stays together.
    """
    _check_backend(file, backend)
    kernels = {name: variant for name, variant in registry.items() if variant.backend == backend}
    if not kernels:
        raise UserError("backend", "must have kernel variants", backend, where=file.path)
    dropped: Counter[str] = Counter()
    partial: list[str] = []
    try:
        groups = expand(file, kernels, dropped, partial, arch)
        sentinel = _sentinel(file, kernels, arch)
    except UserError as error:
        raise error if error.where else UserError("", str(error), where=file.path) from None
    ordered = [*_anchors(file, seed, dropped, arch), *_in_order(groups, kernels, seed)]
    cases = _numbered(ordered, sentinel, file, backend)
    sha = sha_of(cases)
    if shard is not None:
        if shard.of > len(ordered):
            rule = f"must have at most {len(ordered)} parts, one for each case of this plan"
            raise UserError("--shard", rule, str(shard))
        cases = _numbered(shard.deal(ordered), sentinel, file, backend, shard)
    return Plan(
        file.name,
        file.description,
        backend,
        cases,
        seed,
        sha,
        dict(dropped.most_common()),
        str(shard or ""),
        tuple(partial),
    )


def sha_of(cases: Iterable[Case]) -> str:
    """SHA-256 of the cases and how often each is visited, whatever their order."""
    ids = sorted(former_form(case.case_id) + f" {case.visits} visits" * (case.visits > 1) for case in cases)
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def _check_backend(file: PlanFile, backend: str) -> None:
    """Refuse what the backend's device does not have."""

    def refuse(key: str, needs: str) -> None:
        raise UserError(f"[plan]: {key}", f"is for {needs}, not for {backend}", where=file.path)

    if backend != "cuda" and file.sms != ("all",):
        refuse("sms", "backends with multiprocessors")
    if backend == "cpu" and (any(file.cold) or any(any(rule.cold or ()) for rule in file.layers)):
        refuse("cold", "backends with multiprocessors")
    if backend != "cuda" and file.anchors:
        refuse("anchors", "the GPU's kernels")


def _numbered(
    groups: Sequence[_Group],
    sentinel: KernelChoice,
    file: PlanFile,
    backend: str,
    shard: Shard = WHOLE,
) -> tuple[Case, ...]:
    """The cases of all groups with sentinels between them, each with its place in the whole plan."""
    choices = [
        (choice, number if len(group) > 1 else 0)
        for number, group in enumerate(groups, start=1)
        for choice in group
    ]
    cases: list[Case] = []
    for own, entry in enumerate(ordering.with_sentinels(choices, None), start=1):
        choice, together = entry or (sentinel, 0)
        case = _case(choice, file, backend, sentinel=entry is None)
        cases.append(attrs.evolve(case, order=shard.position(own), together=together))
    return tuple(cases)


def _in_order(groups: Sequence[_Group], kernels: Mapping[str, Variant], seed: int) -> list[_Group]:
    """Groups in measuring order."""
    index_of: dict[int, int] = {}
    layers: list[Layer] = []
    variant_index = {name: index for index, name in enumerate(kernels)}
    # The shape models are fitted to the fastest variants, or to all where a plan has none of these.
    any_fast = any(kernels[group[0].variant].fast for group in groups)
    units = []
    for group in groups:
        layer = group[0].layer
        index = index_of.setdefault(id(layer), len(layers))  # one object for each distinct layer
        if index == len(layers):
            layers.append(layer)
        variant = group[0].variant
        units.append(
            ordering.Unit(index, variant_index[variant], informs=kernels[variant].fast or not any_fast)
        )
    return [groups[index] for index in ordering.measuring_order(layers, units, seed)]


def _anchors(file: PlanFile, seed: int, dropped: Counter[str], arch: int | None) -> list[_Group]:
    """Each anchor on each share of the multiprocessors, in random order; they come before all layers."""
    known = anchors.registry()
    chosen = []
    for name in known if "all" in file.anchors else file.anchors:
        if arch is not None and arch < known[name].least_arch:
            dropped[f"{name}: arch: must be at least sm_{known[name].least_arch}"] += len(file.sms)
            continue
        chosen += [KernelChoice(ANCHOR_LAYER, name, (), 1, file.data[0], sms) for sms in file.sms]
    Random(seed).shuffle(chosen)
    return [(choice,) for choice in chosen]


def _sentinel(file: PlanFile, kernels: Mapping[str, Variant], arch: int | None) -> KernelChoice:
    """The reference layer under the fast variant of its operator, or the first that can run it."""
    layer = resolve_layer(file.sentinel, "[plan]: sentinel")
    fitting = [variant for variant in kernels.values() if layer.op in variant.ops and DTYPE in variant.dtypes]
    fitting.sort(key=lambda variant: not variant.fast)
    for variant in fitting:
        try:
            knobs = default_box(variant, layer)
            variant.check(layer, knobs)
            architectures.check(variant, layer, knobs, arch=arch)
        except UserError:
            continue
        return KernelChoice(
            layer, variant.name, tuple(knobs.items()), 1, file.data[0], file.sms[0], file.cold[0]
        )
    raise UserError("[plan]: sentinel", "must be a layer that a kernel variant can run", file.sentinel)


def _case(choice: KernelChoice, file: PlanFile, backend: str, *, sentinel: bool) -> Case:
    return Case(
        layer=choice.layer,
        backend=backend,
        variant=choice.variant,
        **knob_fields(dict(choice.knobs)),
        dtype=choice.dtype,
        instances=choice.instances,
        sms=choice.sms,
        cold=choice.cold,
        data=choice.data,
        seed=file.values_seed,
        sentinel=sentinel,
        visits=1 if sentinel else file.visits,
    )
