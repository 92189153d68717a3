"""Plans: layers × kernels × knob values, as cases in measuring order.

What makes a case is hashed to its id, so that a sweep can be resumed and anybody can find a row again; see
Case.case_id. The set of cases follows from plan file and kernel registry alone, never from the machine.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import attrs

from dibench import anchors, ordering
from dibench.errors import UserError
from dibench.expand import Choice, default_box, expand, resolve_layer
from dibench.layer import Layer
from dibench.plan_file import PlanFile, parse_plan, read_plan
from dibench.variants import KNOBS

if TYPE_CHECKING:
    from dibench.variants import Variant

DTYPE = "fp32"

NO_LAYER = Layer.fc(N=1, C=1, K=1)
"""What stands for the layer in an anchor's case; its id and its row have no dimensions."""

_Group = tuple[tuple[Choice, ...], int]
"""Choices that are measured together, and their round."""


def _pairs(value: Iterable[Sequence[Any]]) -> tuple[tuple[str, int | str], ...]:
    """Knobs as a tuple of pairs, also where they come from JSON as lists."""
    return tuple((name, setting) for name, setting in value)


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


@attrs.frozen(kw_only=True)
class Case:
    """One layer under one kernel; its knobs are resolved to numbers, None where the kernel has no such."""

    layer: Layer
    backend: str
    variant: str
    dtype: str = DTYPE
    tile_p: int | None = None
    tile_k: int | None = None
    tile_c: int | None = None
    taps: int | None = None
    window: int | None = None
    further: tuple[tuple[str, int | str], ...] = attrs.field(default=(), converter=_pairs)
    """The kernel's knobs beyond these five, such as `lanes` and `warps` of CUDA kernels."""
    instances: int = 1
    sms: str = "all"
    """Blocks wherever there is room (`all`), or one to each of the `whole`, `half` or `quarter` of a GPU."""
    cold: bool = False
    """Operands come from memory in every launch, not from the last-level cache."""
    data: str = "uniform"
    seed: int = 1  # of operand values
    sentinel: bool = False
    network: str = ""
    """What builds a whole network, in place of the layer, whose N, C, H, W are then the network's input."""
    visits: int = 1  # to a metered GPU, at different times; one row in the end
    order: int = 1  # position in the plan, from 1
    tier: int = 1  # round of falling information it belongs to, from 1
    together: int = 0
    """Cases of one number, as the halves of a twin, are compared, so measured on one device; 0: alone."""

    @property
    def anchor(self) -> bool:
        """Whether the kernel is an anchor: it pins the energy of one level, and computes no layer."""
        return self.variant in anchors.registry()

    @property
    def op(self) -> str:
        """The layer's operator, or `anchor`."""
        return "anchor" if self.anchor else self.layer.op

    @property
    def knobs(self) -> dict[str, Any]:
        """The knobs the kernel has, by name: whole numbers, or words."""
        values = (self.tile_p, self.tile_k, self.tile_c, self.taps, self.window)
        box = {knob: value for knob, value in zip(KNOBS, values, strict=True) if value is not None}
        return {**box, **dict(self.further)}

    @property
    def box(self) -> tuple[int, int, int, int, int]:
        """tile_p, tile_k, tile_c, taps, window as csrc/cpu/kernel.h wants them: 0 where there is no knob."""
        return (
            self.tile_p or 0,
            self.tile_k or 0,
            self.tile_c or 0,
            self.taps or 0,
            self.window or 0,
        )

    @property
    def key(self) -> str:
        """The text whose hash is the case's id: JSON with sorted keys and no spaces.

        {"backend", "data", "dtype", "knobs": {the kernel's knobs and "instances"}, "layer": {the sixteen
        dimensions, none of an anchor}, "seed", "variant"}; the knobs have "sms" where it is not "all", and
        "cold": 1 where it is; a whole network adds "network"; a sentinel, measured repeatedly, its "order".
        """
        launch: dict[str, Any] = {"instances": self.instances}
        if self.sms != "all":
            launch["sms"] = self.sms
        if self.cold:
            launch["cold"] = 1
        content = {
            "backend": self.backend,
            "data": self.data,
            "dtype": self.dtype,
            "knobs": {**self.knobs, **launch},
            "layer": {} if self.anchor else self.layer.dims,
            "seed": self.seed,
            "variant": self.variant,
        }
        if self.network:
            content["network"] = self.network
        if self.sentinel:
            content["order"] = self.order
        return _canonical(content)

    @property
    def case_id(self) -> str:
        """First 16 hex digits of the SHA-256 of `key`.

        >>> layer = Layer.fc(N=1, C=2, K=3)
        >>> Case(layer=layer, backend="cpu", variant="fc_dot").case_id
        '91ac3fe11f64aef2'
        """
        return hashlib.sha256(self.key.encode()).hexdigest()[:16]


