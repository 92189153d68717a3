"""What the machine will execute: SASS from nvdisasm (wheel `nvidia-cuda-nvdisasm`), instructions counted."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from dibench.compilers.nvrtc import Binary, wheel_roots
from dibench.errors import UserError

_INSTRUCTION = re.compile(
    r"^\s*/\*[0-9a-f]{4,}\*/\s+\{?\s*(?:@!?U?P[0-9T]+\s+)?([A-Z][A-Z0-9_.]*)", re.MULTILINE
)


def disassemble(binary: Binary) -> str:
    """The SASS of a kernel, as nvdisasm prints it.

    Raises:
        UserError: nvdisasm is missing, or its CUDA no longer knows the architecture (13 begins at sm_75).
    """
    wheel = [root / "cu13/bin/nvdisasm" for root in wheel_roots()]
    tool = next((str(path) for path in wheel if path.exists()), shutil.which("nvdisasm"))
    if not tool:
        raise UserError("nvdisasm", "is missing: pip install nvidia-cuda-nvdisasm")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"{binary.name}.cubin"
        path.write_bytes(binary.cubin)
        done = subprocess.run([tool, "-c", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError("nvdisasm", done.stderr.strip() or "failed", f"sm_{binary.arch}")
    return done.stdout


def instructions(sass: str) -> list[str]:
    """The instructions of a listing with all their modifiers, in order.

    >>> instructions("        /*0060*/                   @!P0 LDG.E.STRONG.SM R1, desc[UR4][R2.64] ;")
    ['LDG.E.STRONG.SM']
    """
    return _INSTRUCTION.findall(sass)


def tally(binary: Binary) -> Counter[str]:
    """How often each instruction stands in a kernel, modifiers left out: FFMA, LDG, STG, LDS, BAR ..."""
    return Counter(name.partition(".")[0] for name in instructions(disassemble(binary)))
