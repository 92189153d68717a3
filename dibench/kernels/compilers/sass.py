"""Disassembles kernels to SASS with nvdisasm (wheel `nvidia-cuda-nvdisasm`), and counts instructions."""

from __future__ import annotations

import itertools
import re
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Sequence

from dibench import temporary
from dibench.errors import UserError
from dibench.kernels.compilers.nvrtc import Binary, wheel_roots

_INSTRUCTION = re.compile(
    r"^\s*/\*[0-9a-f]{4,}\*/\s+\{?\s*(?:@!?U?P[0-9T]+\s+)?([A-Z][A-Z0-9_.]*)", re.MULTILINE
)
_INSTRUCTION_BYTES = 16  # since sm_70


def disassemble(binaries: Sequence[Binary]) -> list[str]:
    """The SASS of kernels as nvdisasm prints it: one listing for each, one line for each instruction.

    nvdisasm reads one file and takes a third of a second to start, so the code of all kernels of an
    architecture is put into one file.

    Raises:
        UserError: nvdisasm is missing, or its CUDA no longer knows the architecture (13 begins at sm_75).
    """
    codes = [(binary.arch, machine_code(binary)) for binary in binaries]
    lines = {
        arch: iter(_nvdisasm(b"".join(code for of, code in codes if of == arch), arch))
        for arch in {arch for arch, _ in codes}
    }
    return ["\n".join(itertools.islice(lines[arch], len(code) // _INSTRUCTION_BYTES)) for arch, code in codes]


def tool() -> str:
    """Where nvdisasm is.

    Raises:
        UserError: it is not installed; the message names the wheel.
    """
    wheel = [root / "cu13/bin/nvdisasm" for root in wheel_roots()]
    found = next((str(path) for path in wheel if path.exists()), shutil.which("nvdisasm"))
    if not found:
        raise UserError("nvdisasm", "is missing: pip install nvidia-cuda-nvdisasm")
    return found


def _nvdisasm(code: bytes, arch: int) -> list[str]:
    with temporary.scratch() as directory:
        file = directory / "code"
        file.write_bytes(code)
        done = subprocess.run(
            [tool(), "--binary", f"SM{arch}", str(file)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise UserError("nvdisasm", done.stderr.strip() or "failed", f"sm_{arch}")
    lines = [line for line in done.stdout.splitlines() if _INSTRUCTION.match(line)]
    if len(lines) * _INSTRUCTION_BYTES != len(code):
        raise UserError("nvdisasm", f"must print {len(code) // _INSTRUCTION_BYTES} instructions", len(lines))
    return lines


def machine_code(binary: Binary) -> bytes:
    """The .text section of the kernel, found through the section headers of a 64-bit ELF file (elf.h)."""
    cubin = binary.cubin
    (table,) = struct.unpack_from("<Q", cubin, 0x28)
    size, number, names = struct.unpack_from("<3H", cubin, 0x3A)
    sections = [struct.unpack_from("<2I4Q", cubin, table + i * size) for i in range(number)]
    wanted = f".text.{binary.name}\0".encode()
    for name, _, _, _, offset, length in sections:
        if cubin.startswith(wanted, sections[names][4] + name):
            return cubin[offset : offset + length]
    raise UserError("cubin", f"must hold the kernel {binary.name}")


def instructions(sass: str) -> list[str]:
    """The instructions of a listing with all their modifiers, in order.

    >>> instructions("        /*0060*/                   @!P0 LDG.E.STRONG.SM R1, desc[UR4][R2.64] ;")
    ['LDG.E.STRONG.SM']
    """
    return _INSTRUCTION.findall(sass)


def tally(sass: str) -> Counter[str]:
    """How often each instruction occurs in a listing, without its modifiers: FFMA, LDG, STG, LDS, BAR ..."""
    return Counter(name.partition(".")[0] for name in instructions(sass))
