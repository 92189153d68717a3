"""Kernel variants: discovered from their sources, whose `[variant]` headers say knobs, limits and counts.

Adding a variant touches one file in `csrc/<backend>/`: the registry reads its header comment, evaluates
the formulas in it for a layer and knobs, and nothing else needs to know that the variant exists.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import attrs

from dibench import library
from dibench.errors import UserError
from dibench.formula import Formula, FormulaError
from dibench.layer import DIMENSIONS, Layer

KNOBS = ("tile_p", "tile_k", "tile_c", "taps", "window")
"""The knobs a case may turn, in the order of `Box` in csrc/cpu/kernel.h."""

CUDA_KNOBS = (*KNOBS, "lanes", "cache", "warps", "stage_w", "stage_x")
"""Those of CUDA variants. The further ones travel in the CSV columns `lanes` and `knobs`."""

PLAN_KNOBS = (*CUDA_KNOBS, *library.KNOBS)
"""All that a plan may name."""

COUNTS = ("macs_executed", "weight_reads", "input_reads", "output_reads", "output_writes")
"""What every header gives a formula for, in elements per launch and instance."""

SHARED_COUNTS = ("weight_reads_shared", "input_reads_shared")
"""What a CUDA variant that stages operands adds: how many of the reads were of shared memory."""

OPERATORS = ("fc", "pointwise", "standard", "depthwise", "grouped")
STATIONARITIES = ("output", "weight", "input", "none")
SUFFIXES = {"cpu": ".cpp", "cuda": ".cu"}
_HEADERS = {"cpu": (".h",), "cuda": (".h", ".cuh")}


@attrs.frozen
class CudaLaunch:
    """What the header of a CUDA variant adds: what is compiled, how it is launched (csrc/cuda/README.md)."""

    least_arch: int
    dtypes: tuple[str, ...]
    constants: tuple[str, ...]
    grid: Formula
    block: Formula
    shared: Formula
    spill_bytes: int


@attrs.frozen
class Variant:
    """One kernel file: what its header promises."""

    name: str
    backend: str
    ops: tuple[str, ...]
    stationarity: str
    fast: bool
    knobs: Mapping[str, tuple[Any, ...] | Literal["any"]]
    requires: tuple[Formula, ...]
    counts: Mapping[str, Formula]
    summary: str
    teaches: str
    path: Path
    source_sha: str
    cuda: CudaLaunch | None = None
    prefer: Mapping[str, Formula] = MappingProxyType({})
    without_cuda: tuple[str, ...] = ("fp32",)

    def preferred(self, layer: Layer) -> dict[str, Any]:
        """Values of the knobs for which the header says what suits a layer; a plan may ask for others."""
        values = {"layer": layer, **layer.dims}
        return {name: formula.value(values) for name, formula in self.prefer.items()}

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Data types of the operands that it computes with."""
        return self.cuda.dtypes if self.cuda else self.without_cuda

    def check(self, layer: Layer, knobs: Mapping[str, Any]) -> None:
        """Refuse a layer or knobs that this variant cannot run.

        Raises:
            UserError: names the operator, knob or limit, and its values.
        """
        if layer.op not in self.ops:
            raise UserError("op", f"{self.name} runs {', '.join(self.ops)}", layer.op, where=self.name)
        for name in knobs:
            if name not in self.knobs:
                raise UserError(
                    name, f"is no knob of it (has {', '.join(self.knobs) or 'none'})", where=self.name
                )
        for name, legal in self.knobs.items():
            if name not in knobs:
                raise UserError(name, "must be given", where=self.name)
            value = knobs[name]
            if isinstance(value, str) and value in legal and legal != "any":
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise UserError(name, "must be a whole number", value, where=self.name)
            if legal == "any":
                if value < 1:
                    raise UserError(name, "must be at least 1", value, where=self.name)
            elif value not in legal:
                raise UserError(name, f"must be one of {', '.join(map(str, legal))}", value, where=self.name)
        values = _values(layer, knobs)
        for formula in self.requires:
            if not formula.value(values):
                shown = ", ".join(f"{name} = {values[name]}" for name in sorted(formula.names))
                field = next((name for name in CUDA_KNOBS if name in formula.names), "layer")
                raise UserError(field, f"must satisfy {formula.text} with {shown}", where=self.name)

    def allows(self, layer: Layer, knobs: Mapping[str, Any]) -> bool:
        """Whether `check` would pass.

        Raises:
            FormulaError: the header's own mistake.
        """
        try:
            self.check(layer, knobs)
        except FormulaError:
            raise
        except UserError:
            return False
        return True

    def counts_for(
        self, layer: Layer, knobs: Mapping[str, Any], lanes: int = 1, threads: int = 1, warp: int = 32
    ) -> dict[str, int]:
        """Elements accessed and multiply-adds done by one launch of one instance, exactly.

        Args:
            layer: what is computed.
            knobs: a value for each of the variant's knobs.
            lanes: floats in a vector of the instruction set (4, 8 or 16); in CUDA variants this is a knob.
            threads: threads of the launch.
            warp: lanes of a GPU's warp; 1 in a proof compile (csrc/cuda/README.md).
        """
        values = {"lanes": lanes, "threads": threads, "warp": warp, **_values(layer, knobs)}
        counts = {name: formula.value(values) for name, formula in self.counts.items()}
        for name, count in counts.items():
            if not isinstance(count, int):
                raise FormulaError(f"counts.{name}", "must be a whole number", count, where=self.name)
        return {name: int(count) for name, count in counts.items()}


