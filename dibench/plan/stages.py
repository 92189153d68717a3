"""A campaign's stages: plans that take turns, so that every prefix of the whole has something of each.

They are read from `presets/campaign.stages.toml`, which says what a stage is, or from a file like it.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench import kernels
from dibench.errors import UserError
from dibench.kernels import architectures, library
from dibench.plan import DTYPE, Case, make_plan, usual_case
from dibench.plan.file import plan_of
from dibench.plan.layers import resolve_layer

if TYPE_CHECKING:
    from dibench.kernels import Variant
    from dibench.layer import Layer

FILE = "campaign.stages.toml"

_NUMBER, _WHOLE, _FLAG = ((int, float), "a number"), (int, "a whole number"), (bool, "true or false")
_TEXT, _TABLE, _TABLES = (str, "text"), (dict, "a table"), (list, "[[stages.…]] tables")
_KEYS: Mapping[str, tuple[Any, str]] = {
    "name": _TEXT, "answers": _TEXT, "share": _NUMBER, "pairs": _FLAG, "every_card": _FLAG,
    "fill_us": _NUMBER, "arch": _WHOLE, "peer": _FLAG, "plan": _TABLE, "layers": _TABLES, "kernels": _TABLES,
}  # fmt: skip
"""Of a stage: the type of each key's value, in Python and in words."""
_NEEDED = ("name", "answers", "share", "layers", "kernels")

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
class Stages:
    """The stages that a GPU can run, in the order of the file."""

    stages: tuple[Stage, ...]
    sentinel: Case
    left_out: Mapping[str, str]
    """Stages that it cannot, and why."""

    def right_sentinel(self, without: Collection[str]) -> Case:
        """The sentinel, by another kernel where its own is among these.

        Raises:
            UserError: no other runs it.
        """
        if self.sentinel.variant not in without:
            return self.sentinel
        return _sentinel(self.sentinel.layer, without)

    @property
    def variants(self) -> tuple[str, ...]:
        """Our kernels, in the order in which they are measured first; anchors compute nothing."""
        cases = [self.sentinel, *in_turns(self.stages)]
        return tuple(
            dict.fromkeys(case.variant for case in cases if case.backend == "cuda" and not case.anchor)
        )


def load_stages(
    *,
    arch: int,
    seed: int = 1,
    no_library: str = "",
    path: Path | None = None,
) -> Stages:
    """The stages for a GPU.

    Args:
        arch: its compute capability, 90 for sm_90.
        seed: of the random part of the order.
        no_library: why PyTorch's library cannot be had there; empty: it can.
        path: a file of stages in place of the campaign's.

    Raises:
        UserError: the file breaks a rule; the message names stage, key, rule and value.
    """
    where, document = _document(path)
    found, seen, left_out = list[Stage](), set[str](), dict[str, str]()
    for number, table in enumerate(document["stages"], start=1):
        _check(table, f"{where}: [[stages]] {number}", {stage.name for stage in found} | set(left_out))
        name = table["name"]
        if arch < table.get("arch", 0):
            left_out[name] = f"needs sm_{table['arch']}, this is sm_{arch}"
        elif table.get("peer") and no_library:
            left_out[name] = no_library
        else:
            new = [case for case in _cases(table, arch, seed) if case.case_id not in seen]
            seen |= {case.case_id for case in new}
            every_card, pairs = table.get("every_card", False), table.get("pairs", False)
            found.append(Stage(name, table["answers"], table["share"], every_card, pairs, tuple(new)))
    try:
        sentinel = _sentinel(resolve_layer(document["sentinel"], "sentinel"))
    except UserError as error:
        raise UserError("", str(error), where=where) from None
    return Stages(tuple(found), sentinel, left_out)


def _document(path: Path | None) -> tuple[str, dict[str, Any]]:
    """What the file is called, and its content."""
    try:
        source = resources.files("dibench.presets") / FILE if path is None else path
        where = FILE if path is None else str(path)
        document = tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else f"is not TOML: {error}"
        raise UserError("--stages", str(why), str(path)) from None
    for key in document:
        if key not in ("sentinel", "stages"):
            raise UserError(key, "is not a key here; known are sentinel and [[stages]]", where=where)
    if not isinstance(document.get("sentinel"), str):
        raise UserError("sentinel", "must be a layer", document.get("sentinel"), where=where)
    stages = document.get("stages")
    if not isinstance(stages, list) or not stages or not all(isinstance(table, dict) for table in stages):
        raise UserError("stages", "must be one table or more, written with [[stages]]", where=where)
    return where, document


def _check(table: Mapping[str, Any], where: str, names: Collection[str]) -> None:
    for key, value in table.items():
        if key not in _KEYS:
            close = get_close_matches(key, _KEYS, n=1)
            hint = f"perhaps {close[0]}" if close else "known are " + ", ".join(_KEYS)
            raise UserError(key, f"is not a key of a stage; {hint}", where=where)
        kind, words = _KEYS[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise UserError(key, f"must be {words}", value, where=where)
    for key in _NEEDED:
        if key not in table:
            raise UserError(key, "must be given", where=where)
    if not 0 <= table["share"] <= 100:
        raise UserError("share", "must be from 0 to 100", table["share"], where=where)
    if table["name"] in names:
        raise UserError("name", "must be of one stage only", table["name"], where=where)


def _cases(table: Mapping[str, Any], arch: int, seed: int) -> list[Case]:
    document: dict[str, Any] = {key: table[key] for key in ("plan", "layers", "kernels") if key in table}
    where = f"stage {table['name']}"
    try:
        file = plan_of(document, where=where, name=table["name"])
    except UserError as error:
        raise error if error.where else UserError("", str(error), where=where) from None
    cuda = kernels.registry("cuda")
    plan = make_plan(file, backend="cuda", seed=seed, registry=cuda, arch=arch)
    cases = [case for case in plan.cases if not case.sentinel]
    if fill_us := table.get("fill_us"):
        cases = [_filling(case, cuda[case.variant], arch, 1e-6 * fill_us) for case in cases]
    if not table.get("peer"):
        return cases
    peer = kernels.of_library(library.CUDNN)
    theirs = make_plan(file, backend="torch", seed=seed, registry={peer.name: peer})
    return _side_by_side(cases, [case for case in theirs.cases if not case.sentinel])


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


def _sentinel(layer: Layer, without: Collection[str] = ()) -> Case:
    """The reference of a campaign: a layer that fills a large GPU, by our fastest kernel that is right."""
    family = [one for name, one in kernels.registry("cuda").items() if name not in without]
    for variant in sorted(family, key=lambda one: not one.fast):
        if layer.op in variant.ops and DTYPE in variant.dtypes:
            case = usual_case(layer, variant, sentinel=True)
            if variant.allows(layer, case.knobs):
                return case
    raise UserError("sentinel", "must be a layer that a right kernel can run", str(layer))


def in_turns(stages: Sequence[Stage]) -> list[Case]:
    """All cases: stages of share 0 whole, then the others in turns by share of visits.

    >>> from dibench.plan import ANCHOR_LAYER
    >>> one, two = (Case(layer=ANCHOR_LAYER, backend="cuda", variant=name) for name in ("a", "b"))
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
