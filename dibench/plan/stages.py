"""A campaign's stages: plans that take turns, so that every prefix of the campaign has something of each.

`presets/campaign.stages.toml` says what a stage is; the user may give another file of that format.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench import kernels
from dibench.errors import UserError
from dibench.intensity import operand_bytes
from dibench.kernels import architectures, library
from dibench.plan import DTYPE, Case, Plan, default_box, make_plan, ordering, usual_case
from dibench.plan.build import sha_of
from dibench.plan.case import knob_fields
from dibench.plan.file import plan_of
from dibench.plan.layers import resolve_layer
from dibench.plan.toml_table import TomlTable, a_table, flag, some_tables, some_text, whole_number

if TYPE_CHECKING:
    from dibench.kernels import Variant
    from dibench.layer import Layer

FILE = "campaign.stages.toml"

_MAC_PER_S, _BYTES_PER_S = {DTYPE: 2e13, "tf32": 1e14, "fp16": 2e14, "bf16": 2e14}, 2e12
"""Rates of a large GPU, of reduced types on tensor cores; fixed, as instances must not depend on the card."""
_MOST_INSTANCES = 256
_MOST_BYTES = 2**30


@attrs.frozen
class Stage:
    """A stage and its cases, each in the order of its own plan, without sentinels."""

    name: str
    answers: str
    share: float
    every_card: bool
    pairs: bool
    cases: tuple[Case, ...] = attrs.field(repr=False)


@attrs.frozen
class Stages:
    """The stages that a GPU can run, in the order of the file."""

    stages: tuple[Stage, ...]
    sentinel: Case
    left_out: Mapping[str, str]
    """Why other stages are left out, by name."""

    @property
    def cases(self) -> list[Case]:
        """The sentinel, then all cases in turns."""
        return [self.sentinel, *in_turns(self.stages)]

    @property
    def variants(self) -> tuple[str, ...]:
        """Our kernels in the order in which they are first measured; anchors compute nothing to check."""
        ours = (case.variant for case in self.cases if case.backend == "cuda" and not case.anchor)
        return tuple(dict.fromkeys(ours))


def load_stages(*, arch: int, seed: int = 1, no_library: str = "", path: Path | None = None) -> Stages:
    """The stages for a GPU.

    Args:
        arch: its compute capability, 90 for sm_90.
        seed: of the random part of the order.
        no_library: why PyTorch's library cannot be measured there; empty where it can.
        path: a file of stages in place of the campaign's own.

    Raises:
        UserError: the file breaks a rule; the message names stage, key, rule and value.
    """
    where, document = _document(path)
    stages, left_out, seen = list[Stage](), dict[str, str](), set[str]()
    try:
        top = TomlTable(document, "")
        sentinel = _sentinel(resolve_layer(top.take("sentinel", some_text), "sentinel"))
        for number, content in enumerate(top.take("stages", some_tables), start=1):
            stage, why_not = _stage(TomlTable(content, f"[[stages]] {number}"), arch, seed, no_library)
            if stage.name in left_out or stage.name in {other.name for other in stages}:
                raise UserError(f"[[stages]] {number}: name", "must be of one stage only", stage.name)
            if why_not:
                left_out[stage.name] = why_not
                continue
            # A case in two stages belongs to the first of them.
            new = tuple(case for case in stage.cases if case.case_id not in seen)
            seen |= {case.case_id for case in new}
            stages.append(attrs.evolve(stage, cases=new))
        top.finish()
    except UserError as error:
        raise error if error.where else UserError("", str(error), where=where) from None
    return Stages(tuple(stages), sentinel, left_out)


def _document(path: Path | None) -> tuple[str, dict[str, Any]]:
    """The file's name for messages, and its content."""
    source = resources.files("dibench.presets") / FILE if path is None else path
    try:
        return FILE if path is None else str(path), tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else f"is not TOML: {error}"
        raise UserError("--stages", str(why), str(path)) from None


def _stage(table: TomlTable, arch: int, seed: int, no_library: str) -> tuple[Stage, str]:
    """The stage in a table. If it cannot run on this GPU, it has no cases, and the text says why."""
    stage = Stage(
        name=table.take("name", some_text),
        answers=table.take("answers", some_text),
        share=table.take("share", _percent),
        every_card=table.take("every_card", flag, False),
        pairs=table.take("pairs", flag, False),
        cases=(),
    )
    least_arch, peer = table.take("arch", whole_number, 0), table.take("peer", flag, False)
    fill_s = 1e-6 * table.take("fill_us", _number, 0)
    plan = {"plan": table.take("plan", a_table, {})}
    plan |= {key: table.take(key, some_tables) for key in ("layers", "kernels")}
    table.finish()
    if arch < least_arch:
        return stage, f"needs sm_{least_arch}, this is sm_{arch}"
    if peer and no_library:
        return stage, no_library
    return attrs.evolve(stage, cases=tuple(_cases(plan, stage.name, arch, seed, peer, fill_s))), ""


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number", value)
    return value


def _percent(value: Any) -> float:
    if not 0 <= _number(value) <= 100:
        raise ValueError("must be from 0 to 100", value)
    return float(value)


def _cases(
    document: dict[str, Any], name: str, arch: int, seed: int, peer: bool, fill_s: float
) -> list[Case]:
    """The cases of a stage's plan, with instances and the library's cases if the stage asks for them."""
    where = f"stage {name}"
    try:
        file = plan_of(document, where=where, name=name)
    except UserError as error:
        raise error if error.where else UserError("", str(error), where=where) from None
    cuda = kernels.registry("cuda")
    plan = make_plan(file, backend="cuda", seed=seed, registry=cuda, arch=arch)
    cases = [case for case in plan.cases if not case.sentinel]
    if fill_s:
        cases = [_filling(case, cuda[case.variant], arch, fill_s) for case in cases]
    if not peer:
        return cases
    library_kernel = kernels.of_library(library.CUDNN)
    theirs = make_plan(file, backend="torch", seed=seed, registry={library_kernel.name: library_kernel})
    return _side_by_side(cases, [case for case in theirs.cases if not case.sentinel])


