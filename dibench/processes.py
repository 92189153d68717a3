"""Processes of this program's own: they find the same modules, and end with their parent."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def python_path() -> str:
    """What PYTHONPATH must be for a child to find the modules that this process finds."""
    return os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; leave at once if it is dead already.

    The parent is, to the kernel, the thread that started the process (PR_SET_PDEATHSIG).
    """
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
