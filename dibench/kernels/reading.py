"""Reads a kernel file's `[variant]` header into a `Variant`, checking every field."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import attrs

from dibench.errors import UserError
from dibench.intensity import OPERATORS
from dibench.kernels.formula import Definition, Formula, Scope, read_definitions
from dibench.kernels.header import read_formula, read_header
from dibench.kernels.variant import (
    COUNTS,
    CUDA_KNOBS,
    DTYPES,
    KNOBS,
    LAYOUTS,
    SHARED_COUNTS,
    STATIONARITIES,
    CudaLaunch,
    Variant,
)
from dibench.layer import DIMENSIONS

_REQUIRED = {"ops", "stationarity", "fast", "teaches", "counts"}
_OPTIONAL = {"knobs", "requires", "define"}
_CUDA_REQUIRED = {"arch", "dtypes", "constants", "grid", "block", "shared"}
_CUDA_OPTIONAL = {"spill_bytes", "prefer", "layout", "workspace"}
_COUNT_NAMES = ("lanes", "threads", "warp")


def read_variant(path: Path, backend: str) -> Variant:
    """The variant in one source file.

    Raises:
        UserError: no `[variant]` header, or a field of it breaks its rule.
    """
    summary, fields = read_header(path, "variant")
    on_gpu = backend == "cuda"
    _check_fields(fields, on_gpu, path)
    knobs = _read_knobs(fields.get("knobs", {}), CUDA_KNOBS if on_gpu else KNOBS, path)
    scope = _scope(fields.get("define", {}), knobs, path)
    requires = _words("requires", fields.get("requires", []), path)
    return Variant(
        name=path.stem,
        backend=backend,
        ops=tuple(fields["ops"]),
        stationarity=fields["stationarity"],
        fast=fields["fast"],
        knobs=MappingProxyType(knobs),
        requires=tuple(read_formula("requires", text, scope, path) for text in requires),
        counts=MappingProxyType(_read_counts(fields["counts"], on_gpu, scope, path)),
        summary=summary,
        teaches=str(fields["teaches"]),
        path=path,
        cuda=_read_launch(fields, scope, path) if on_gpu else None,
        prefer=MappingProxyType(_read_prefer(fields.get("prefer", {}), knobs, scope, path)),
    )


def _scope(table: Any, knobs: Mapping[str, Any], path: Path) -> Scope:
    """What formulas may name: dimensions, knobs, their legal values, and the header's definitions.

    A definition may use names that only some fields know, such as `instances`; the other fields may then not
    use the definition.
    """
    if not isinstance(table, dict):
        raise UserError("define", "must be a table of formulas", table, where=path)
    of_words = {name for name, legal in knobs.items() if legal != "any" and {str} & set(map(type, legal))}
    legal = {
        f"knobs.{name}": Definition(rows=rows)
        for name, rows in knobs.items()
        if rows != "any" and name not in of_words
    }
    scope = Scope({*DIMENSIONS, *knobs}, frozenset(of_words), legal)
    found = read_definitions(table, _wider(scope, *_COUNT_NAMES, "instances", "multiprocessors"), where=path)
    return attrs.evolve(scope, definitions=found)


def _wider(scope: Scope, *names: str) -> Scope:
    return attrs.evolve(scope, names=scope.names.union(names))


def _check_fields(fields: Mapping[str, Any], on_gpu: bool, path: Path) -> None:
    required = _REQUIRED | (_CUDA_REQUIRED if on_gpu else set())
    for name in sorted(required - set(fields)):
        raise UserError(name, "must be given", where=path)
    for name in sorted(set(fields) - required - _OPTIONAL - (_CUDA_OPTIONAL if on_gpu else set())):
        raise UserError(name, "is not a field of a variant", where=path)
    _words("ops", fields["ops"], path, known=OPERATORS)
    if not fields["ops"]:
        raise UserError("ops", f"must list some of {', '.join(OPERATORS)}", fields["ops"], where=path)
    if fields["stationarity"] not in STATIONARITIES:
        rule = f"must be one of {', '.join(STATIONARITIES)}"
        raise UserError("stationarity", rule, fields["stationarity"], where=path)
    if not isinstance(fields["fast"], bool):
        raise UserError("fast", "must be true or false", fields["fast"], where=path)


def _words(field: str, listed: Any, path: Path, *, known: Sequence[str] = ()) -> list[str]:
    """A list of words; each must be one of `known`, if any are given."""
    words = isinstance(listed, list) and all(isinstance(word, str) for word in listed)
    if not words or (known and not set(listed) <= set(known)):
        rule = f"must list some of {', '.join(known)}" if known else "must be a list of words"
        raise UserError(field, rule, listed, where=path)
    return list(listed)


def _read_counts(table: Any, on_gpu: bool, scope: Scope, path: Path) -> dict[str, Formula]:
    further = set(SHARED_COUNTS) if on_gpu else set()
    if not isinstance(table, dict) or set(table) - further != set(COUNTS):
        raise UserError("counts", f"must have exactly {', '.join(COUNTS)}", where=path)
    scope = _wider(scope, *_COUNT_NAMES)
    return {name: read_formula(f"counts.{name}", text, scope, path) for name, text in table.items()}


def _read_launch(fields: Mapping[str, Any], scope: Scope, path: Path) -> CudaLaunch:
    arch = re.fullmatch(r">=([0-9]{2,3})", str(fields["arch"]))
    if not arch:
        raise UserError("arch", 'must be ">=NN", the least compute capability', fields["arch"], where=path)
    if type(fields.get("spill_bytes", 0)) is not int:
        raise UserError("spill_bytes", "must be a whole number", fields["spill_bytes"], where=path)
    layout = fields.get("layout", LAYOUTS[0])
    if layout not in LAYOUTS:
        raise UserError("layout", f"must be one of {', '.join(LAYOUTS)}", layout, where=path)
    of_launch = _wider(scope, "instances")
    return CudaLaunch(
        least_arch=int(arch[1]),
        dtypes=tuple(_words("dtypes", fields["dtypes"], path, known=DTYPES)),
        constants=tuple(_words("constants", fields["constants"], path, known=DIMENSIONS)),
        grid=read_formula("grid", fields["grid"], of_launch, path),
        block=read_formula("block", fields["block"], scope, path),
        shared=read_formula("shared", fields["shared"], scope, path),
        spill_bytes=fields.get("spill_bytes", 0),
        layout=layout,
        workspace=read_formula("workspace", fields["workspace"], of_launch, path)
        if "workspace" in fields
        else None,
    )


def _read_knobs(
    table: Any, known: tuple[str, ...], path: Path
) -> dict[str, tuple[Any, ...] | Literal["any"]]:
    if not isinstance(table, dict):
        raise UserError("knobs", "must be a table", where=path)
    knobs: dict[str, tuple[Any, ...] | Literal["any"]] = {}
    for name, legal in table.items():
        if name not in known:
            raise UserError(f"knobs.{name}", f"must be one of {', '.join(known)}", where=path)
        if legal == "any":
            knobs[name] = "any"
        elif isinstance(legal, list) and legal and all(map(_is_knob_value, legal)):
            knobs[name] = tuple(legal)
        else:
            rule = 'must be "any" or a list of whole numbers or words'
            raise UserError(f"knobs.{name}", rule, legal, where=path)
    return knobs


def _is_knob_value(value: Any) -> bool:
    return (type(value) is int and value >= 0) or (type(value) is str and value.isidentifier())


def _read_prefer(table: Any, knobs: Mapping[str, Any], scope: Scope, path: Path) -> dict[str, Formula]:
    if not isinstance(table, dict) or not set(table) <= set(knobs):
        raise UserError("prefer", f"must be a table of {', '.join(knobs) or 'no knobs'}", table, where=path)
    scope = attrs.evolve(scope, names=frozenset((*DIMENSIONS, "multiprocessors", "instances")))
    return {name: read_formula(f"prefer.{name}", text, scope, path) for name, text in table.items()}
