"""CUDA variants on the CPU: the same source, compiled by g++ for the harness of csrc/host_cuda.

The harness checks results, bounds and races and counts every access. It is slow (some million multiply-adds a
second), and its times say nothing about any GPU.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from dibench import temporary, trusted
from dibench.errors import UserError
from dibench.kernels import Variant, compilers, source_directory

if TYPE_CHECKING:
    import numpy.typing as npt

    from dibench.layer import Layer

_FLAGS = (
    "-std=c++20", "-O2", "-g1", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique", "-ffp-contract=off",
    "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-parameter", "-DDIBENCH_HOST",
)  # fmt: skip
# Without -fsanitize-sections GCC puts no red zones around variables that a section attribute places, as
# __shared__ arrays are.
_SANITIZE = (
    "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined",
    "-fsanitize-sections=cuda_shared",
)  # fmt: skip

# GCC calls a function before each access to memory: the harness has them, ThreadSanitizer is not linked. The
# first two options keep accesses of 16 bytes whole.
_SHARED_ACCESSES = (
    "-O1", "-fno-tree-sra", "-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0",
    "-fno-threadsafe-statics",
)  # fmt: skip

OPERANDS = ("weight", "input", "output")
_REGIONS = (*OPERANDS, "workspace")
WIDTHS = (1, 2, 4, 8, 16)
"""Bytes of one lane's access."""


class KernelError(Exception):
    """What the harness found wrong with a kernel: a race, divergence, an access out of bounds."""


class HostCompileError(Exception):
    """A kernel that g++ does not compile; the message is the compiler's."""