@attrs.frozen
class Plan:
    """Cases in measuring order, and what was left out of them."""

    name: str
    description: str
    backend: str
    cases: tuple[Case, ...] = attrs.field(repr=False)
    seed: int  # of the order
    sha: str  # of the set of cases, whatever their order; of all shards together
    dropped: Mapping[str, int]  # combinations that do not fit, by reason
    shard: str = ""
    """`3/16` where the cases are one of several parts of the plan."""


def usual_case(layer: Layer, variant: Variant, **fields: Any) -> Case:
    """A layer under a kernel at the knob values that it has where a plan asks for none."""
    return with_knobs(layer, variant, default_box(variant, layer), **fields)


def with_knobs(layer: Layer, variant: Variant, knobs: Mapping[str, Any], **fields: Any) -> Case:
    """A layer under a kernel at these knob values."""
    return Case(layer=layer, backend=variant.backend, variant=variant.name, **_split(knobs), **fields)


def _split(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Knobs as the fields of a case."""
    box = {name: value for name, value in knobs.items() if name in KNOBS}
    return {**box, "further": tuple((name, value) for name, value in knobs.items() if name not in KNOBS)}


def presets() -> tuple[str, ...]:
    """Names of the plans that come with the program."""
    files = resources.files("dibench.presets").iterdir()
    return tuple(sorted(file.name[:-5] for file in files if re.fullmatch(r"\w+\.toml", file.name)))


def load_plan(
    path_or_preset: str | Path,
    *,
    backend: str,
    seed: int = 1,
    registry: Mapping[str, Variant] | None = None,
    arch: int | None = None,
    visits: int | None = None,
    shard: ordering.Shard | None = None,
) -> Plan:
    """The plan of a file or preset for one backend, in the measuring order of `seed`.

    Args:
        path_or_preset: a TOML file (see dibench.plan_file) or the name of a preset.
        backend: kernels of this backend are planned.
        seed: of the random part of the order; the set of cases is the same for every seed.
        registry: kernel variants by name; by default those found in csrc/.
        arch: compute capability of the GPU to plan for, 90 for sm_90; what it cannot run is left out.
        visits: to each case on a metered GPU, in place of the plan's.
        shard: only this part of the plan.

    Raises:
        UserError: the plan breaks a rule; the message names file, key, rule and value.
    """
    if registry is None:
        from dibench import variants

        registry = variants.registry(backend)
    file = _open(path_or_preset, backend)
    if visits is not None:
        file = attrs.evolve(file, visits=visits)
    return make_plan(file, backend=backend, seed=seed, registry=registry, arch=arch, shard=shard)


def _open(path_or_preset: str | Path, backend: str) -> PlanFile:
    name = str(path_or_preset)
    if name in presets():
        # A preset may have a file of its own for a backend: a GPU needs larger layers to be busy.
        folder = resources.files("dibench.presets")
        own = folder / f"{name}.{backend}.toml"
        text = (own if own.is_file() else folder / f"{name}.toml").read_text(encoding="utf-8")
        return parse_plan(text, where=f"preset {name}", name=name)
    path = Path(path_or_preset)
    if not path.suffix and "/" not in name and not path.exists():
        close = get_close_matches(name, presets(), n=1)
        hint = f", perhaps {close[0]}" if close else ""
        raise UserError("plan", f"must be a file or one of the presets {', '.join(presets())}{hint}", name)
    return read_plan(path)


def make_plan(
    file: PlanFile,
    *,
    backend: str,
    seed: int,
    registry: Mapping[str, Variant],
    arch: int | None = None,
    shard: ordering.Shard | None = None,
) -> Plan:
    """Layers × kernels × knob values of a plan file, ordered and numbered, with sentinels.

    A shard has sentinels of its own. What is measured together, as the halves of a twin, stays together.
    """
    if (backend != "cuda" and file.sms != ("all",)) or (backend == "cpu" and _any_cold(file)):
        field = "sms" if file.sms != ("all",) else "cold"
        raise UserError(
            f"[plan]: {field}", f"is for backends with multiprocessors, not for {backend}", where=file.path
        )
    if backend != "cuda" and file.anchors:
        raise UserError("[plan]: anchors", f"is for the GPU's kernels, not for {backend}", where=file.path)
    kernels = {name: variant for name, variant in registry.items() if variant.backend == backend}
    if not kernels:
        raise UserError("backend", "must have kernel variants", backend, where=file.path)
    dropped: Counter[str] = Counter()
    try:
        groups = expand(file, kernels, dropped, arch)
        sentinel = _sentinel(file, kernels)
    except UserError as error:
        raise error if error.where else UserError("", str(error), where=file.path) from None
    ordered = _in_order(groups, kernels, seed)
    ordered = [*_anchors(file, seed), *ordered]

    def numbered(part: Sequence[_Group], shard: ordering.Shard) -> tuple[Case, ...]:
        choices = [(choice, tier) for group, tier in part for choice in group]
        together = {
            id(choice): number
            for number, (group, _) in enumerate(part, start=1)
            for choice in group
            if len(group) > 1
        }
        return tuple(
            attrs.evolve(
                _case(choice, file, backend, shard.position(own), tier, choice is sentinel),
                together=together.get(id(choice), 0),
            )
            for own, (choice, tier) in enumerate(_with_sentinels(choices, sentinel), start=1)
        )

    cases = numbered(ordered, ordering.Shard(1, 1))
    ids = sorted(case.case_id + f" {case.visits} visits" * (case.visits > 1) for case in cases)
    sha = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    if shard is not None:
        if shard.of > len(ordered):
            rule = f"must have at most {len(ordered)} parts, one for each case of this plan"
            raise UserError("--shard", rule, str(shard))
        cases = numbered(shard.deal(ordered), shard)
    return Plan(
        file.name, file.description, backend, cases, seed, sha, dict(dropped.most_common()), str(shard or "")
    )


def _any_cold(file: PlanFile) -> bool:
    return any(file.cold) or any(any(rule.cold or ()) for rule in file.layers)


def _in_order(
    groups: Sequence[tuple[Choice, ...]], kernels: Mapping[str, Variant], seed: int
) -> list[_Group]:
    """Groups in measuring order, each with its round."""
    index_of: dict[int, int] = {}
    layers: list[Layer] = []
    variant_index = {name: index for index, name in enumerate(kernels)}
    # The shape models are fitted to the fastest variants; a plan without them is fitted to what it has.
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
    order, rounds = ordering.measuring_order(layers, units, seed)
    return [(groups[index], tier) for index, tier in zip(order, rounds, strict=True)]


def _anchors(file: PlanFile, seed: int) -> list[_Group]:
    """Each anchor on each share of the multiprocessors, in random order, before the first round's layers."""
    names = tuple(anchors.registry()) if "all" in file.anchors else file.anchors
    chosen = [Choice(NO_LAYER, name, (), 1, file.data[0], sms) for name in names for sms in file.sms]
    Random(seed).shuffle(chosen)
    return [((choice,), 1) for choice in chosen]


def _with_sentinels(ordered: Sequence[tuple[Choice, int]], sentinel: Choice) -> Iterable[tuple[Choice, int]]:
    """Each sentinel in the round of the case before it."""
    tier = 1
    for entry in ordering.with_sentinels(ordered, None):
        tier = tier if entry is None else entry[1]
        yield (sentinel, tier) if entry is None else entry


def _sentinel(file: PlanFile, kernels: Mapping[str, Variant]) -> Choice:
    """The reference layer under the fast variant of its operator, or the first that has its operator."""
    layer = resolve_layer(file.sentinel, "[plan]: sentinel")
    fitting = [variant for variant in kernels.values() if layer.op in variant.ops and DTYPE in variant.dtypes]
    fitting.sort(key=lambda variant: not variant.fast)
    for variant in fitting:
        try:
            knobs = default_box(variant, layer)
            variant.check(layer, knobs)
        except UserError:
            continue
        return Choice(layer, variant.name, tuple(knobs.items()), 1, file.data[0], file.sms[0], file.cold[0])
    raise UserError("[plan]: sentinel", "must be a layer that a kernel variant can run", file.sentinel)


def _case(choice: Choice, file: PlanFile, backend: str, order: int, tier: int, sentinel: bool) -> Case:
    return Case(
        layer=choice.layer,
        backend=backend,
        variant=choice.variant,
        **_split(dict(choice.knobs)),
        dtype=choice.dtype,
        instances=choice.instances,
        sms=choice.sms,
        cold=choice.cold,
        data=choice.data,
        seed=file.values_seed,
        sentinel=sentinel,
        visits=1 if sentinel else file.visits,
        order=order,
        tier=tier,
    )
