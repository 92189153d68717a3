"""A plan file: which layers, which kernels, which knob values; read from TOML and checked key by key.

[plan]
description = "3x3 layers under two boxes"     # shown by --dry-run
batches     = [1, 8]                           # of networks; default: a network's own, else 1
data        = "uniform"                        # distribution of operand values; also a list
instances   = 1                                # copies of the layer in one launch; also a list
values_seed = 1                                # seed of operand values
sentinel    = "resnet50/layer2.1.conv2"        # the layer measured again and again
sms         = "all"                            # GPU: blocks wherever there is room; or one to each of the
                                               # "whole", "half", "quarter" of its multiprocessors; a list
anchors     = "all"                            # GPU: also the kernels that pin one level each; or their names
cold        = false                            # GPU: operands from memory in every launch; also a list
visits      = 1                                # metered GPU: visits to each case, minutes apart

[[layers]]                                     # exactly one source each:
networks   = "all"                             #   all 25, or a list of any that `layers` reads: "resnet50",
                                               #   "my.onnx", "nets.py:make", "timm:NAME", "layers.csv"
layers     = ["vgg16/features.0", "my.onnx/conv1", "N=1,C=8,H=7,W=7,K=8,R=1,S=1"]
grid       = {N = 1, C = [32, 64], H = 14, W = 14, K = [32, 64], R = 1, S = 1}
iso_macs   = {layer = "resnet50/layer1.0.conv2", steps = 3}
twins      = ["N=64,C=256,H=24,…"]             #   each with its exact twin, measured as a pair
transposed = ["N=1,C=8,H=4,W=16,…"]            #   each with height and width exchanged
#   or generated, for both: so many of each operator; N·P·Q/(R·S) and K/groups are multiples, rows of tile
twins      = {per_op = 8, multiple = 128, tile = 4, min_macs = 1_000_000_000, max_macs = 40_000_000_000}
# and any of these:
input_shape = ["1,3,64,64"]                    # of networks, as the option --input-shape takes it
name     = "small"                             # what [[kernels]] call it
batches  = [1, 8, 32]                          # in place of the plan's
cold     = true                                # in place of the plan's
ops      = ["standard", "fc"]
min_macs = 1_000_000
max_macs = 20_000_000
per_op   = 8                                   # so many of each operator, spread over quantiles of W/A

[[kernels]]                                    # at least one of variants, stationarity, fast:
variants     = ["conv_output_stationary"]
stationarity = ["output", "weight"]            # reuse kernels that hold these operands
fast         = true                            # the variants that are as fast as they can be
dtype        = ["fp32"]                        # fp32, tf32, fp16, bf16 of the variants that have them
on           = ["small"]                       # names of [[layers]]; default all
ops          = ["standard"]
tile_p       = [1, 4]                          # any knob of the variants: a value or a list;
tile_c       = [8, "C"]                        # or the layer's own size: "row", "K", "C", "S", "RS"
lanes        = ["p", "k"]                      # knobs of words take words

Paths of networks are relative to the folder of the plan file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from dibench.errors import UserError
from dibench.intensity import OPERATORS
from dibench.kernels import DTYPES, PLAN_KNOBS, STATIONARITIES, anchors
from dibench.layer import DIMENSIONS, Layer
from dibench.plan.toml_table import (
    TomlTable,
    a_table,
    flag,
    list_of,
    one_of,
    positive_number,
    some_tables,
    some_text,
    whole_number,
)
from dibench.schema import DISTRIBUTIONS

SYMBOLS = {"tile_p": ("row",), "tile_k": ("K",), "tile_c": ("C",), "taps": ("S", "RS"), "window": ()}
"""Words that a knob may be set to in place of a number: the most that the layer has."""

SOURCES = ("networks", "layers", "grid", "iso_macs", "twins", "transposed")
OF_NETWORKS = ("networks", "layers")
OF_OPTIONS = {"--batch": "batches", "--input-shape": "input_shape"}
"""Keys of a plan that say what options say of a model."""
SHARES = ("all", "whole", "half", "quarter")
DEFAULT_SENTINEL = "resnet50/layer2.1.conv2"
_LARGEST_FILE = 2**20  # bytes; a plan is written by hand


@attrs.frozen
class LayerRule:
    """One [[layers]] table: a source of layers, and which of them are kept."""

    where: str
    source: str
    value: Any
    batches: tuple[int | None, ...]
    """None: a network's own, or the one it is published at."""
    folder: str = ""
    """Where the paths in `value` begin."""
    input_shape: tuple[str, ...] = ()
    name: str | None = None
    ops: tuple[str, ...] = OPERATORS
    min_macs: int = 0
    max_macs: int = 2**63
    per_op: int | None = None
    cold: tuple[bool, ...] | None = None