def _values(layer: Layer, knobs: Mapping[str, Any]) -> dict[str, Any]:
    return {"layer": layer, **layer.dims, **knobs}


def source_directory() -> Path:
    """Where the kernel sources are: in the package when installed, beside it in a checkout."""
    here = Path(__file__).resolve().parent
    return here / "csrc" if (here / "csrc").is_dir() else here.parent / "csrc"


@lru_cache
def registry(backend: str = "cpu") -> Mapping[str, Variant]:
    """Every variant of a backend by name, sorted. Backends may share names: the same dataflow elsewhere.

    >>> registry()["conv_weight_stationary"].stationarity
    'weight'

    Raises:
        UserError: no such backend, or a header that cannot be read; the message names file, field and rule.
    """
    if backend == "torch":
        return MappingProxyType({library.here().name: of_library(library.here())})
    if backend not in SUFFIXES:
        raise UserError("backend", f"must be one of {', '.join((*SUFFIXES, 'torch'))}", backend)
    paths = sorted((source_directory() / backend).glob(f"*{SUFFIXES[backend]}"))
    return MappingProxyType({path.stem: read_variant(path, backend) for path in paths})


def of_library(found: library.Library) -> Variant:
    """A vendor's library as a variant; whether it is installed is not asked."""
    return Variant(
        name=found.name,
        backend="torch",
        ops=OPERATORS,
        stationarity="",
        fast=True,
        knobs=found.knobs,
        requires=(),
        counts=MappingProxyType({}),
        summary=found.summary,
        teaches=found.teaches,
        path=Path(library.__file__),
        source_sha=sources_sha("torch"),
        without_cuda=found.dtypes,
    )


def read_variant(path: Path, backend: str) -> Variant:
    """The variant in one source file.

    Raises:
        UserError: no `[variant]` header, or a field of it breaks its rule.
    """
    source = path.read_bytes()
    try:
        header = re.match(r"\s*/\*(.*?)\*/", source.decode("utf-8"), re.DOTALL)
    except UnicodeDecodeError as error:
        raise UserError("", f"is not text in UTF-8: {error}", where=path) from None
    text, mark, table = header[1].partition("\n[variant]\n") if header else ("", "", "")
    if not mark:
        raise UserError("[variant]", "must stand in the first comment of a kernel file", where=path)
    try:
        fields = tomllib.loads(table)
    except tomllib.TOMLDecodeError as error:
        raise UserError("[variant]", f"must be TOML: {error}", where=path) from error
    required = {"ops", "stationarity", "fast", "teaches", "counts"}
    if backend == "cuda":
        required |= {"arch", "dtypes", "constants", "grid", "block", "shared"}
    for name in sorted(required - set(fields)):
        raise UserError(name, "must be given", where=path)
    optional = {"knobs", "requires"} | ({"spill_bytes", "prefer"} if backend == "cuda" else set())
    for name in sorted(set(fields) - required - optional):
        raise UserError(name, "is not a field of a variant", where=path)
    ops, counts = fields["ops"], fields["counts"]
    if not isinstance(ops, list) or not ops or not set(ops) <= set(OPERATORS):
        raise UserError("ops", f"must list some of {', '.join(OPERATORS)}", ops, where=path)
    if fields["stationarity"] not in STATIONARITIES:
        rule = f"must be one of {', '.join(STATIONARITIES)}"
        raise UserError("stationarity", rule, fields["stationarity"], where=path)
    if not isinstance(fields["fast"], bool):
        raise UserError("fast", "must be true or false", fields["fast"], where=path)
    extra = set(SHARED_COUNTS) if backend == "cuda" else set()
    if not isinstance(counts, dict) or set(counts) - extra != set(COUNTS):
        raise UserError("counts", f"must have exactly {', '.join(COUNTS)}", where=path)
    knobs = _read_knobs(fields.get("knobs", {}), KNOBS if backend == "cpu" else CUDA_KNOBS, path)
    names = frozenset({*DIMENSIONS, *knobs})
    return Variant(
        name=path.stem,
        backend=backend,
        ops=tuple(ops),
        stationarity=fields["stationarity"],
        fast=fields["fast"],
        knobs=MappingProxyType(knobs),
        requires=tuple(_read_formula("requires", text, names, path) for text in fields.get("requires", [])),
        counts=MappingProxyType(
            {
                n: _read_formula(f"counts.{n}", counts[n], names | {"lanes", "threads", "warp"}, path)
                for n in counts
            }
        ),
        summary=" ".join(text.strip().partition("\n")[0].split()),
        teaches=str(fields["teaches"]),
        path=path,
        source_sha=hashlib.sha256(source).hexdigest(),
        cuda=_read_launch(fields, names, path) if backend == "cuda" else None,
        prefer=MappingProxyType(_read_prefer(fields.get("prefer", {}), knobs, path)),
    )


