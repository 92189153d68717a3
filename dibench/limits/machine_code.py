"""Instructions of a kernel with what the compiler tells the scheduler about them.

Since Volta an instruction is 128 bits, and bits 105 to 120 of it say how long the warp waits before its
next one (stall), which of six barriers the instruction sets when its result is there (write) or its
operands are read (read), and which barriers must be clear before it may start (wait). So dependences need
not be worked out from registers. Layout: Jia et al., "Dissecting the NVIDIA Volta GPU Architecture via
Microbenchmarking" (2018).
"""

from __future__ import annotations

import re

import attrs

from dibench.kernels.compilers import sass
from dibench.kernels.compilers.nvrtc import Binary

_LINE = re.compile(r"^\s*/\*([0-9a-f]+)\*/\s+\{?\s*(@!?U?P[0-9T]+)?\s*([A-Z][A-Z0-9_.]*)\s*([^;]*)")
_WIDTHS = {"128": 16, "64": 8, "U16": 2, "S16": 2, "U8": 1, "S8": 1}
_NO_BARRIER = 7


@attrs.frozen
class Instruction:
    """One instruction: `name` with all its modifiers, and its scheduling."""

    address: int
    predicated: bool
    name: str
    operands: str
    stall: int
    write_barrier: int | None
    read_barrier: int | None
    waits_for: tuple[int, ...]

    @property
    def kind(self) -> str:
        """The name without modifiers: FFMA, LDG, HMMA ..."""
        return self.name.partition(".")[0]

    @property
    def target(self) -> int | None:
        """Where a branch goes; None for any other instruction."""
        found = re.search(r"0x([0-9a-f]+)", self.operands) if self.kind == "BRA" else None
        return int(found[1], 16) if found else None

    @property
    def width(self) -> int:
        """Bytes that a lane loads or stores at once."""
        return next((_WIDTHS[m] for m in self.name.split(".")[1:] if m in _WIDTHS), 4)


def instructions(binary: Binary, listing: str) -> list[Instruction]:
    """The instructions of a kernel in order of their addresses.

    Args:
        binary: the kernel.
        listing: its disassembly, of `sass.disassemble`.
    """
    code = sass.machine_code(binary)
    found = []
    for number, line in enumerate(listing.splitlines()):
        match = _LINE.match(line)
        assert match, line
        bits = int.from_bytes(code[16 * number : 16 * number + 16], "little") >> 105
        write, read = bits >> 5 & 7, bits >> 8 & 7
        waits = bits >> 11 & 63
        found.append(
            Instruction(
                address=int(match[1], 16),
                predicated=match[2] is not None,
                name=match[3],
                operands=match[4].strip(),
                stall=bits & 15,
                write_barrier=None if write == _NO_BARRIER else write,
                read_barrier=None if read == _NO_BARRIER else read,
                waits_for=tuple(i for i in range(6) if waits >> i & 1),
            )
        )
    return found