@attrs.frozen
class PairRule:
    """Twins or transposed layers that are generated; see shapes.twin_halves."""

    per_op: int
    multiple: int
    tile: int
    min_macs: int
    max_macs: int


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
    """A plan as written. Types and ranges are checked, names are not looked up yet."""

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
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise UserError("", f"must be at most {_LARGEST_FILE} bytes to be a plan", where=path)
        text = content.decode()
    except FileNotFoundError:
        raise UserError("", "no such file", where=path) from None
    except OSError as error:
        raise UserError("", f"cannot be read: {error.strerror}", where=path) from None
    except UnicodeDecodeError as error:
        raise UserError("", f"is not TOML: no UTF-8 at byte {error.start}", where=path) from None
    return parse_plan(text, where=str(path), name=name or path.stem, folder=str(path.parent))


def parse_plan(text: str, *, where: str, name: str, folder: str = "") -> PlanFile:
    """The plan in TOML text; `where` is what messages call it, paths are relative to `folder`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError("", f"is not TOML: {error}", where=where) from None
    except (RecursionError, ValueError) as error:  # nested too deeply; an integer of too many digits
        raise UserError("", f"is not TOML: {' '.join(str(error).split()[:12])}", where=where) from None
    try:
        return plan_of(document, where=where, name=name, folder=folder)
    except UserError as error:
        raise error if error.where else UserError("", str(error), where=where) from None


def plan_of(document: dict[str, Any], *, where: str, name: str, folder: str = "") -> PlanFile:
    """The plan in a parsed TOML document.

    Raises:
        UserError: it breaks a rule; the message names table, key, rule and value.
    """
    top = TomlTable(document, "")
    head = TomlTable(top.take("plan", a_table, {}), "[plan]")
    batches = head.take("batches", list_of(positive_number), (None,))
    layers = tuple(
        _layer_rule(table, f"[[layers]] {number}", batches, folder)
        for number, table in enumerate(top.take("layers", some_tables), start=1)
    )
    kernels = tuple(
        _kernel_rule(table, f"[[kernels]] {number}", layers)
        for number, table in enumerate(top.take("kernels", some_tables), start=1)
    )
    top.finish()
    plan = PlanFile(
        path=where,
        name=head.take("name", some_text, name),
        description=head.take("description", some_text, ""),
        data=head.take("data", list_of(one_of(DISTRIBUTIONS)), ("uniform",)),
        instances=head.take("instances", list_of(positive_number), (1,)),
        sms=head.take("sms", list_of(one_of(SHARES)), ("all",)),
        cold=head.take("cold", list_of(flag), (False,)),
        anchors=head.take("anchors", list_of(one_of(("all", *anchors.registry()))), ()),
        visits=head.take("visits", positive_number, 1),
        values_seed=head.take("values_seed", whole_number, 1),
        sentinel=head.take("sentinel", some_text, DEFAULT_SENTINEL),
        layers=layers,
        kernels=kernels,
    )
    head.finish()
    return plan


def plan_of_model(source: str, batches: tuple[int | None, ...], input_shape: tuple[str, ...]) -> PlanFile:
    """The plan of one model: its distinct layers under the fast kernels, as a file with `networks` says."""
    last = source.rpartition(":")[2]
    name = last if ":" in source and not Path(source).is_file() else Path(source.removesuffix(".gz")).stem
    content = {"layers": [{"networks": source}], "kernels": [{"fast": True}]}
    plan = plan_of(content, where="", name=name)
    (rule,) = plan.layers
    layers = attrs.evolve(rule, where="", batches=batches, input_shape=input_shape)
    about = f"every distinct layer of {source}, fast variants"
    return attrs.evolve(plan, description=about, layers=(layers,))


def plan_of_layers(name: str, layers: Sequence[Layer]) -> PlanFile:
    """The plan of layers at hand: each shape once under the fast kernels."""
    plan = plan_of({"layers": [{"networks": "all"}], "kernels": [{"fast": True}]}, where="", name=name)
    rule = LayerRule(where="", source="layers", value=tuple(layers), batches=(None,))
    return attrs.evolve(plan, description=f"{len(layers)} layers, fast variants", layers=(rule,))


def _layer_rule(content: Any, where: str, batches: tuple[int | None, ...], folder: str) -> LayerRule:
    table = TomlTable(content, where)
    given = [source for source in SOURCES if source in table.content]
    if len(given) != 1:
        raise UserError(
            where, "must have exactly one of " + ", ".join(SOURCES), " and ".join(given) if given else "none"
        )
    source = given[0]
    if "batches" in table.content and source not in OF_NETWORKS:
        raise UserError(
            f"{where}: batches", f"must not stand beside {source}, whose layers give N themselves"
        )
    if "input_shape" in table.content and source not in OF_NETWORKS:
        raise UserError(f"{where}: input_shape", f"must not stand beside {source}, it is of networks")
    if "per_op" in table.content and source in ("twins", "transposed"):
        raise UserError(f"{where}: per_op", f"must not stand beside {source}: pairs are measured whole")
    rule = LayerRule(
        where=where,
        source=source,
        value=_source_value(table, source, f"{where}: {source}"),
        batches=table.take("batches", list_of(positive_number), batches),
        folder=folder,
        input_shape=table.take("input_shape", list_of(some_text), ()),
        name=table.take("name", some_text, None),
        ops=table.take("ops", list_of(one_of(OPERATORS)), OPERATORS),
        min_macs=table.take("min_macs", whole_number, 0),
        max_macs=table.take("max_macs", whole_number, 2**63),
        per_op=table.take("per_op", positive_number, None),
        cold=table.take("cold", list_of(flag), None),
    )
    table.finish()
    return rule


def _source_value(table: TomlTable, source: str, where: str) -> Any:
    """The value of a source: names, a grid's axes, the first layer and steps of a family, or pairs."""
    if source == "grid":
        return _axes(table.take(source, a_table), where)
    if source == "iso_macs":
        family = TomlTable(table.take(source, a_table), where)
        begin_and_steps = family.take("layer", some_text), family.take("steps", positive_number, 3)
        family.finish()
        return begin_and_steps
    if source in ("twins", "transposed") and isinstance(table.content[source], dict):
        return _pairs(table.take(source, a_table), where)
    return table.take(source, list_of(some_text))


