"""Compiled CUDA kernels, cached on disk and compiled ahead while another case is measured.

An entry is keyed by everything that decides the machine code: source, shared headers, constants, options,
compiler and architecture. It is written whole or not at all, with its own SHA-256; an entry that does not
match is compiled again. The directory can be taken to a machine without a compiler.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import attrs

from dibench import temporary, trusted
from dibench.errors import UserError
from dibench.kernels import compilers
from dibench.kernels.compilers import nvrtc
from dibench.kernels.compilers.nvrtc import Binary

NOT_COMPILED = "is not among the compiled kernels"
_FORMAT = b"dibench kernel 1\n"
_HEADER_FIELDS = ("name", "arch", "registers", "shared_bytes", "stack_bytes", "spill_bytes", "log")


@attrs.frozen
class Source:
    """What a kernel is compiled from: its text, the headers it includes by name, the architecture."""

    name: str
    text: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    arch: int

    @property
    def digest(self) -> str:
        """Names the source, its headers with the constants, and the architecture."""
        how = Path(nvrtc.__file__).read_text("utf-8")  # options included
        parts = [self.name, self.text, str(self.arch), how]
        for name, text in sorted(self.headers.items()):
            parts += [name, text]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def choose_compiler(arch: int, cuda: int) -> nvrtc.Compiler:
    """The newest installed NVRTC that knows the architecture and is not newer than the driver.

    A driver for CUDA 12 does not load what CUDA 13 compiled.

    Args:
        arch: compute capability, 90 for sm_90.
        cuda: major version of CUDA that the driver supports.

    Raises:
        UserError: there is none; the message names the wheel to install.
    """
    for major in (13, 12):
        if major <= cuda:
            with contextlib.suppress(UserError):
                compiler = nvrtc.compiler(major)
                if arch in compiler.archs:
                    return compiler
    wheel = "nvidia-cuda-nvrtc" if cuda >= 13 and arch >= 75 else "nvidia-cuda-nvrtc-cu12"
    rule = f"needs a compiler for sm_{arch} that suits a driver for CUDA {cuda}: pip install {wheel}"
    raise UserError("nvrtc", rule)


class Compiles(Protocol):
    """Compiles a source to machine code, as NVRTC does."""

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor: part of an entry's name."""

    def compile(self, source: str, name: str, headers: Mapping[str, str], *, arch: int) -> Binary:
        """The kernel `name`; CompileError where it does not compile."""


class KernelCache:
    """Binaries by source: from memory, from disk, or compiled; `prefetch` compiles in the background."""

    def __init__(
        self,
        compiler: Compiles | None,
        directory: Path,
        threads: int = 1,
        *,
        brought: Path | None = None,
        cuda: int | None = None,
    ) -> None:
        """Use `directory`, made when something is written; without a compiler only its entries can be used.

        Binaries brought along come before those that would have to be compiled, whatever NVRTC made them, but
        for those newer than `cuda`: the major version of CUDA that the driver supports.
        """
        self._cuda = cuda
        self._compiler = compiler
        self._brought = brought
        self._directory = directory
        self._lock = threading.Lock()
        self._futures: dict[str, Future[Binary]] = {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="compile")

    def prefetch(self, sources: Iterable[Source]) -> None:
        """Begin to compile sources needed soon; an error is raised when the binary is asked for."""
        for source in sources:
            with self._lock:
                if source.digest not in self._futures:
                    self._futures[source.digest] = self._pool.submit(self._made, source)

    def holds(self, source: Source) -> bool:
        """Whether the binary exists already."""
        return any(self._may_load(path) for path in self._candidates(source))

    def binary(self, source: Source) -> Binary:
        """The compiled kernel.

        Raises:
            CompileError: it does not compile.
            UserError: it is not in the cache and there is no compiler.
        """
        with self._lock:
            # Not kept in memory: a sweep has thousands of kernels, and a second visit finds it on disk.
            future = self._futures.pop(source.digest, None)
        # If it still waits behind others, compile it now.
        if future is None or future.cancel():
            return self._made(source)
        return future.result()

    def close(self) -> None:
        """Cancel what has not begun to compile."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _made(self, source: Source) -> Binary:
        for path in self._candidates(source):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                if self._may_load(path):
                    return _read(path)
        if self._compiler is None:
            suit = f" that suit a driver for CUDA {self._cuda}" if self._cuda else ""
            rule = f"{NOT_COMPILED} of {self._directory}{suit}, and there is no compiler"
            raise UserError("kernel", f"{rule}: pip install nvidia-cuda-nvrtc", source.name)
        compiled = self._compiler.compile(source.text, source.name, source.headers, arch=source.arch)
        with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
            _write(self._path(source, self._version), compiled)
        return compiled

    @property
    def compiler_name(self) -> str:
        """The compiler with its version, or that there is none; and whether kernels were brought along."""
        name = f"NVRTC {self._version}" if self._compiler else "none: kernels compiled elsewhere"
        return name + (", kernels brought along" if self._compiler and self._brought else "")

    @property
    def _version(self) -> str:
        assert self._compiler is not None
        return ".".join(map(str, self._compiler.version))

    def _candidates(self, source: Source) -> list[Path]:
        """Files that may hold the binary: made by our compiler, or by any where we have none."""
        name = self._path(source, "*").name
        brought = [] if self._brought is None else sorted(self._brought.glob(name), reverse=True)
        here = self._directory
        own = (
            sorted(here.glob(name), reverse=True)
            if self._compiler is None
            else [self._path(source, self._version)]
        )
        return [path for path in [*own, *brought] if self._cuda is None or _made_by(path) <= self._cuda]

    def _may_load(self, path: Path) -> bool:
        return trusted.check(path, named=path.parent == self._brought)

    def _path(self, source: Source, version: str) -> Path:
        return self._directory / f"{source.name}-sm_{source.arch}-{source.digest}-nvrtc{version}.bin"


def _made_by(entry: Path) -> int:
    """Major version of the NVRTC that made it."""
    return int(entry.stem.rpartition("nvrtc")[2].partition(".")[0])


def default_directory() -> Path:
    """Below the cache of all compilers."""
    return compilers.cache_directory() / "cuda"


def brought_directory() -> Path | None:
    """Kernels compiled elsewhere and brought along, read only: $DIBENCH_KERNELS."""
    named = os.environ.get("DIBENCH_KERNELS")
    return Path(named) if named else None


def _write(path: Path, binary: Binary) -> None:
    """Write an entry whole or not at all: other processes may read and write the same one."""
    fields = {name: getattr(binary, name) for name in _HEADER_FIELDS}
    fields["sha256"] = hashlib.sha256(binary.cubin).hexdigest()
    trusted.directory(path.parent)
    with temporary.file_beside(path) as (staged, descriptor):
        trusted.only_ours(descriptor)
        staged.write_bytes(_FORMAT + json.dumps(fields).encode() + b"\n" + binary.cubin)
        staged.replace(path)


def _read(path: Path) -> Binary:
    """An entry; ValueError, KeyError or TypeError where it is not whole."""
    content = path.read_bytes()
    if not content.startswith(_FORMAT):
        raise ValueError("no entry of this version")
    header, _, cubin = content[len(_FORMAT) :].partition(b"\n")
    fields: dict[str, Any] = json.loads(header)
    if fields.pop("sha256") != hashlib.sha256(cubin).hexdigest():
        raise ValueError("torn or altered")
    return Binary(cubin=cubin, **fields)