def _side_by_side(ours: Sequence[Case], theirs: Sequence[Case]) -> list[Case]:
    """Put each of the library's cases right after our first case on the same layer."""
    waiting: dict[Any, list[Case]] = {}
    for case in theirs:
        waiting.setdefault((case.layer.shape, case.dtype), []).append(case)
    mixed = []
    for case in ours:
        mixed += [case, *waiting.pop((case.layer.shape, case.dtype), ())]
    return mixed


def _filling(case: Case, variant: Variant, arch: int, launch_s: float) -> Case:
    """The case with instances, a power of two, so that a launch lasts that long, as far as memory allows.

    Knobs that suited one instance become those that suit so many.
    """
    layer = case.layer
    chosen = case.knobs == default_box(variant, layer)
    moved = operand_bytes(layer.weights + layer.activations, case.dtype)
    least_s = max(layer.macs / _MAC_PER_S[case.dtype], moved / _BYTES_PER_S)
    most = min(_MOST_INSTANCES, max(1, _MOST_BYTES // moved))
    wanted = min(most, max(1.0, launch_s / least_s))
    instances = 2 ** math.floor(math.log2(wanted) + 0.5)
    while instances > 1:
        knobs = default_box(variant, layer, instances=instances) if chosen else case.knobs
        try:
            architectures.check(variant, layer, knobs, instances, arch)
        except UserError:
            instances //= 2
        else:
            return attrs.evolve(case, instances=instances, **knob_fields(knobs))
    return case


def _sentinel(layer: Layer, without: Collection[str] = ()) -> Case:
    """The reference case: a layer that fills a large GPU, under our fastest kernel that is not excluded."""
    family = [one for name, one in kernels.registry("cuda").items() if name not in without]
    for variant in sorted(family, key=lambda one: not one.fast):
        if layer.op in variant.ops and DTYPE in variant.dtypes:
            case = usual_case(layer, variant, sentinel=True)
            if variant.allows(layer, case.knobs):
                return case
    raise UserError("sentinel", "must be a layer that a right kernel can run", str(layer))


def in_turns(stages: Sequence[Stage]) -> list[Case]:
    """All cases: first the stages of share 0, then the others in turns by their share of visits.

    The next turn is of the stage whose visits lag furthest behind its share.

    >>> from dibench.plan import ANCHOR_LAYER
    >>> one, two = (Case(layer=ANCHOR_LAYER, backend="cuda", variant=name) for name in ("a", "b"))
    >>> stages = [Stage("a", "", 75, False, False, (one,) * 6), Stage("b", "", 25, False, False, (two,) * 2)]
    >>> "".join(case.variant for case in in_turns(stages))
    'abaaabaa'
    """
    due: list[tuple[float, Case]] = []
    for stage in stages:
        visits = 0
        for case in stage.cases:
            due.append((visits / stage.share if stage.share else -1.0, case))
            visits += case.visits
    return [case for _, case in sorted(due, key=lambda one: one[0])]


def plan_campaign(
    found: Stages,
    *,
    seed: int,
    done: Collection[str],
    without: Collection[str] = (),
    again: bool = False,
    first_order: int = 1,
) -> Plan:
    """One plan of what is left of all stages, in turns, with sentinels as in every plan.

    Args:
        found: of `load_stages`.
        seed: of the order in which cases are visited again.
        done: ids of cases that earlier runs have measured.
        without: kernel variants that are not measured. They still count for the plan's SHA, so that a run can
            be resumed after one of its kernels was found wrong.
        again: whether this is another card. Then stages for every card are measured again, and so are both
            halves of a pair of which the earlier card measured one: a pair must be on one card.
        first_order: of the first case. Orders continue those of earlier runs, because a sentinel's id
            contains its order and must be new.

    Raises:
        UserError: nothing is left, or no right kernel runs the sentinel.
    """
    owed = set[str]()
    for stage in found.stages if again else ():
        ids = [case.case_id for case in stage.cases]
        if stage.every_card:
            owed.update(ids)
        if stage.pairs:
            pairs = zip(ids[::2], ids[1::2], strict=True)
            owed.update(half for pair in pairs if (pair[0] in done) != (pair[1] in done) for half in pair)
    left = [case for case in in_turns(found.stages) if case.case_id in owed or case.case_id not in done]
    if not left:
        raise UserError("--resume", "must leave something to measure: every case of the campaign is there")
    sentinel = found.sentinel
    all_cases = _numbered(left, sentinel, first_order)
    right = [case for case in left if case.variant not in without]
    if sentinel.variant in without:
        sentinel = _sentinel(sentinel.layer, without)
    cases = _numbered(right, sentinel, first_order)
    may_have = frozenset(case.case_id for case in all_cases)
    return Plan(
        "campaign", "a campaign in stages", "cuda", cases, seed, sha_of(all_cases), {}, dropped_ids=may_have
    )


def _numbered(cases: Sequence[Case], sentinel: Case, first_order: int) -> tuple[Case, ...]:
    with_sentinels = ordering.with_sentinels(cases, sentinel)
    return tuple(
        attrs.evolve(case, order=order) for order, case in enumerate(with_sentinels, start=first_order)
    )
