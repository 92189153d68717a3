"""Kernel variants, found by the `[variant]` headers of their sources, which say knobs, limits and counts.

Adding a variant touches one file in `csrc/<backend>/`: the registry reads its header and evaluates its
formulas for a layer and knobs; no other code names the variant. `reading` reads a header into a `variant`,
with `header` and `formula`; `counting` has the helpers that the formulas of several kernels share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from dibench.errors import UserError
from dibench.intensity import OPERATORS
from dibench.kernels import library
from dibench.kernels.reading import read_variant
from dibench.kernels.variant import (
    COUNTS,
    CUDA_KNOBS,
    DTYPES,
    KNOBS,
    LAYOUTS,
    MULTIPROCESSORS,
    PLAN_KNOBS,
    SHARED_COUNTS,
    STATIONARITIES,
    CudaLaunch,
    Variant,
)

__all__ = [
    "COUNTS",
    "CUDA_KNOBS",
    "DTYPES",
    "KNOBS",
    "LAYOUTS",
    "MULTIPROCESSORS",
    "OPERATORS",
    "PLAN_KNOBS",
    "SHARED_COUNTS",
    "STATIONARITIES",
    "SUFFIXES",
    "CudaLaunch",
    "Variant",
    "extension_sha",
    "kernel_shas",
    "of_library",
    "read_variant",
    "registry",
    "source_directory",
    "sources_sha",
]

SUFFIXES = {"cpu": ".cpp", "cuda": ".cu"}
_SHARED = {"cpu": (".h",), "cuda": (".h", ".cuh")}


def source_directory() -> Path:
    """The folder of the kernel sources: in the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    return package / "csrc" if (package / "csrc").is_dir() else package.parent / "csrc"


@lru_cache
def registry(backend: str = "cpu") -> Mapping[str, Variant]:
    """All variants of a backend by name, sorted. Two backends may share a name: they have the same dataflow.

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
    """A vendor's library as a variant; it need not be installed."""
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
        without_cuda=found.dtypes,
    )


@lru_cache
def sources_sha(backend: str) -> str:
    """SHA-256 over the names and bytes of all kernel sources of a backend.

    A sweep resumes only with the kernels it began with. For a library its release is hashed.
    """
    if backend == "torch":
        return hashlib.sha256(f"PyTorch {library.version()}".encode()).hexdigest()
    return _digest(source_directory() / backend, {SUFFIXES[backend], *_SHARED[backend]})


def extension_sha() -> str:
    """SHA-256 over the sources of the compiled extension, as `setup.py` writes it into each build."""
    return _digest(source_directory() / "cpu", {".cpp", ".cc", ".h"})


def _digest(directory: Path, suffixes: AbstractSet[str]) -> str:
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.suffix in suffixes:
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@lru_cache
def kernel_shas(backend: str) -> Mapping[str, str]:
    """SHA-256 of each variant and anchor, over its file and the headers that all of them share.

    A row that was measured with another version of a kernel is not used again.
    """
    directory = source_directory() / backend
    shared = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.suffix in _SHARED[backend]:
            shared.update(path.name.encode() + b"\0" + path.read_bytes())
    paths = [*directory.glob(f"*{SUFFIXES[backend]}"), *directory.glob(f"anchors/*{SUFFIXES[backend]}")]
    return MappingProxyType(
        {path.stem: hashlib.sha256(shared.digest() + path.read_bytes()).hexdigest() for path in sorted(paths)}
    )
