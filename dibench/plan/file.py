"""A plan file: which layers, which kernels, which knob values; read from TOML and checked key by key.

[plan]
description = "3x3 layers under two boxes"     # shown by --dry-run
batches     = [1, 8]                           # of layers from networks; default 1
data        = "uniform"                        # distribution of operand values; also a list
instances   = 1                                # copies of the layer in one launch; also a list
values_seed = 1                                # seed of operand values
sentinel    = "resnet50/layer2.1.conv2"        # the layer measured again and again
sms         = "all"                            # GPU: blocks wherever there is room; or one to each of the
                                               # "whole", "half", "quarter" of its multiprocessors; a list
anchors     = "all"                            # GPU: also the kernels that pin one level each; or their names
cold        = false                            # GPU: operands from memory in every launch; also a list
visits      = 1                                # metered GPU: stays at each case, at different times

[[layers]]                                     # exactly one source each:
networks   = "all"                             #   a network, a list of them, or all 25
layers     = ["vgg16/features.0", "N=1,C=8,H=7,W=7,K=8,R=1,S=1"]
grid       = {N = 1, C = [32, 64], H = 14, W = 14, K = [32, 64], R = 1, S = 1}
iso_macs   = {layer = "resnet50/layer1.0.conv2", steps = 3}
twins      = ["N=64,C=256,H=24,…"]             #   each with its exact twin, measured as a pair
transposed = ["N=1,C=8,H=4,W=16,…"]            #   each with height and width exchanged
#   or for both generated: so many of each operator, N·P·Q/(R·S) and K/groups multiples, rows too
twins      = {per_op = 8, multiple = 128, tile = 4, min_macs = 1_000_000_000, max_macs = 40_000_000_000}
# and any of these:
name     = "small"                             # for [[kernels]] to refer to
batches  = [1, 8, 32]                          # in place of the plan's
cold     = true                                # in place of the plan's
ops      = ["standard", "fc"]
min_macs = 1_000_000
max_macs = 20_000_000
per_op   = 8                                   # so many of each operator, spread over quantiles of W/A

[[kernels]]                                    # at least one of variants, stationarity, fast:
variants     = ["conv_output_stationary"]
stationarity = ["output", "weight"]            # reuse kernels that hold these operands
fast         = true                            # the as-fast-as-can-be variants
dtype        = ["fp32"]                        # fp32, tf32, fp16, bf16 of the variants that have them
on           = ["small"]                       # names of [[layers]]; default all
ops          = ["standard"]
tile_p       = [1, 4]                          # any knob of the variants: a value or a list;
tile_c       = [8, "C"]                        # or all the layer has: "row", "K", "C", "S", "RS"
lanes        = ["p", "k"]                      # knobs of words take words
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import attrs

from dibench import anchors
from dibench.errors import UserError
from dibench.intensity import OPERATORS
from dibench.layer import DIMENSIONS
from dibench.variants import PLAN_KNOBS, STATIONARITIES

SYMBOLS = {"tile_p": ("row",), "tile_k": ("K",), "tile_c": ("C",), "taps": ("S", "RS"), "window": ()}
"""What a knob may be set to besides a number: as much as the layer has."""

SOURCES = ("networks", "layers", "grid", "iso_macs", "twins", "transposed")
DTYPES = ("fp32", "tf32", "fp16", "bf16")
SHARES = ("all", "whole", "half", "quarter")
DISTRIBUTIONS = ("uniform", "normal", "zeros", "low_toggle")
DEFAULT_SENTINEL = "resnet50/layer2.1.conv2"
_LARGEST = 2**31 - 1
_LARGEST_FILE = 2**20  # bytes; a plan is written by hand


@attrs.frozen
class LayerRule:
    """One [[layers]] table: a source of layers and what is kept of it."""

    where: str
    source: str
    value: Any
    batches: tuple[int, ...]
    name: str | None = None
    ops: tuple[str, ...] = OPERATORS
    min_macs: int = 0
    max_macs: int = 2**63
    per_op: int | None = None
    cold: tuple[bool, ...] | None = None


@attrs.frozen
class KernelRule:
    """One [[kernels]] table: which variants, on which layers, at which knob values."""

    where: str
    variants: tuple[str, ...]
    stationarity: tuple[str, ...]
    fast: bool
    on: tuple[str, ...] | None
    ops: tuple[str, ...]
    dtype: tuple[str, ...]
    knobs: dict[str, tuple[int | str, ...]]


@attrs.frozen
class PlanFile:
    """A plan as written, every key checked for type and range, nothing looked up yet."""

    path: str
    name: str
    description: str
    data: tuple[str, ...]
    instances: tuple[int, ...]
    sms: tuple[str, ...]
    cold: tuple[bool, ...]
    anchors: tuple[str, ...]
    visits: int
    values_seed: int
    sentinel: str
    layers: tuple[LayerRule, ...]
    kernels: tuple[KernelRule, ...]


def read_plan(path: str | Path, *, name: str = "") -> PlanFile:
    """The plan in a TOML file.

    Raises:
        UserError: no such file, no TOML (with line), an unknown key, a wrong type or an empty list; the
            message names file, table, key, rule and value.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_FILE + 1).decode()
    except FileNotFoundError:
        raise UserError("", "no such file", where=path) from None
    except OSError as error:
        raise UserError("", f"cannot be read: {error.strerror}", where=path) from None
    except UnicodeDecodeError as error:
        raise UserError("", f"is not TOML: no UTF-8 at byte {error.start}", where=path) from None
    if len(text) > _LARGEST_FILE:
        raise UserError("", f"must be at most {_LARGEST_FILE} bytes to be a plan", where=path)
    return parse_plan(text, where=str(path), name=name or path.stem)