def _read_launch(fields: Mapping[str, Any], names: frozenset[str], path: Path) -> CudaLaunch:
    arch = re.fullmatch(r">=([0-9]{2,3})", str(fields["arch"]))
    if not arch:
        raise UserError("arch", 'must be ">=NN", the least compute capability', fields["arch"], where=path)
    for name in ("dtypes", "constants"):
        if not isinstance(fields[name], list) or not all(isinstance(item, str) for item in fields[name]):
            raise UserError(name, "must be a list of words", fields[name], where=path)
    for name in fields["constants"]:
        if name not in DIMENSIONS:
            raise UserError("constants", "must be layer dimensions (knobs always are)", name, where=path)
    if type(fields.get("spill_bytes", 0)) is not int:
        raise UserError("spill_bytes", "must be a whole number", fields["spill_bytes"], where=path)
    return CudaLaunch(
        least_arch=int(arch[1]),
        dtypes=tuple(fields["dtypes"]),
        constants=tuple(fields["constants"]),
        grid=_read_formula("grid", fields["grid"], names | {"instances"}, path),
        block=_read_formula("block", fields["block"], names, path),
        shared=_read_formula("shared", fields["shared"], names, path),
        spill_bytes=fields.get("spill_bytes", 0),
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
        elif (
            isinstance(legal, list)
            and legal
            and all(
                (type(value) is int and value >= 0) or (type(value) is str and value.isidentifier())
                for value in legal
            )
        ):
            knobs[name] = tuple(legal)
        else:
            raise UserError(
                f"knobs.{name}", 'must be "any" or a list of whole numbers or words', legal, where=path
            )
    return knobs


def _read_prefer(table: Any, knobs: Mapping[str, Any], path: Path) -> dict[str, Formula]:
    if not isinstance(table, dict) or not set(table) <= set(knobs):
        raise UserError("prefer", f"must be a table of {', '.join(knobs) or 'no knobs'}", table, where=path)
    names = frozenset(DIMENSIONS)
    return {name: _read_formula(f"prefer.{name}", text, names, path) for name, text in table.items()}


def _read_formula(field: str, text: Any, names: frozenset[str], path: Path) -> Formula:
    try:
        return Formula.parse(str(text), names)
    except ValueError as error:
        raise UserError(field, str(error), where=path) from error


@lru_cache
def sources_sha(backend: str) -> str:
    """SHA-256 over the names and bytes of all kernel sources of a backend.

    A sweep resumes only with the kernels it began with. Of a library it is its release that counts.
    """
    if backend == "torch":
        return hashlib.sha256(f"PyTorch {library.version()}".encode()).hexdigest()
    digest = hashlib.sha256()
    suffixes = {SUFFIXES[backend], *_HEADERS[backend]}
    for path in sorted((source_directory() / backend).iterdir()):
        if path.suffix in suffixes:
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@lru_cache
def kernel_shas(backend: str) -> Mapping[str, str]:
    """SHA-256 by variant, over its file and the headers that all of them share; anchors are variants too.

    A row of a kernel that has changed since is no row of the same case.
    """
    directory = source_directory() / backend
    shared = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.suffix in _HEADERS[backend]:
            shared.update(path.name.encode() + b"\0" + path.read_bytes())
    paths = [*directory.glob(f"*{SUFFIXES[backend]}"), *directory.glob(f"anchors/*{SUFFIXES[backend]}")]
    return MappingProxyType(
        {path.stem: hashlib.sha256(shared.digest() + path.read_bytes()).hexdigest() for path in sorted(paths)}
    )