class _Launch(ctypes.Structure):
    """Mirrors struct Launch of csrc/host_cuda/harness.cc."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint),
        ("reverse_threads", ctypes.c_uint),
        ("reverse_blocks", ctypes.c_uint),
        ("count_sectors", ctypes.c_uint),
        ("count_banks", ctypes.c_uint),
        ("only_block", ctypes.c_uint),
        ("operand", ctypes.c_void_p * 4),
        ("operand_bytes", ctypes.c_longlong * 4),
    )


class _Counts(ctypes.Structure):
    """Mirrors struct Counts."""

    _fields_ = (
        ("global_reads", ctypes.c_longlong * 3),
        ("shared_reads", ctypes.c_longlong * 2),
        ("output_writes", ctypes.c_longlong),
        ("macs_executed", ctypes.c_longlong),
        ("sectors", ctypes.c_longlong * 3),
        ("block_sectors", ctypes.c_longlong * 3),
        ("widths", (ctypes.c_longlong * 5) * 4),
        ("shared_cycles", (ctypes.c_longlong * 2) * 2),
    )


@attrs.frozen
class HarnessRun:
    """One launch: the outputs, and the elements and 32-byte sectors it accessed, all instances together."""

    y: npt.NDArray[Any]
    counts: Mapping[str, int]
    shared: Mapping[str, int]
    sectors: Mapping[str, int]


@attrs.frozen
class BlockTraffic:
    """What one block of a launch moves.

    `sectors` are of 32 bytes by operand, each once, as if the block found them in L1 from then on;
    `requested_sectors` each request's own. Reads and writes are lanes' accesses by their width in bytes.
    Shared memory takes `read_cycles` and `write_cycles` for them; without conflicts of banks the other two.
    """

    macs_executed: int
    sectors: Mapping[str, int]
    requested_sectors: Mapping[str, int]
    global_reads: Mapping[int, int]
    global_writes: Mapping[int, int]
    shared_reads: Mapping[int, int]
    shared_writes: Mapping[int, int]
    read_cycles: int
    write_cycles: int
    conflict_free_read_cycles: int
    conflict_free_write_cycles: int


@attrs.frozen
class Kernel:
    """A compiled kernel; launches take their arguments as cuLaunchKernel does, a pointer to each."""

    name: str
    path: Path
    _library: Any = attrs.field(repr=False)

    # Wide because a launch is described whole, as by `run`.
    def launch(
        self,
        arguments: Sequence[Any],
        operands: Mapping[str, npt.NDArray[Any]],
        geometry: compilers.Geometry,
        *,
        reverse_threads: bool = False,
        reverse_blocks: bool = False,
        sectors: bool = True,
        banks: bool = False,
        only_block: int = 0,
    ) -> _Counts:
        """Run once.

        Args:
            arguments: ctypes values, in the kernel's order.
            operands: the arrays behind "weight", "input", "output" and, where it has one, "workspace", for
            bounds and ownership.
            geometry: grid, block, dynamic shared memory.
            reverse_threads: run the threads of a block from the last to the first.
            reverse_blocks: likewise the blocks.
            sectors: count sectors too, which takes most of the time.
            banks: count sectors of a block and banks too, of a kernel built with `shared_accesses`.
            only_block: number, from 1, of the one block to run; 0: all.

        Raises:
            KernelError: the kernel is wrong; the message names block, thread and line.
        """
        launch = _Launch(
            (geometry.grid, 1, 1),
            (geometry.block, 1, 1),
            geometry.shared_bytes,
            reverse_threads,
            reverse_blocks,
            sectors,
            banks,
            only_block,
            tuple(operands[name].ctypes.data if name in operands else None for name in _REGIONS),
            tuple(operands[name].nbytes if name in operands else 0 for name in _REGIONS),
        )
        cells = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(value) for value in arguments))
        counts, reason = _Counts(), ctypes.create_string_buffer(1024)
        if self._library.dibench_launch(
            ctypes.byref(launch), cells, ctypes.byref(counts), reason, ctypes.c_size_t(len(reason))
        ):
            raise KernelError(reason.value.decode())
        return counts


# Wide because a launch is described whole: what runs, on which data, in which order, what is counted.
def run(
    variant: Variant,
    layer: Layer,
    knobs: Mapping[str, Any],
    x: npt.NDArray[Any],
    w: npt.NDArray[Any],
    *,
    dtype: str = "fp32",
    sms: int = 0,
    reverse_threads: bool = False,
    reverse_blocks: bool = False,
    sectors: bool = True,
) -> HarnessRun:
    """One launch of a CUDA variant.

    Args:
        variant: what runs; its header has been checked against layer and knobs.
        layer: the layer.
        knobs: a value for each knob.
        x: inputs[instances][N][C][H][W]; float32, or uint16 bits of a 16-bit type.
        w: weights[instances][K][C/groups][R][S].
        dtype: one of the header's.
        sms: at most so many blocks.
        reverse_threads: run the threads of a block from the last to the first.
        reverse_blocks: likewise the blocks.
        sectors: count sectors too.

    Returns:
        outputs[instances][N][K][P][Q], the numbers that were written, and counts. The outputs are NaN before
        the launch, so one that the kernel forgets shows.

    Raises:
        KernelError: the kernel is wrong.
    """
    kernel = build(
        variant.path.read_text("utf-8"), variant.name, compilers.constants(variant, layer, knobs, dtype=dtype)
    )
    from dibench.backends.operands import (
        as_shaped,
        as_values,
        in_memory,
        memory_shape,
        operand_shapes,
        unwritten,
    )

    instances = len(x)
    x, w = in_memory(x, variant.layout), in_memory(w, variant.layout)
    y = unwritten(memory_shape(operand_shapes(layer, instances)[2], variant.layout), dtype)
    geometry = compilers.geometry(variant, layer, knobs, instances=instances, sms=sms)
    operands = _operands(x, w, y, geometry)
    counts = kernel.launch(
        _arguments(layer, instances, operands),
        operands,
        geometry,
        reverse_threads=reverse_threads,
        reverse_blocks=reverse_blocks,
        sectors=sectors,
    )
    return outcome(as_values(as_shaped(y, variant.layout), dtype), counts)


def block_traffic(
    variant: Variant, layer: Layer, knobs: Mapping[str, Any], *, dtype: str = "fp32"
) -> BlockTraffic:
    """What the block in the middle of a launch reads and writes, and its conflicts of banks.

    Raises:
        KernelError: the kernel is wrong.
    """
    import numpy as np

    from dibench.backends.operands import element_type

    constants = compilers.constants(variant, layer, knobs, dtype=dtype)
    kernel = build(variant.path.read_text("utf-8"), variant.name, constants, shared_accesses=True)
    w, x, y = (np.zeros(count, element_type(dtype)) for count in (layer.weights, layer.inputs, layer.outputs))
    geometry = compilers.geometry(variant, layer, knobs)
    operands = _operands(x, w, y, geometry)
    counts = kernel.launch(
        _arguments(layer, 1, operands),
        operands,
        geometry,
        banks=True,
        only_block=geometry.grid // 2 + 1,
    )
    widths = [dict(zip(WIDTHS, lanes, strict=True)) for lanes in counts.widths]
    reads, writes = counts.shared_cycles
    return BlockTraffic(
        macs_executed=counts.macs_executed,
        sectors=dict(zip(OPERANDS, counts.block_sectors, strict=True)),
        requested_sectors=dict(zip(OPERANDS, counts.sectors, strict=True)),
        global_reads=widths[0],
        global_writes=widths[1],
        shared_reads=widths[2],
        shared_writes=widths[3],
        read_cycles=reads[0],
        write_cycles=writes[0],
        conflict_free_read_cycles=reads[1],
        conflict_free_write_cycles=writes[1],
    )


def _operands(
    x: npt.NDArray[Any], w: npt.NDArray[Any], y: npt.NDArray[Any], geometry: compilers.Geometry
) -> dict[str, npt.NDArray[Any]]:
    """The arrays that a kernel of this geometry is given."""
    operands = {"input": x, "weight": w, "output": y}
    if geometry.workspace_bytes is not None:
        import numpy as np

        operands["workspace"] = np.zeros(geometry.workspace_bytes // 4, np.float32)
    return operands


def _arguments(layer: Layer, instances: int, operands: Mapping[str, npt.NDArray[Any]]) -> tuple[Any, ...]:
    return compilers.kernel_arguments(layer, instances, *(array.ctypes.data for array in operands.values()))


def outcome(y: npt.NDArray[Any], counts: _Counts) -> HarnessRun:
    """The harness's counters by the names of the headers and of the CSV."""
    weights, inputs, partials = counts.global_reads
    shared_weights, shared_inputs = counts.shared_reads
    return HarnessRun(
        y=y,
        counts={
            "macs_executed": counts.macs_executed,
            "weight_reads": weights + shared_weights,
            "input_reads": inputs + shared_inputs,
            "output_reads": partials,
            "output_writes": counts.output_writes,
        },
        shared={"weight_reads_shared": shared_weights, "input_reads_shared": shared_inputs},
        sectors=dict(zip(("weight_sectors", "input_sectors", "output_sectors"), counts.sectors, strict=True)),
    )