def parse_plan(text: str, *, where: str, name: str) -> PlanFile:
    """The plan in TOML text; `where` is what messages call it."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError("", f"is not TOML: {error}", where=where) from None
    except (RecursionError, ValueError) as error:  # nested too deeply; an integer of too many digits
        raise UserError("", f"is not TOML: {' '.join(str(error).split()[:12])}", where=where) from None
    try:
        return plan_of(document, where=where, name=name)
    except UserError as error:
        raise error if error.where else UserError("", str(error), where=where) from None


def plan_of(document: dict[str, Any], *, where: str, name: str) -> PlanFile:
    """The plan in a document that is read already.

    Raises:
        UserError: it breaks a rule; the message names table, key, rule and value.
    """
    top = _Table(document, "")
    head = _Table(top.take("plan", _table, {}), "[plan]")
    batches = head.take("batches", _list_of(_positive), (1,))
    layers = tuple(
        _layer_rule(table, f"[[layers]] {number}", batches)
        for number, table in enumerate(top.take("layers", _tables), start=1)
    )
    kernels = tuple(
        _kernel_rule(table, f"[[kernels]] {number}", layers)
        for number, table in enumerate(top.take("kernels", _tables), start=1)
    )
    top.finish()
    plan = PlanFile(
        path=where,
        name=head.take("name", _text, name),
        description=head.take("description", _text, ""),
        data=head.take("data", _list_of(_one_of(DISTRIBUTIONS)), ("uniform",)),
        instances=head.take("instances", _list_of(_positive), (1,)),
        sms=head.take("sms", _list_of(_one_of(SHARES)), ("all",)),
        cold=head.take("cold", _list_of(_flag), (False,)),
        anchors=head.take("anchors", _list_of(_one_of(("all", *anchors.registry()))), ()),
        visits=head.take("visits", _positive, 1),
        values_seed=head.take("values_seed", _natural, 1),
        sentinel=head.take("sentinel", _text, DEFAULT_SENTINEL),
        layers=layers,
        kernels=kernels,
    )
    head.finish()
    return plan


def _layer_rule(content: Any, where: str, batches: tuple[int, ...]) -> LayerRule:
    table = _Table(content, where)
    given = [source for source in SOURCES if source in table.content]
    if len(given) != 1:
        raise UserError(
            where, "must have exactly one of " + ", ".join(SOURCES), " and ".join(given) if given else "none"
        )
    source = given[0]
    readers: dict[str, Callable[[Any], Any]] = {"grid": _table, "iso_macs": _table}
    if source in ("twins", "transposed") and isinstance(table.content[source], dict):
        readers[source] = _table
    value = table.take(source, readers.get(source, _list_of(_text)))
    if source == "grid":
        value = _axes(value, f"{where}: grid")
    elif source == "iso_macs":
        family = _Table(value, f"{where}: iso_macs")
        value = (family.take("layer", _text), family.take("steps", _positive, 3))
        family.finish()
    elif isinstance(value, dict):
        value = _pairs(value, f"{where}: {source}")
    if "batches" in table.content and source not in ("networks", "layers"):
        raise UserError(
            f"{where}: batches", f"must not stand beside {source}, whose layers give N themselves"
        )
    rule = LayerRule(
        where=where,
        source=source,
        value=value,
        batches=table.take("batches", _list_of(_positive), batches),
        name=table.take("name", _text, None),
        ops=table.take("ops", _list_of(_one_of(OPERATORS)), OPERATORS),
        min_macs=table.take("min_macs", _natural, 0),
        max_macs=table.take("max_macs", _natural, 2**63),
        per_op=table.take("per_op", _positive, None),
        cold=table.take("cold", _list_of(_flag), None),
    )
    table.finish()
    if rule.per_op is not None and source in ("twins", "transposed"):
        raise UserError(f"{where}: per_op", f"must not stand beside {source}: pairs are measured whole")
    return rule


@attrs.frozen
class Pairs:
    """Twins, or transposed layers, to be generated; see shapes.twin_halves."""

    per_op: int
    multiple: int
    tile: int
    min_macs: int
    max_macs: int


def _pairs(content: dict[str, Any], where: str) -> Pairs:
    table = _Table(content, where)
    pairs = Pairs(
        per_op=table.take("per_op", _positive, 8),
        multiple=table.take("multiple", _positive),
        tile=table.take("tile", _positive, 1),
        min_macs=table.take("min_macs", _natural, 0),
        max_macs=table.take("max_macs", _natural),
    )
    table.finish()
    return pairs


def _axes(content: dict[str, Any], where: str) -> dict[str, tuple[int, ...]]:
    table = _Table(content, where)
    axes = {dim: table.take(dim, _list_of(_natural)) for dim in DIMENSIONS if dim in content}
    table.finish(DIMENSIONS)
    for dim in ("N", "C", "H", "W", "K", "R", "S"):
        if dim not in axes:
            raise UserError(f"{where}: {dim}", "must be given")
    return axes


def _kernel_rule(content: Any, where: str, layers: Sequence[LayerRule]) -> KernelRule:
    table = _Table(content, where)
    names = tuple(rule.name for rule in layers if rule.name)
    rule = KernelRule(
        where=where,
        variants=table.take("variants", _list_of(_text), ()),
        stationarity=table.take("stationarity", _list_of(_one_of(STATIONARITIES)), ()),
        fast=table.take("fast", _flag, False),
        on=table.take("on", _list_of(_one_of(names, "the name of a [[layers]] table: one")), None),
        ops=table.take("ops", _list_of(_one_of(OPERATORS)), OPERATORS),
        dtype=table.take("dtype", _list_of(_one_of(DTYPES)), ("fp32",)),
        knobs={
            knob: table.take(knob, _list_of(_knob_value(knob)))
            for knob in PLAN_KNOBS
            if knob in table.content
        },
    )
    table.finish(("variants", "stationarity", "fast", "on", "ops", "dtype", *PLAN_KNOBS))
    if not (rule.variants or rule.stationarity or rule.fast):
        raise UserError(where, "must select kernels by variants, stationarity or fast = true")
    return rule


class _Table:
    """A TOML table whose keys are taken one by one; what is left at the end is unknown."""

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, dict):
            raise UserError(where, "must be a table", content)
        self.content = content
        self._where = where
        self._taken: list[str] = []

    def take(self, key: str, read: Callable[[Any], Any], *default: Any) -> Any:
        """The value of a key as `read` returns it; without a default the key must be there."""
        self._taken.append(key)
        field = f"{self._where}: {key}" if self._where else key
        if key not in self.content:
            if default:
                return default[0]
            raise UserError(field, "must be given")
        try:
            return read(self.content[key])
        except ValueError as error:
            rule, value = error.args
            raise UserError(field, rule, value) from None

    def finish(self, known: Sequence[str] | None = None) -> None:
        """Refuse keys nobody took."""
        known = known or self._taken
        for key in self.content:
            if key not in known:
                close = get_close_matches(key, known, n=1)
                hint = f"perhaps {close[0]}" if close else "known are " + ", ".join(known)
                raise UserError(f"{self._where}: {key}" if self._where else key, f"is not a key here; {hint}")


# Readers return a checked value or raise ValueError(rule, value).


def _natural(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number", value)
    if not 0 <= value < 2**63:
        raise ValueError(f"must be from 0 to {2**63 - 1}", value)
    return value


def _positive(value: Any) -> int:
    if not 1 <= _natural(value) <= _LARGEST:
        raise ValueError(f"must be from 1 to {_LARGEST}", value)
    return int(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false", value)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be text, not empty", value)
    return value


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("must be a table", value)
    return value


def _tables(value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ValueError("must be one table or more, written with [[…]]", value)
    return value


def _one_of(known: Sequence[str], what: str = "one") -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"must be {what} of " + (", ".join(known) or "which there is none"), value)
        return value

    return read


def _knob_value(knob: str) -> Callable[[Any], int | str]:
    def read(value: Any) -> int | str:
        if knob not in SYMBOLS:  # no part of the box: the kernel's header says what is legal
            return value if isinstance(value, str) and value.isidentifier() else _natural(value)
        if isinstance(value, str):
            if value not in SYMBOLS[knob]:
                words = " or ".join(f'"{symbol}"' for symbol in SYMBOLS[knob])
                raise ValueError(f"must be a whole number{' or ' * bool(words)}{words}", value)
            return value
        return _natural(value) if knob == "window" else _positive(value)

    return read


def _list_of(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    """One value or a list of them, at least one; repeated ones count once."""

    def read_all(value: Any) -> tuple[Any, ...]:
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ValueError("must not be an empty list", value)
        return tuple(dict.fromkeys(read(one) for one in values))

    return read_all