def _pairs(content: dict[str, Any], where: str) -> PairRule:
    table = TomlTable(content, where)
    pairs = PairRule(
        per_op=table.take("per_op", positive_number, 8),
        multiple=table.take("multiple", positive_number),
        tile=table.take("tile", positive_number, 1),
        min_macs=table.take("min_macs", whole_number, 0),
        max_macs=table.take("max_macs", whole_number),
    )
    table.finish()
    return pairs


def _axes(content: dict[str, Any], where: str) -> dict[str, tuple[int, ...]]:
    table = TomlTable(content, where)
    axes = {dim: table.take(dim, list_of(whole_number)) for dim in DIMENSIONS if dim in content}
    table.finish(DIMENSIONS)
    for dim in ("N", "C", "H", "W", "K", "R", "S"):
        if dim not in axes:
            raise UserError(f"{where}: {dim}", "must be given")
    return axes


def _kernel_rule(content: Any, where: str, layers: Sequence[LayerRule]) -> KernelRule:
    table = TomlTable(content, where)
    names = tuple(rule.name for rule in layers if rule.name)
    rule = KernelRule(
        where=where,
        variants=table.take("variants", list_of(some_text), ()),
        stationarity=table.take("stationarity", list_of(one_of(STATIONARITIES)), ()),
        fast=table.take("fast", flag, False),
        on=table.take("on", list_of(one_of(names, "the name of a [[layers]] table: one")), None),
        ops=table.take("ops", list_of(one_of(OPERATORS)), OPERATORS),
        dtype=table.take("dtype", list_of(one_of(DTYPES)), ("fp32",)),
        knobs={
            knob: table.take(knob, list_of(_knob_value(knob))) for knob in PLAN_KNOBS if knob in table.content
        },
    )
    table.finish(("variants", "stationarity", "fast", "on", "ops", "dtype", *PLAN_KNOBS))
    if not (rule.variants or rule.stationarity or rule.fast):
        raise UserError(where, "must select kernels by variants, stationarity or fast = true")
    return rule


def _knob_value(knob: str) -> Callable[[Any], int | str]:
    def read(value: Any) -> int | str:
        if knob not in SYMBOLS:  # no part of the box: the kernel's header says what is legal
            return value if isinstance(value, str) and value.isidentifier() else whole_number(value)
        if isinstance(value, str):
            if value not in SYMBOLS[knob]:
                words = " or ".join(f'"{symbol}"' for symbol in SYMBOLS[knob])
                raise ValueError(f"must be a whole number{' or ' * bool(words)}{words}", value)
            return value
        return whole_number(value) if knob == "window" else positive_number(value)

    return read