@lru_cache(maxsize=512)
def build(
    source: str, name: str, constants: str, *, sanitize: bool = False, shared_accesses: bool = False
) -> Kernel:
    """Compile a kernel for the harness, or take it from the cache, where its hash names it.

    Args:
        source: text of the .cu file.
        name: of the kernel in it.
        constants: text of constants.cuh.
        sanitize: with AddressSanitizer and UndefinedBehaviorSanitizer; the process must preload libasan.
        shared_accesses: tell the harness of every access to shared memory.

    Raises:
        HostCompileError: the compiler's messages.
        UserError: there is no g++.
    """
    flags = _FLAGS + (_SANITIZE if sanitize else ())
    watched = _SHARED_ACCESSES if shared_accesses else ()
    digest = _digest(_harness_sha(), source, name, constants, *flags, *watched)
    path = compilers.cache_directory() / "host" / f"{name}-{digest}.so"
    if not trusted.check(path):
        harness = _harness(flags)
        with temporary.scratch() as build:
            (build / "constants.cuh").write_text(constants, "utf-8")
            (build / f"{name}.cu").write_text(source, "utf-8")
            (build / "unit.cc").write_text(
                f'#include "cuda_on_host.h"\n#include "{name}.cu"\nDIBENCH_HOST_ENTRY({name})\n', "utf-8"
            )
            unit = build / "unit.o"
            _compile([*flags, *watched, "-c", str(build / "unit.cc")], build, unit)
            _compile([*flags, "-shared", str(unit), str(harness)], build, path)
    library = ctypes.CDLL(str(path))
    return Kernel(name, path, library)


def _harness(flags: tuple[str, ...]) -> Path:
    """The harness as an object file, compiled once for hundreds of kernels."""
    path = compilers.cache_directory() / "host" / f"harness-{_digest(_harness_sha(), *flags)}.o"
    if not trusted.check(path):
        source = source_directory() / "host_cuda" / "harness.cc"
        with temporary.scratch() as build:
            _compile([*flags, "-c", str(source)], build, path)
    return path


def _compile(arguments: list[str], build: Path, path: Path) -> None:
    """Run g++; `path` appears whole or not at all, since other processes may compile the same."""
    root = source_directory()
    trusted.directory(path.parent)
    made = build / "made"
    places = [f"-fmacro-prefix-map={place}/=" for place in (build, root / "cuda", root / "host_cuda")]
    places += [f"-I{place}" for place in (build, root / "cuda", root / "host_cuda")]
    done = subprocess.run(
        [_gxx(), *places, *arguments, "-o", str(made)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise HostCompileError(done.stderr)
    with temporary.file_beside(path) as (staged, descriptor):
        shutil.copyfile(made, staged)
        trusted.only_ours(descriptor)
        staged.replace(path)


@lru_cache
def _gxx() -> str:
    tool = shutil.which(os.environ.get("CXX", "g++"))
    if not tool:
        raise UserError("g++", "the host backend needs a C++ compiler: install g++, or name one in CXX")
    return tool


@lru_cache
def _harness_sha() -> str:
    """Hash of everything that a kernel is compiled from, the compiler's version included."""
    root = source_directory()
    texts = [
        path.read_text("utf-8")
        for place in ("host_cuda", "cuda")
        for path in sorted((root / place).iterdir())
        if path.suffix in (".h", ".cc", ".cuh")
    ]
    version = subprocess.run([_gxx(), "--version"], capture_output=True, text=True, check=True).stdout
    return _digest(version, *texts)


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:20]
