"""A campaign's stages: plans that take turns, so that every prefix of the whole has something of each.

They are read from `presets/campaign.stages.toml`, which says what a stage is. One plan comes out of them,
without what earlier runs on this model of card have measured.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import attrs

from dibench import architectures, variants
from dibench.errors import UserError
from dibench.plan import Case, Plan, make_plan, ordering
from dibench.plan.file import plan_of

if TYPE_CHECKING:
    from dibench.layer import Layer
    from dibench.variants import Variant

FILE = "campaign.stages.toml"
SENTINEL = "N=32,C=256,H=28,W=28,K=256,R=3,S=3,pad_h=1,pad_w=1"

_MAC_PER_S, _BYTES_PER_S = 2e13, 2e12
"""What a large GPU does at fp32: the number of replicas must not depend on the card at hand."""
_MOST_REPLICAS = 256
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
class Campaign:
    """What a run has before it."""

    plan: Plan
    stages: tuple[Stage, ...]
    """All of the campaign, with what earlier runs have measured."""
    stage_of: Mapping[str, str] = attrs.field(repr=False)
    """By case_id, of all cases that are no sentinels."""


def load_stages(
    *, arch: int, seed: int = 1, peer: bool = False, without: Collection[str] = ()
) -> list[Stage]:
    """The stages for a GPU.

    Args:
        arch: its compute capability, 90 for sm_90.
        seed: of the random part of the order.
        peer: whether PyTorch's library is there for the GPU.
        without: kernel variants that are not to be measured.

    Raises:
        UserError: the file breaks a rule; the message names stage, key, rule and value.
    """
    text = (resources.files("dibench.presets") / FILE).read_text(encoding="utf-8")
    found, seen = [], set[str]()
    for table in tomllib.loads(text)["stages"]:
        if (table.get("peer") and not peer) or arch < table.get("arch", 0):
            continue
        new = []
        for case in _cases(table, arch, seed):
            if case.case_id not in seen and case.variant not in without:
                seen.add(case.case_id)
                new.append(case)
        found.append(
            Stage(
                table["name"],
                table["answers"],
                table["share"],
                table.get("every_card", False),
                table.get("pairs", False),
                tuple(new),
            )
        )
    return found


def _cases(table: dict[str, Any], arch: int, seed: int) -> list[Case]:
    document: dict[str, Any] = {key: table[key] for key in ("plan", "layers", "kernels") if key in table}
    file = plan_of(document, where=f"stage {table['name']}", name=table["name"])
    cuda = variants.registry("cuda")
    plan = make_plan(file, backend="cuda", seed=seed, registry=cuda, arch=arch)
    cases = [case for case in plan.cases if not case.sentinel]
    if fill_us := table.get("fill_us"):
        cases = [_filling(case, cuda[case.variant], arch, 1e-6 * fill_us) for case in cases]
    if not table.get("peer"):
        return cases
    library = _library()
    theirs = make_plan(file, backend="torch", seed=seed, registry={library.name: library})
    return _side_by_side(cases, [case for case in theirs.cases if not case.sentinel])


def _library() -> Variant:
    (variant,) = variants.registry("torch").values()
    return variant


def _side_by_side(ours: Sequence[Case], theirs: Sequence[Case]) -> list[Case]:
    """Each layer by the library right after our first kernel on it."""
    waiting: dict[Any, list[Case]] = {}
    for case in theirs:
        waiting.setdefault((case.layer.shape, case.dtype), []).append(case)
    mixed = []
    for case in ours:
        mixed += [case, *waiting.pop((case.layer.shape, case.dtype), ())]
    return mixed


def _filling(case: Case, variant: Variant, arch: int, launch_s: float) -> Case:
    """The case with as many replicas, a power of two, as make a launch last, and fit into memory."""
    layer = case.layer
    most = min(_MOST_REPLICAS, max(1, _MOST_BYTES // (4 * _elements(layer))))
    wanted = min(most, max(1.0, launch_s / _least_s(layer)))
    replicas = 2 ** math.floor(math.log2(wanted) + 0.5)
    while replicas > 1:
        try:
            architectures.check(variant, layer, case.knobs, replicas, arch)
        except UserError:
            replicas //= 2
        else:
            break
    return attrs.evolve(case, instances=replicas)


def _elements(layer: Layer) -> int:
    return layer.weights + layer.inputs + layer.outputs


def _least_s(layer: Layer) -> float:
    return max(layer.macs / _MAC_PER_S, 4 * _elements(layer) / _BYTES_PER_S)


def plan_campaign(
    stages: Sequence[Stage], *, seed: int, done: Collection[str], again: bool = False, first_order: int = 1
) -> Campaign:
    """One plan of what is left.

    Stages of share 0 come first; then the one whose visits lag furthest behind its share has the turn.
    Sentinels stand in between, as in every plan.

    Args:
        stages: of `load_stages`.
        seed: of the order in which cases are visited again.
        done: ids of cases that earlier runs have measured.
        again: the card is another one: measure stages that are for every card also where they are done, and
            pairs of which one half is.
        first_order: of the first case. Orders go on from earlier runs, so that sentinels, whose ids contain
            theirs, have ids of their own.

    Raises:
        UserError: nothing is left.
    """
    owed = set[str]()
    for stage in stages if again else ():
        if stage.every_card:
            owed |= {case.case_id for case in stage.cases}
        if stage.pairs:
            owed |= _torn(stage, done)
    stage_of = {case.case_id: stage.name for stage in stages for case in stage.cases}
    left = [case for case in in_turns(stages) if case.case_id in owed or case.case_id not in done]
    if not left:
        raise UserError("--resume", "must leave something to measure: every case of the campaign is there")
    cases = tuple(
        attrs.evolve(case, order=order)
        for order, case in enumerate(ordering.with_sentinels(left, sentinel()), start=first_order)
    )
    ids = sorted(f"{case.case_id} {case.visits} visits" for case in cases)
    sha = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    plan = Plan("campaign", "a campaign in stages", "cuda", cases, seed, sha, {})
    return Campaign(plan, tuple(stages), stage_of)


def _torn(stage: Stage, done: Collection[str]) -> set[str]:
    """Both halves of each pair that has one half on the card before: two cards are no pair."""
    ids = [case.case_id for case in stage.cases]
    pairs = zip(ids[::2], ids[1::2], strict=True)
    return {half for pair in pairs for half in pair if (pair[0] in done) != (pair[1] in done)}


def sentinel() -> Case:
    """The reference of a campaign: a layer that fills a large GPU, by our fastest kernel."""
    document = {
        "plan": {"sentinel": SENTINEL},
        "layers": [{"layers": SENTINEL}],
        "kernels": [{"fast": True}],
    }
    file = plan_of(document, where="sentinel", name="sentinel")
    plan = make_plan(file, backend="cuda", seed=1, registry=variants.registry("cuda"))
    return next(case for case in plan.cases if case.sentinel)


def in_turns(stages: Sequence[Stage]) -> list[Case]:
    """All cases: stages of share 0 whole, then the others in turns by share of visits.

    >>> one, two = (Case(layer=sentinel().layer, backend="cuda", variant=name) for name in ("a", "b"))
    >>> stages = [Stage("a", "", 75, False, False, (one,) * 6), Stage("b", "", 25, False, False, (two,) * 2)]
    >>> "".join(case.variant for case in in_turns(stages))
    'abaaabaa'
    """
    cases = [case for stage in stages if not stage.share for case in stage.cases]
    taken = [0] * len(stages)
    visits = [0.0] * len(stages)
    while True:
        open_ones = [
            index for index, stage in enumerate(stages) if stage.share and taken[index] < len(stage.cases)
        ]
        if not open_ones:
            return cases
        turn = min(open_ones, key=lambda index: visits[index] / stages[index].share)
        case = stages[turn].cases[taken[turn]]
        cases.append(case)
        taken[turn] += 1
        visits[turn] += case.visits
