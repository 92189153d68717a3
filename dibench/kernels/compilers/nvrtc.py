"""NVIDIA's run-time compiler, called directly; it needs its wheel, but no driver and no GPU.

CUDA 13 (`nvidia-cuda-nvrtc`) compiles for sm_75 and later, CUDA 12 (`nvidia-cuda-nvrtc-cu12`) also for
sm_60, 61 and 70. One process can load both.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs

from dibench.errors import UserError
from dibench.kernels import Variant, compilers
from dibench.layer import Layer

_LIBRARIES = {
    13: ("cu13/lib/libnvrtc.so.13", "libnvrtc.so.13", "nvidia-cuda-nvrtc"),
    12: ("cuda_nvrtc/lib/libnvrtc.so.12", "libnvrtc.so.12", "nvidia-cuda-nvrtc-cu12"),
}


class CompileError(Exception):
    """A kernel that does not compile; the message is the compiler's."""


@attrs.frozen
class Binary:
    """Machine code of one kernel for one architecture, and the resources that it takes."""

    name: str
    arch: int
    cubin: bytes = attrs.field(repr=False)
    registers: int
    shared_bytes: int
    stack_bytes: int
    spill_bytes: int
    log: str = attrs.field(repr=False)


@attrs.frozen
class Compiler:
    """One NVRTC library."""

    library: Any = attrs.field(repr=False)
    version: tuple[int, int]
    archs: tuple[int, ...]

    def compile_variant(
        self,
        variant: Variant,
        layer: Layer,
        knobs: Mapping[str, Any],
        *,
        arch: int,
        dtype: str = "fp32",
        proof: bool = False,
        options: tuple[str, ...] = (),
    ) -> Binary:
        """Compile a variant for one architecture (90 for sm_90), with these knobs and the layer's constants.

        Raises:
            CompileError: the compiler's log.
            UserError: this compiler does not know the architecture, or the variant not the data type.
        """
        headers = compilers.device_headers()
        headers["constants.cuh"] = compilers.constants(variant, layer, knobs, dtype=dtype, proof=proof)
        return self.compile(
            variant.path.read_text("utf-8"), variant.name, headers, arch=arch, options=options
        )

    def compile(
        self, source: str, name: str, headers: Mapping[str, str], *, arch: int, options: tuple[str, ...] = ()
    ) -> Binary:
        """Compile the kernel `name` of `source`, which may include `headers` by name.

        Raises:
            CompileError: the compiler's log.
            UserError: this compiler does not know the architecture.
        """
        if arch not in self.archs:
            known = ", ".join(f"sm_{a}" for a in self.archs)
            raise UserError("arch", f"NVRTC {self.version[0]}.{self.version[1]} has {known}", f"sm_{arch}")
        flags = [f"-arch=sm_{arch}", "-std=c++17", "--ptxas-options=-v", *options]
        texts = (ctypes.c_char_p * len(headers))(*(text.encode() for text in headers.values()))
        names = (ctypes.c_char_p * len(headers))(*(key.encode() for key in headers))
        program = ctypes.c_void_p()
        self._call(
            "nvrtcCreateProgram",
            ctypes.byref(program), source.encode(), f"{name}.cu".encode(), len(headers), texts, names,
        )  # fmt: skip
        try:
            argv = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
            failed = self.library.nvrtcCompileProgram(program, len(flags), argv)
            log = self._read(program, "ProgramLog").rstrip(b"\0").decode()
            if failed:
                raise CompileError(log)
            return Binary(name, arch, self._read(program, "CUBIN"), *_resources(log), log)
        finally:
            self._call("nvrtcDestroyProgram", ctypes.byref(program))

    def _read(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", program, buffer)
        return buffer.raw

    def _call(self, function: str, *arguments: Any) -> None:
        if error := getattr(self.library, function)(*arguments):
            raise CompileError(f"{function}: {self.library.nvrtcGetErrorString(error).decode()}")


def _resources(log: str) -> tuple[int, int, int, int]:
    """Registers, and bytes of static shared memory, stack and spills, as ptxas -v prints them.

    >>> _resources("8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads; Used 18 registers")
    (18, 0, 8, 8)
    """

    def number(pattern: str) -> int:
        return sum(int(found) for found in re.findall(pattern, log))

    return (
        number(r"Used (\d+) registers"),
        number(r"(\d+) bytes smem"),
        number(r"(\d+) bytes stack frame"),
        number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
    )


@lru_cache
def compiler(major: int) -> Compiler:
    """The NVRTC of CUDA 12 or 13.

    Raises:
        UserError: it is not installed; the message names the wheel.
    """
    inside_wheel, bare, wheel = _LIBRARIES[major]
    in_wheels = [str(root / inside_wheel) for root in wheel_roots()]
    in_toolkits = [str(root / "lib64" / bare) for root in _toolkits()]
    for candidate in [*in_wheels, bare, *in_toolkits]:
        try:
            library = ctypes.CDLL(candidate)
        except OSError:
            continue
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        numbers = ctypes.c_int(), ctypes.c_int()
        library.nvrtcVersion(ctypes.byref(numbers[0]), ctypes.byref(numbers[1]))
        count = ctypes.c_int()
        library.nvrtcGetNumSupportedArchs(ctypes.byref(count))
        archs = (ctypes.c_int * count.value)()
        library.nvrtcGetSupportedArchs(archs)
        return Compiler(library, (numbers[0].value, numbers[1].value), tuple(archs))
    raise UserError("nvrtc", f"CUDA {major}'s compiler is missing: pip install {wheel}")


def _toolkits() -> list[Path]:
    """Folders in which a CUDA toolkit may be installed."""
    named = [Path(os.environ[name]) for name in ("CUDA_PATH", "CUDA_HOME") if os.environ.get(name)]
    return [*named, *sorted(Path("/usr/local").glob("cuda*"), reverse=True)]


def compiler_for(arch: int) -> Compiler:
    """The NVRTC for an architecture: CUDA 13's from sm_75 on, CUDA 12's before.

    Raises:
        UserError: it is not installed; the message names the wheel.
    """
    return compiler(13 if arch >= 75 else 12)


def wheel_roots() -> list[Path]:
    """The folders in which NVIDIA's wheels put their files."""
    spec = importlib.util.find_spec("nvidia")
    return [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
